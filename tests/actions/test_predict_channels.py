"""`smidgen predict` with a file per channel, as nnU-Net has them, and with whole datasets: images are predicted, labels never."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from smidgen.actions.evaluate import evaluate
from smidgen.actions.predict import predict
from smidgen.cli.main import main
from smidgen.core.errors import UsageError
from smidgen.core.screen import Silent
from smidgen.data import large
from smidgen.data.dataset import Dataset
from smidgen.data.large import opened
from smidgen.data.volumes import opened_volume
from smidgen.parts.networks import settings as networks
from smidgen.parts.networks.heads.settings import Point
from smidgen.products.sample import Classes
from smidgen.products.segmenter import Architecture, Segmenter

nibabel = pytest.importorskip("nibabel")
AFFINE = np.array([[0.0, -0.7, 0, 90], [0.6, 0, 0.05, -126], [0, 0, 3.0, -72], [0, 0, 0, 1]])
CLASSES = Classes(("background", "ball"))
KINDS = ("0_background", "1_ball")
"""How volumes of probabilities are called."""
TABLE = '{"channel_names": {"0": "T1", "1": "FLAIR"}, "labels": {"background": 0, "ball": 1}, "numTraining": 2, "file_ending": ".nii.gz"}'


def saved(folder, channels, dims=3):
    """A run with a network of volumes, or of images, of so many channels."""
    own = networks.Encoder(name="resunet", weights="none", width=4, depth=2, norm="batch", first=1)
    form = {"patch": (8, 16, 16), "dims": 3, "zscored": True} if dims == 3 else {"patch": 16}
    torch.manual_seed(0)
    architecture = Architecture(own, "point", Point(), CLASSES, channels, **form)
    Segmenter(architecture.build(), architecture).save(folder / "model")
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("two"), 2)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("one"), 1)


def scan(path, seed=0, size=(20, 17, 9), affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = (100 + 20 * np.random.default_rng(seed).standard_normal(size)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return array


def written(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.nii*"))


def test_files_of_one_case_are_one_volume_in_the_order_of_their_channels(two, tmp_path):
    for seed, name in enumerate(("b_0001", "b_0000", "ward/a_0000", "ward/a_0001")):
        scan(tmp_path / f"scans/{name}.nii.gz", seed)
    assert main(["predict", str(two), str(tmp_path / "scans"), "--out", str(tmp_path / "out"), "--probs", "--overlay"]) == 0
    probs = [f"probs/{name}_{kind}.nii.gz" for name in ("b", "ward/a") for kind in KINDS]
    assert written(tmp_path / "out") == ["b.nii.gz", *probs, "ward/a.nii.gz"]
    label = nibabel.load(tmp_path / "out/b.nii.gz")
    parts = [opened_volume(str(tmp_path / f"scans/b_000{i}.nii.gz")) for i in (0, 1)]
    direct = Segmenter.load(two / "model").predict(np.concatenate([part[:] for part in parts]), keep_probs=True)
    np.testing.assert_array_equal(np.asarray(label.dataobj), parts[0].frame.stored(direct.label))
    for value, kind in enumerate(KINDS):
        found = nibabel.load(tmp_path / f"out/probs/b_{kind}.nii.gz")
        np.testing.assert_array_equal(np.asarray(found.dataobj), parts[0].frame.stored(direct.probs[value].astype(np.float32)))
    np.testing.assert_array_equal(label.affine, nibabel.load(tmp_path / "scans/b_0000.nii.gz").affine)
    with (tmp_path / "out/predictions.csv").open() as file:
        assert {row["image"].rpartition("/")[2] for row in csv.DictReader(file)} == {"a_0000.nii.gz", "b_0000.nii.gz"}


def test_a_missing_channel_is_named_and_may_be_left_out(two, tmp_path):
    for name in ("a_0000", "a_0001", "b_0001"):
        scan(tmp_path / f"scans/{name}.nii.gz")
    with pytest.raises(UsageError, match=r"channel 0000 of b is missing.*takes 2 channels.*there is b_0001\.nii\.gz: add b_0000\.nii\.gz"):
        predict(two, tmp_path / "scans", out=tmp_path / "out", screen=Silent())
    assert not (tmp_path / "out").exists()
    found = predict(two, tmp_path / "scans", out=tmp_path / "out", skip_broken=True, screen=Silent())
    assert written(tmp_path / "out") == ["a.nii.gz"] and list(found.left_out) == [str(tmp_path / "scans/b_0001.nii.gz")]


def test_files_that_are_named_one_by_one_are_joined_too(two, tmp_path):
    names = [tmp_path / f"a_000{i}.nii.gz" for i in (0, 1)]
    for path in names:
        scan(path)
    predict(two, names, out=tmp_path / "out", screen=Silent())
    assert written(tmp_path / "out") == ["a.nii.gz"]
    with pytest.raises(UsageError, match=r"channel 0001 of a is missing"):
        predict(two, names[0], out=tmp_path / "out", screen=Silent())


def test_what_does_not_fit_says_what_to_do(two, tmp_path):
    scan(tmp_path / "plain.nii.gz")
    with pytest.raises(UsageError, match=r"has 1 channel, and this model takes 2: give one file per channel, called like plain_0000"):
        predict(two, tmp_path / "plain.nii.gz", out=tmp_path / "out", screen=Silent())
    for i in range(3):
        scan(tmp_path / f"three/a_000{i}.nii.gz")
    with pytest.raises(UsageError, match=r"a has 3 channels \(a_0000.*and the model takes 2 channels"):
        predict(two, tmp_path / "three", out=tmp_path / "out", screen=Silent())
    scan(tmp_path / "grids/a_0000.nii.gz")
    scan(tmp_path / "grids/a_0001.nii.gz", affine=np.diag([0.6, 0.7, 1, 1]))
    with pytest.raises(UsageError, match=r"a_0000\.nii\.gz: channel a_0001\.nii\.gz: 9 x 17 x 20 voxels .*, its image has 9 x 20 x 17"):
        predict(two, tmp_path / "grids", out=tmp_path / "out", screen=Silent())


def test_a_file_that_holds_all_channels_is_a_case_by_itself(two, tmp_path):
    tifffile = pytest.importorskip("tifffile")
    for i in range(2):
        array = np.random.default_rng(i).integers(0, 99, (9, 2, 17, 20)).astype(np.uint16)
        tifffile.imwrite(tmp_path / f"scan_000{i}.tif", array, imagej=True, metadata={"axes": "ZCYX"})
    predict(two, tmp_path, out=tmp_path / "out", screen=Silent())
    assert sorted(path.name for path in (tmp_path / "out").glob("*.tif")) == ["scan_0000.tif", "scan_0001.tif"]


def test_running_numbers_stay_images_of_a_model_of_one_channel(one, tmp_path):
    for name in ("a_0000", "a_0001", "a_0002", "b_0000"):
        scan(tmp_path / f"frames/{name}.nii.gz")
    predict(one, tmp_path / "frames", out=tmp_path / "out", screen=Silent())
    assert len(written(tmp_path / "out")) == 4
    for name in ("a_0000", "a_0001", "b_0000", "b_0001"):
        scan(tmp_path / f"channels/{name}.nii.gz")
    with pytest.raises(UsageError, match=r"a has 2 channels.*the model takes 1 channel \(0000\).*one by one; if these are no channels"):
        predict(one, tmp_path / "channels", out=tmp_path / "out2", screen=Silent())
    predict(one, [tmp_path / "channels/a_0000.nii.gz", tmp_path / "channels/b_0000.nii.gz"], out=tmp_path / "out2", screen=Silent())
    assert written(tmp_path / "out2") == ["a_0000.nii.gz", "b_0000.nii.gz"]


def test_of_an_nnunet_dataset_images_are_predicted_and_labels_are_not(two, tmp_path):
    root = tmp_path / "Dataset001_Balls"
    for seed, name in enumerate(("Tr/a_0000", "Tr/a_0001", "Tr/b_0000", "Tr/b_0001", "Ts/c_0000", "Ts/c_0001")):
        scan(root / f"images{name}.nii.gz", seed)
    for name in ("Tr/a", "Tr/b", "Ts/c"):
        nibabel.save(nibabel.Nifti1Image(np.ones((20, 17, 9), np.uint8), AFFINE), scan_folder(root / f"labels{name}.nii.gz"))
    (root / "dataset.json").write_text(TABLE)
    found = predict(two, root, screen=Silent())
    assert found.folder == two / "predictions" / "Dataset001_Balls" and written(found.folder) == ["a.nii.gz", "b.nii.gz", "c.nii.gz"]
    # The masks have the names of the cases, so that they can be scored as they are.
    scored = evaluate(found.folder, root, split="all", screen=Silent())
    of_model = evaluate(two, root, split="all", out=tmp_path / "scores.json", screen=Silent())
    assert scored.facts["miou"] == of_model.facts["miou"] and len(scored.scored.images) == 3
    assert written(predict(two, root / "imagesTs", out=tmp_path / "ts", screen=Silent()).folder) == ["c.nii.gz"]
    with pytest.raises(UsageError, match="masks would lie among the images"):
        predict(two, root, out=root / "imagesTr", screen=Silent())


def scan_folder(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_of_an_nnunet_dataset_of_one_channel_masks_are_called_like_cases(one, tmp_path):
    for name in ("imagesTr/a_0000", "imagesTr/b_0000", "labelsTr/a", "labelsTr/b"):
        scan(tmp_path / f"set/{name}.nii.gz")
    (tmp_path / "set/dataset.json").write_text(TABLE.replace(', "1": "FLAIR"', ""))
    assert written(predict(one, tmp_path / "set", out=tmp_path / "out", screen=Silent()).folder) == ["a.nii.gz", "b.nii.gz"]


# ---------------------------------------------------------------- images


def gray(path, seed, size=(24, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, size).astype(np.uint8)).save(path)


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


def test_gray_images_are_channels_where_most_cases_are_complete(tmp_path):
    run = saved(tmp_path / "run", 3, dims=2)
    for case in "ab":
        for i in range(3):
            gray(tmp_path / f"gray/{case}_000{i}.png", i)
            Image.new("RGB", (20, 24)).save(scan_folder(tmp_path / f"colors/{case}_000{i}.png"))
            gray(tmp_path / f"frames/{case}_000{i + 1}.png", i)
    assert names(predict(run, tmp_path / "gray", out=tmp_path / "1", screen=Silent()).folder) == ["a.png", "b.png"]
    assert len(names(predict(run, tmp_path / "colors", out=tmp_path / "2", screen=Silent()).folder)) == 6
    assert len(names(predict(run, tmp_path / "frames", out=tmp_path / "3", screen=Silent()).folder)) == 6
    (tmp_path / "gray/b_0002.png").unlink()
    gray(tmp_path / "gray/c_0000.png", 1)
    gray(tmp_path / "gray/c_0001.png", 1)
    gray(tmp_path / "gray/c_0002.png", 1)
    with pytest.raises(UsageError, match=r"channel 0002 of b is missing"):
        predict(run, tmp_path / "gray", out=tmp_path / "4", screen=Silent())


def test_large_images_of_several_files_are_read_by_rows_and_have_the_same_values(tmp_path, monkeypatch):
    for i in range(2):
        gray(tmp_path / f"a_000{i}.png", i)
    paths = [str(tmp_path / f"a_000{i}.png") for i in range(2)]
    with opened(paths, 2, (0, 1)) as image:
        whole = np.asarray(image)
    monkeypatch.setattr(large, "VALUES", 0)
    with opened(paths, 2, (0, 1)) as image:
        assert image.shape == (2, 24, 20)
        np.testing.assert_array_equal(image[:, 3:9, 2:5], whole[:, 3:9, 2:5])
    np.testing.assert_allclose(whole[1], np.asarray(Image.open(paths[1]), np.float32) / 255, atol=1e-6)


def test_color_files_of_an_nnunet_dataset_are_called_like_cases_and_scored(tmp_path):
    run = saved(tmp_path / "run", 3, dims=2)
    root = tmp_path / "set"
    for case in "ab":
        Image.new("RGB", (20, 24), "red").save(scan_folder(root / f"imagesTr/{case}_0000.png"))
        Image.fromarray(np.eye(24, 20, dtype=np.uint8)).save(scan_folder(root / f"labelsTr/{case}.png"))
    table = TABLE.replace('"0": "T1", "1": "FLAIR"', '"0": "R", "1": "G", "2": "B"').replace(".nii.gz", ".png")
    (root / "dataset.json").write_text(table)
    assert names(predict(run, root, out=tmp_path / "1", screen=Silent()).folder) == ["a.png", "b.png"]
    assert len(evaluate(tmp_path / "1", root, split="all", screen=Silent()).scored.images) == 2
    for case in "ab":
        gray(root / f"imagesTr/{case}_0000.png", 1)
    assert names(predict(run, root, out=tmp_path / "2", screen=Silent()).folder) == ["a.png", "b.png"]


def test_a_model_of_images_says_that_a_folder_holds_volumes_and_a_run_that_is_not_there_is_guessed(tmp_path):
    run = saved(tmp_path / "run", 3, dims=2)
    scan(tmp_path / "scans/a.nii.gz")
    with pytest.raises(UsageError, match="holds volumes, and this model takes images"):
        predict(run, tmp_path / "scans", screen=Silent())
    with pytest.raises(UsageError, match=r"runn: there is no such run: did you mean .*/run\?"):
        predict(tmp_path / "runn", tmp_path / "scans", screen=Silent())


@pytest.mark.parametrize("form", ["folder", "voc", "tags"])
def test_masks_of_a_dataset_of_images_are_never_predicted(form, tmp_path):
    run = saved(tmp_path / "run", 3, dims=2)
    places = {"folder": ("images", "masks"), "voc": ("JPEGImages", "SegmentationClass"), "tags": ("ok", "masks")}
    for place in places[form]:
        gray(tmp_path / f"data/{place}/a.png", 1)
    found = predict(run, tmp_path / "data", out=tmp_path / "out", screen=Silent())
    assert len(found.masks) == 1 and len(names(tmp_path / "out")) == 1


def test_the_same_values_as_in_training(tmp_path):
    for name in ("Tr/a_0000", "Tr/a_0001"):
        scan(tmp_path / f"images{name}.nii.gz", len(name))
    (tmp_path / "dataset.json").write_text(TABLE)
    trained = Dataset.open(tmp_path).samples["a"].image()
    volume = opened_volume([str(tmp_path / f"imagesTr/a_000{i}.nii.gz") for i in range(2)])
    np.testing.assert_allclose(volume[:], trained, atol=1e-6)
    np.testing.assert_array_equal(volume[1:2, 3:5, :, 2:4], volume[:][1:2, 3:5, :, 2:4])
