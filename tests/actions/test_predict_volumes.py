"""`smidgen predict` with volumes: the command, the files, and memory."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from smidgen.actions.predict import predict
from smidgen.cli.main import main
from smidgen.core.errors import UsageError
from smidgen.core.screen import Silent
from smidgen.data.volumes import opened_volume
from smidgen.parts.networks import settings as networks
from smidgen.parts.networks.heads.settings import Point
from smidgen.products.sample import Classes
from smidgen.products.segmenter import Architecture, Segmenter

nibabel = pytest.importorskip("nibabel")
AFFINE = np.array([[0.0, -0.7, 0, 90], [0.6, 0, 0.05, -126], [0, 0, 3.0, -72], [0, 0, 0, 1]])
CLASSES = Classes(("background", "ball"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose network says what is brighter than the mean of the case, by windows."""
    own = networks.Encoder(name="resunet", weights="none", width=4, depth=2, norm="batch", first=1)
    architecture = Architecture(own, "point", Point(), CLASSES, 1, patch=(8, 16, 16), dims=3, zscored=True, spacing_mm=(3.0, 0.6, 0.7))
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("run")
    Segmenter(architecture.build(), architecture).save(folder / "model")
    return folder


def scene(*size):
    return (100 + 20 * np.random.default_rng(1).standard_normal(size)).astype(np.int16)


def test_a_nifti_gets_a_label_with_its_own_affine_and_place(run, tmp_path):
    array = scene(20, 17, 9)
    nibabel.save(nibabel.Nifti1Image(array, AFFINE), tmp_path / "a.nii.gz")
    assert main(["predict", str(run), str(tmp_path / "a.nii.gz"), "--out", str(tmp_path / "out"), "--overlay", "--probs"]) == 0
    label = nibabel.load(tmp_path / "out" / "a.nii.gz")
    np.testing.assert_array_equal(label.affine, nibabel.load(tmp_path / "a.nii.gz").affine)
    assert label.shape == array.shape and label.get_data_dtype() == np.uint8
    volume = opened_volume(str(tmp_path / "a.nii.gz"))
    direct = Segmenter.load(run / "model").predict(volume[:], keep_probs=True)
    np.testing.assert_array_equal(np.asarray(label.dataobj), volume.frame.stored(direct.label))
    for value, name in enumerate(CLASSES.names):
        probs = nibabel.load(tmp_path / "out" / "probs" / f"a_{value}_{name}.nii.gz")
        np.testing.assert_array_equal(probs.affine, label.affine)
        np.testing.assert_array_equal(np.asarray(probs.dataobj), volume.frame.stored(direct.probs[value].astype(np.float32)))
    assert (tmp_path / "out" / "overlays" / "a.jpg").is_file()
    assert (tmp_path / "out" / "predictions.csv").read_text().count("a.nii.gz") == 2


def test_a_data_folder_s_volumes_are_predicted_in_their_formats(run, tmp_path):
    tifffile = pytest.importorskip("tifffile")
    folder = tmp_path / "data" / "volumes" / "ward"
    folder.mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(scene(9, 8, 7), np.eye(4)), folder / "a.nii")
    tifffile.imwrite(folder / "b.tif", scene(7, 8, 9), imagej=True, metadata={"axes": "ZYX"})
    found = predict(run, tmp_path / "data", out=tmp_path / "out", screen=Silent())
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in map(type(tmp_path), found.masks.values())) == [
        "ward/a.nii.gz",
        "ward/b.tif",
    ]
    assert tifffile.imread(tmp_path / "out" / "ward" / "b.tif").shape == (7, 8, 9)
    assert not found.left_out and all(0.5 <= sure <= 1 for sure in found.confidence.values())


def test_a_zarr_is_written_block_by_block_and_seamless(run, tmp_path, monkeypatch):
    zarr = pytest.importorskip("zarr")
    from smidgen.products import volumes

    array = scene(20, 150, 24)
    zarr.save_array(tmp_path / "a.zarr", array, zarr_format=2)
    monkeypatch.setattr(volumes, "MOST", 50_000)
    found = predict(run, tmp_path / "a.zarr", out=tmp_path / "out", screen=Silent())
    label = opened_volume(next(iter(found.masks.values()))).voxels[:][0]
    direct = Segmenter.load(run / "model").predict(opened_volume(str(tmp_path / "a.zarr"))[:])
    np.testing.assert_array_equal(label, direct.label)


def test_a_volume_that_cannot_be_read_leaves_nothing_behind(run, tmp_path):
    (tmp_path / "bad.nii.gz").write_bytes(b"no volume")
    with pytest.raises(UsageError, match=r"bad\.nii\.gz"):
        predict(run, tmp_path / "bad.nii.gz", out=tmp_path / "out", screen=Silent())
    assert not list((tmp_path / "out").glob("*.nii*"))
    found = predict(run, tmp_path / "bad.nii.gz", out=tmp_path / "out", skip_broken=True, screen=Silent())
    assert list(found.left_out) == [str(tmp_path / "bad.nii.gz")]


def test_what_is_no_volume_is_refused_and_labels_never_replace_images(run, tmp_path):
    (tmp_path / "photo.png").write_bytes(b"")
    with pytest.raises(UsageError, match="takes volumes"):
        predict(run, tmp_path / "photo.png", out=tmp_path / "out", screen=Silent())
    with pytest.raises(UsageError, match="no volumes in this folder"):
        predict(run, tmp_path, out=tmp_path / "out", screen=Silent())
    nibabel.save(nibabel.Nifti1Image(scene(9, 8, 7), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(UsageError, match="masks would lie among the images"):
        predict(run, tmp_path / "a.nii", out=tmp_path, screen=Silent())


def test_voxels_unlike_those_of_training_are_said(run, tmp_path, caplog):
    nibabel.save(nibabel.Nifti1Image(scene(9, 8, 7), np.diag([2.0, 2.0, 3.0, 1])), tmp_path / "a.nii")
    predict(run, tmp_path / "a.nii", out=tmp_path / "out", screen=Silent())
    assert "the model was trained with 3 x 0.6 x 0.7 mm" in caplog.text


def test_warnings_reach_people_at_the_command_line(run, tmp_path, capsys, monkeypatch):
    log = logging.getLogger("smidgen")
    monkeypatch.setattr(log, "handlers", [])
    monkeypatch.setattr(log, "propagate", False)  # pytest listens above
    nibabel.save(nibabel.Nifti1Image(scene(9, 8, 7), np.diag([2.0, 2.0, 3.0, 1])), tmp_path / "a.nii")
    assert main(["predict", str(run), str(tmp_path / "a.nii"), "--out", str(tmp_path / "out"), "--json"]) == 0
    assert "the model was trained with 3 x 0.6 x 0.7 mm" in capsys.readouterr().err


def test_the_exported_file_gives_the_same_labels_without_the_run(run, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from smidgen.actions.export import export

    done = export(run, out=tmp_path / "model.onnx", screen=Silent())
    assert done.takes.startswith("parts of volumes of 8 x 16 x 16 only: volumes are seen by windows")
    assert max(done.differences.values()) < 1e-4
    nibabel.save(nibabel.Nifti1Image(scene(20, 17, 9), AFFINE), tmp_path / "a.nii.gz")
    labels = []
    for model in (run, done.path):
        found = predict(model, tmp_path / "a.nii.gz", out=tmp_path / f"of-{model.name}", screen=Silent())
        labels.append(np.asarray(nibabel.load(next(iter(found.masks.values()))).dataobj))
    assert (labels[0] != labels[1]).mean() < 1e-3
    with pytest.raises(UsageError, match="is for pictures"):
        export(run, out=tmp_path / "other.onnx", side=64, screen=Silent())
