"""nnU-Net datasets of volumes: channels, labels, splits; there and back with the affine they have."""

from __future__ import annotations

import json

import numpy as np
import pytest

import smidgen
from smidgen.core.errors import UsageError
from smidgen.data.dataset import Dataset

nibabel = pytest.importorskip("nibabel")

AFFINE = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, -3], [0, 0, 4, 7], [0, 0, 0, 1]])


@pytest.fixture
def nnunet(volumes):
    """Two training cases of two channels, and one for test."""
    (volumes.path / "classes.txt").unlink()
    names = {"0": "T1", "1": "FLAIR"}
    labels = {"background": 0, "edema": 2, "ignore": 3}
    text = {"channel_names": names, "labels": labels, "numTraining": 2, "file_ending": ".nii.gz"}
    volumes.text("dataset.json", json.dumps(text))
    for i, case in enumerate(("a", "b", "t")):
        part = "Ts" if case == "t" else "Tr"
        for channel in range(2):
            image = np.random.default_rng(10 * i + channel).integers(0, 99, (4, 5, 6)).astype(np.int16)
            volumes.nifti(f"images{part}/{case}_{channel:04}.nii.gz", image, AFFINE)
        if case != "t":
            label = np.zeros((4, 5, 6), np.uint8)
            label[0], label[3] = 2, 3
            volumes.nifti(f"labelsTr/{case}.nii.gz", label, AFFINE)
    volumes.text("splits_final.json", json.dumps([{"train": ["a"], "val": ["b"]}]))
    return volumes


def test_cases_channels_labels_and_splits(nnunet):
    data = Dataset.open(nnunet.path)
    assert {id: one.split for id, one in data.samples.items()} == {"a": "train", "b": "val", "t": "test"}
    sample = data.samples["a"]
    stored = np.asarray(nibabel.load(nnunet.path / "imagesTr/a_0001.nii.gz").dataobj)
    # x runs along the file's second axis, backwards, and y along its first one.
    turned = stored.transpose(1, 0, 2)[::-1].transpose(2, 1, 0)
    assert sample.size == (6, 4, 5) and sample.spacing_mm == (4, 1.5, 2) and data.channels == 2
    assert np.allclose(sample.image()[1], (turned - turned.mean()) / turned.std(), atol=1e-5)
    assert set(np.unique(sample.label())) == {0, 1, 255} and data.classes.names == ("background", "edema")
    assert data.ids == {"background": 0, "edema": 2} and data.problems == ()


def test_a_channel_with_another_frame_is_named(nnunet):
    nnunet.nifti("imagesTr/a_0001.nii.gz", np.zeros((5, 4, 6), np.int16), np.eye(4))
    problem = Dataset.open(nnunet.path).problems[0]
    assert problem.where == "imagesTr/a_0001.nii.gz" and "spacing 1 x 1 x 1 mm" in problem.what


def test_a_folder_of_volumes_becomes_nnunet_and_comes_back(volumes, tmp_path):
    for name in ("a", "b", "c"):
        volumes.case(name, affine=AFFINE)
    volumes.text("split.csv", "filename,split\na.nii.gz,train\nb.nii.gz,val\nc.nii.gz,test\n")
    volumes.text("dataset.yaml", "spacing: nominal\n")
    smidgen.convert(volumes.path, tmp_path / "nnunet", to="nnunet")
    for image, label in (("imagesTr/a_0000", "labelsTr/a"), ("imagesTs/c_0000", "labelsTs/c")):
        paths = [tmp_path / f"nnunet/{name}.nii.gz" for name in (image, label)]
        affines = [nibabel.load(path).affine for path in paths]
        assert (affines[0] == AFFINE).all() and (affines[1] == AFFINE).all()
    assert (tmp_path / "nnunet/imagesTr/a_0000.nii.gz").read_bytes() == (volumes.path / "volumes/a.nii.gz").read_bytes()
    assert json.loads((tmp_path / "nnunet/dataset.json").read_text())["file_ending"] == ".nii.gz"
    smidgen.convert(tmp_path / "nnunet", tmp_path / "back", to="folder")
    data, again = Dataset.open(volumes.path), Dataset.open(tmp_path / "back")
    for id, sample in data.samples.items():
        assert (again.samples[id].image() == sample.image()).all() and (again.samples[id].label() == sample.label()).all()
        assert again.samples[id].split == sample.split
    smidgen.convert(volumes.path, tmp_path / "copy", to="folder")
    assert not Dataset.open(tmp_path / "copy").samples["a"].spacing_trusted


def test_arrays_and_stacks_are_written_as_nifti(tmp_path):
    image = np.random.default_rng(0).integers(0, 9, (3, 4, 5)).astype(np.int16)
    data = Dataset({"x": image}, masks={"x": (image > 4).astype(np.uint8)}, classes=["background", "organ"], dims=3, spacing_mm=(3, 2, 1.5))
    smidgen.convert(data, tmp_path / "nnunet", to="nnunet")
    again = Dataset.open(tmp_path / "nnunet").samples["x"]
    assert (again.image() == data.samples["x"].image()).all() and again.spacing_mm == (3, 2, 1.5)
    assert (again.label() == data.samples["x"].label()).all()


@pytest.mark.parametrize("form", ["voc", "coco"])
def test_forms_without_a_place_for_volumes_say_so(volumes, tmp_path, form):
    volumes.case("a")
    with pytest.raises(UsageError, match="write them --to folder or nnunet"):
        smidgen.convert(volumes.path, tmp_path / "out", to=form)
