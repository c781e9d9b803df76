"""`smidgen predict` and `smidgen evaluate` in process: words in, files, figures and exit codes out."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
import tifffile
from PIL import Image
from pytest import approx

import smidgen
from smidgen.cli.main import main
from smidgen.core.errors import UsageError
from smidgen.products.colors import PALETTE
from smidgen.products.segmenter import Segmenter

CLASSES = ("background", "square", "stripe")


def picture(rng, height=24, width=32):
    """Noise with a red square and a blue stripe, and its mask."""
    image, mask = rng.integers(80, 120, (height, width, 3)).astype(np.uint8), np.zeros((height, width), np.uint8)
    y, x = rng.integers(0, height - 8), rng.integers(0, width - 8)
    mask[:, x // 2 : x // 2 + 3], mask[y : y + 8, x : x + 8] = 2, 1
    image[mask == 1], image[mask == 2] = (220, 40, 40), (40, 60, 230)
    return image, mask


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Ten photos with masks, and nobody said which are to be scored."""
    folder, rng = tmp_path_factory.mktemp("predict") / "photos", np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for n in range(10):
        image, mask = picture(rng)
        Image.fromarray(image).save(folder / "images" / f"p {n}, left.png")
        Image.fromarray(mask).save(folder / "masks" / f"p {n}, left.png")
    (folder / "classes.txt").write_text("\n".join(CLASSES))
    return folder


@pytest.fixture(scope="session")
def trained(photos):
    """A run of three steps."""
    run = photos.parent / "run"
    words = "--recipe masks --preset paper --encoder.weights none --machine.threads 1 --val 0.4 --seed 3 --windows.flip --loss balanced"
    steps = {"steps": 3, "batch": 3, "crop": 32, "lr-encoder": 1e-4, "lr-head": 1e-3}  # with these it predicts more than one class
    words += "".join(f" --supervised.{name} {value}" for name, value in steps.items())
    assert main(["train", str(photos), "--out", str(run), *words.split()]) == 0
    return run


@pytest.fixture
def images(tmp_path):
    """New images of several sizes and kinds."""
    folder, rng = tmp_path / "new", np.random.default_rng(1)
    (folder / "deep").mkdir(parents=True)
    Image.fromarray(picture(rng, 40, 25)[0]).save(folder / "a.png")
    Image.fromarray(picture(rng, 17, 33)[0]).save(folder / "deep" / "b.jpg")
    Image.fromarray(picture(rng)[0]).convert("L").save(folder / "gray.tif")
    return folder


def predict(*words) -> int:
    return main(["predict", *map(str, words)])


def evaluate(*words) -> int:
    return main(["evaluate", *map(str, words)])


def files(folder) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def value(path) -> np.ndarray:
    return np.array(Image.open(path))


# ---------------------------------------------------------------- predict


def test_a_folder_becomes_index_masks_of_the_images_sizes(trained, images, tmp_path, capsys):
    out = tmp_path / "masks"
    assert predict(trained, images, "--out", out) == 0
    assert files(out) == ["a.png", "deep/b.png", "gray.png", "predictions.csv"]
    sizes = {"a": (40, 25), "deep/b": (17, 33), "gray": (24, 32)}
    for name, size in sizes.items():
        with Image.open(out / f"{name}.png") as mask:
            assert mask.mode == "P"
            assert mask.getpalette() == PALETTE.ravel().tolist()
            assert np.array(mask).shape == size
            assert set(np.unique(np.array(mask))) <= {0, 1, 2}
    expected = Segmenter.load(trained / "model").predict(
        np.float32(value(images / "a.png").transpose(2, 0, 1)) / 255, flip=True
    )  # as the preset scores
    assert len(np.unique(expected.label)) > 1
    assert (value(out / "a.png") == expected.label).all()
    with (out / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["mask"] for row in rows} == {str(out / f"{name}.png") for name in sizes}
    confidence = {row["image"]: float(row["confidence"]) for row in rows}
    assert list(confidence.values()) == sorted(confidence.values())
    assert confidence[str(images / "a.png")] == approx(expected.confidence.mean(), abs=1e-4)
    text = capsys.readouterr().out
    assert f"masks     3 in {out}" in text
    assert str(images / "gray.tif") in text


def test_one_image_goes_beside_the_run_unless_told(trained, images):
    assert predict(trained, images / "a.png") == 0
    assert value(trained / "predictions" / "images" / "a.png").shape == (40, 25)
    assert predict(trained / "model", images) == 0
    assert files(trained / "predictions" / "new") == ["a.png", "deep/b.png", "gray.png", "predictions.csv"]


def test_overlays_and_probabilities_on_request(trained, images, tmp_path):
    out = tmp_path / "masks"
    assert predict(trained, images, "--out", out, "--overlay", "--probs", "--flip", "--scales", "1.0", "0.5") == 0
    assert files(out / "overlays") == ["a.jpg", "deep/b.jpg", "gray.jpg"]
    assert value(out / "overlays" / "deep" / "b.jpg").shape == (17, 33, 3)
    with np.load(out / "probs" / "a.npz") as file:
        probs = file["probs"]
    assert probs.dtype == np.float16
    assert probs.shape == (3, 40, 25)
    assert probs.sum(axis=0) == approx(np.ones((40, 25)), abs=2e-3)
    clear = np.sort(probs, axis=0)[-1] - np.sort(probs, axis=0)[-2] > 2e-3
    assert (value(out / "a.png") == probs.argmax(axis=0))[clear].all()


def test_images_that_differ_in_their_ending_keep_it(trained, tmp_path):
    folder, out, rng = tmp_path / "new", tmp_path / "masks", np.random.default_rng(2)
    folder.mkdir()
    for name, height in (("a.png", 20), ("a.jpg", 21), ("b.v2.png", 22)):
        Image.fromarray(picture(rng, height)[0]).save(folder / name)
    assert predict(trained, folder, "--out", out) == 0
    assert {name: value(out / f"{name}.png").shape[0] for name in ("a-png", "a-jpg", "b.v2")} == {"a-png": 20, "a-jpg": 21, "b.v2": 22}


def test_two_images_never_share_a_mask(trained, tmp_path, capsys):
    folder, out = tmp_path / "new", tmp_path / "masks"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.png", "a.jpg", "a-png.bmp", "deep/a.png"):
        Image.new("RGB", (32, 24)).save(folder / name)
    assert predict(trained, folder, "--out", out) == 2
    message = capsys.readouterr().err
    assert "a.png" in message and "a-png.bmp" in message
    with pytest.raises(UsageError, match=r"both masks would be called a-png: rename one"):
        smidgen.predict(trained, [folder / "a.png", folder / "deep" / "a.png"], out=out)
    assert not out.exists()


def test_a_broken_image_is_named_and_may_be_left_out(trained, images, tmp_path, capsys):
    out, whole = tmp_path / "masks", (images / "a.png").read_bytes()
    (images / "half.png").write_bytes(whole[: len(whole) // 2])
    (images / "text.jpg").write_text("no image")
    tifffile.imwrite(images / "five.tif", np.zeros((5, 20, 20), np.uint8), photometric="minisblack", planarconfig="separate")
    assert predict(trained, images / "half.png", "--out", out) == 2
    assert str(images / "half.png") in capsys.readouterr().err
    assert predict(trained, images, "--out", out) == 2
    assert "--skip-broken" in capsys.readouterr().err
    assert predict(trained, images, "--out", out, "--skip-broken") == 0
    text = capsys.readouterr().out
    for name in ("half.png", "text.jpg", "five.tif"):
        assert f"left out  {images / name}" in text
    assert files(out) == ["a.png", "deep/b.png", "gray.png", "predictions.csv"]


def test_pixels_without_data_are_what_dataset_yaml_says(trained, tmp_path, capsys):
    """Beside the images, and in the data folder whose images they are."""
    folder, holes = tmp_path / "new", np.full((20, 24), 0.5, np.float32)
    holes[3:6, 4:9] = np.nan
    (folder / "images").mkdir(parents=True)
    tifffile.imwrite(folder / "images" / "a.tif", holes)
    assert predict(trained, folder, "--out", tmp_path / "masks") == 2
    assert "nodata: nan" in capsys.readouterr().err
    (folder / "dataset.yaml").write_text("nodata: .nan\n")
    for place in (folder, folder / "images"):
        out = tmp_path / f"masks of {place.name}"
        assert predict(trained, place, "--out", out) == 0
        assert value(out / "a.png").shape == (20, 24)


def test_an_image_of_other_channels_is_named(trained, tmp_path, capsys):
    tifffile.imwrite(tmp_path / "five.tif", np.zeros((20, 20, 5), np.uint8), photometric="rgb", extrasamples=[0, 0])
    assert predict(trained, tmp_path / "five.tif", "--out", tmp_path / "masks") == 2
    message = capsys.readouterr().err
    assert str(tmp_path / "five.tif") in message
    assert "3 channels" in message


def test_where_there_is_nothing_to_predict_is_said(trained, images, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for words, said in (
        ((trained, tmp_path / "empty"), "no images in this folder"),
        ((trained, tmp_path / "nowhere"), "no such file or folder"),
        ((tmp_path / "empty", images), "empty"),
    ):
        assert predict(*words) == 2
        assert said in capsys.readouterr().err


def test_masks_never_take_the_place_of_images(trained, images, capsys):
    before = {name: (images / name).read_bytes() for name in files(images)}
    assert predict(trained, images, "--out", images) == 2
    assert predict(trained, images / "a.png", "--out", images) == 2
    assert "choose another folder" in capsys.readouterr().err
    assert {name: (images / name).read_bytes() for name in files(images)} == before
    for _ in range(2):  # masks of the first time are no images of the second
        assert predict(trained, images, "--out", images / "masks") == 0
        assert files(images / "masks") == ["a.png", "deep/b.png", "gray.png", "predictions.csv"]


# ---------------------------------------------------------------- evaluate


def test_a_run_is_scored_on_the_images_it_did_not_learn_from(trained, photos, capsys):
    assert evaluate(trained, photos) == 0
    found = json.loads((trained / "evaluation-photos-val.json").read_text())
    page = (trained / "evaluation-photos-val.html").read_text(encoding="utf-8")
    assert "evaluation" in page
    assert sum(id in page for id in found["per_image_miou"]) == 3  # best, median, worst of four
    with (trained / "split.csv").open() as file:
        val = {row["filename"] for row in csv.DictReader(file) if row["split"] == "val"}
    assert len(val) == 4
    assert set(found["per_image_miou"]) == val  # neither share nor seed of the drawn split were said again
    scores = json.loads((trained / "scores.json").read_text())["val"]
    assert found["miou"] == approx(scores["miou"], abs=1e-3)  # flipped as for the run's own scores
    assert found["pixels"] == scores["pixels"] == 4 * 24 * 32
    text = capsys.readouterr().out
    assert f"mIoU {100 * found['miou']:.2f}" in text
    assert "figures" in text
    assert evaluate(trained / "model", photos, "--split", "all", "--out", photos.parent / "all.json") == 0
    assert json.loads((photos.parent / "all.json").read_text())["images"] == 10


@pytest.fixture
def truth(tmp_path):
    """Two tiny images with masks; no pixel is a stripe."""
    folder = tmp_path / "truth"
    masks = {"a": [[0, 0, 0, 0], [1, 1, 1, 1]], "deep/b": [[0, 0, 0, 255], [0, 0, 0, 0]]}
    for name, mask in masks.items():
        for place, array in (("images", np.zeros((2, 4, 3), np.uint8)), ("masks", np.array(mask, np.uint8))):
            (folder / place / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / place / f"{name}.png")
    (folder / "classes.txt").write_text("\n".join(CLASSES))
    return folder


@pytest.fixture
def guess(tmp_path):
    """Masks for them from elsewhere: 3 pixels wrong, one of them without an answer."""
    folder = tmp_path / "guess"
    (folder / "deep").mkdir(parents=True)
    for name, mask in {"a": [[0, 0, 0, 1], [1, 1, 0, 255]], "deep/b": np.zeros((2, 4))}.items():
        Image.fromarray(np.array(mask, np.uint8)).save(folder / f"{name}.png")
    return folder


def test_masks_from_anywhere_are_scored(truth, guess, tmp_path, capsys):
    assert evaluate(guess, truth, "--split", "all", "--out", tmp_path / "found.json") == 0
    found = json.loads((tmp_path / "found.json").read_text())
    # background: 10 hits, 11 pixels, 11 guesses; square: 2 hits, 4 pixels, 3 guesses; nobody speaks of stripes
    assert found["iou"] == {"background": approx(10 / 12), "square": approx(2 / 5), "stripe": None}
    assert found["miou"] == approx((10 / 12 + 2 / 5) / 2)
    assert found["pixels"] == 15
    assert found["pixel_accuracy"] == approx(12 / 15)
    assert found["per_image_miou"] == {"a": approx((3 / 5 + 2 / 5) / 2), "deep/b": 1}
    text = capsys.readouterr().out
    assert "mIoU 61.67, the mean over 2 of 3 classes with background; 2 images" in text
    assert "in neither truth nor prediction, so in no mean: stripe" in text


def test_what_is_wrong_with_single_images_is_said(truth, guess, capsys):
    (truth / "images" / "c.png").write_text("no image")
    assert evaluate(guess, truth, "--split", "all") == 0
    text = capsys.readouterr().out
    assert "problem   images/c.png: not an image" in text
    assert "2 images" in text


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (np.full((2, 4), 7, np.uint8), ("image a", "found 7")),
        (np.zeros((3, 4), np.uint8), ("image a", "(3, 4)")),
        (np.zeros((2, 4, 3), np.uint8), ("a.png", "RGB")),
    ],
    ids=["unknown class", "other size", "colors"],
)
def test_masks_that_do_not_fit_are_named(truth, guess, mask, said, capsys):
    Image.fromarray(mask).save(guess / "a.png")
    assert evaluate(guess, truth, "--split", "all") == 2
    message = capsys.readouterr().err
    assert all(word in message for word in said)


def test_a_model_of_other_classes_is_refused(trained, truth, capsys):
    (truth / "classes.txt").write_text("background\nsquare\ncircle\n")
    assert evaluate(trained, truth, "--split", "all") == 2
    message = capsys.readouterr().err
    assert "stripe" in message and "circle" in message


def test_where_there_is_nothing_to_compare_is_said(truth, guess, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for words, said in (
        ((guess, truth, "--split", "test"), "truth: there are no images in test: choose another --split"),
        ((tmp_path / "empty", truth), "has both a mask and a prediction"),
        ((tmp_path / "nowhere", truth), "no such folder"),
        ((guess, tmp_path / "nowhere"), "nowhere"),
    ):
        assert evaluate(*words) == 2
        assert said in capsys.readouterr().err
    (truth / "classes.txt").write_text("square\nstripe\n")  # which value is the background?
    assert evaluate(guess, truth, "--split", "all") == 2
    assert "dataset.yaml" in capsys.readouterr().err
    shutil.rmtree(truth / "masks")
    assert evaluate(guess, truth, "--split", "all") == 2
