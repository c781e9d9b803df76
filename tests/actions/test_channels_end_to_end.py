"""Images with other channels than red, green, blue: trained, predicted, scored and shown."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import tifffile
from PIL import Image

import smidgen
from smidgen.cli.main import main
from smidgen.core.errors import DataError, ShapeError, UsageError
from smidgen.core.screen import Silent
from smidgen.data.dataset import Dataset

BANDS = np.array([1.0, 40.0, 3.0, 500.0, 0.2])
"""What the values of five bands are multiplied with: no two have the same unit."""
OFFSETS = np.array([0.0, 1000.0, -5.0, 2000.0, 0.5])


class Words(Silent):
    """Keeps what was said."""

    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


def scene(kind: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An image of 32 x 40 in color and its mask; kind 0 = nothing there, 1 = a red square, 2 = a green one."""
    image, label = rng.integers(100, 140, (32, 40, 3)).astype(np.uint8), np.zeros((32, 40), np.uint8)
    y, x = rng.integers(2, 18), rng.integers(2, 26)
    if kind:
        image[y : y + 12, x : x + 12] = (220, 40, 40) if kind == 1 else (40, 200, 60)
        label[y : y + 12, x : x + 12] = kind
    return image, label


def multispectral(image: np.ndarray) -> np.ndarray:
    """Five bands of a color image, each in a unit of its own; the object is seen in all of them, most in the fourth."""
    red, green, blue = (image[..., i].astype(float) / 255 for i in range(3))
    planes = np.stack([red, green, blue, red - green, green - blue], axis=-1)
    return (planes * BANDS + OFFSETS).astype(np.float32)


def bands(path, image):
    """One page, five samples."""
    tifffile.imwrite(path, multispectral(image), photometric="minisblack", planarconfig="contig")


def gray(path, image):
    Image.fromarray(image[..., 0]).save(path)


def two(path, image):
    """16 bits, two samples."""
    tifffile.imwrite(path, (image[..., :2].astype(np.uint16) * 9 + 700), photometric="minisblack", planarconfig="contig")


def with_infrared(path, image):
    """An RGBA file whose alpha is a fourth channel."""
    Image.fromarray(np.dstack([image, 255 - image[..., 0]])).save(path)


def pages(path, image):
    """A page per channel, as ImageJ writes them."""
    tifffile.imwrite(path, np.moveaxis(multispectral(image), -1, 0)[:4], imagej=True, metadata={"axes": "CYX"})


@pytest.fixture
def make(tmp_path):
    """Writes twelve scenes with tags, masks and a split."""

    def write(save, suffix, one_hot=False, yaml=""):
        rng = np.random.default_rng(1)
        data = tmp_path / "scenes"
        for name in ("images", "masks"):
            (data / name).mkdir(parents=True)
        tags, split = [], []
        for i in range(12):
            image, label = scene(i % 3, rng)
            save(data / "images" / f"p{i:02}{suffix}", image)
            Image.fromarray(label).save(data / "masks" / f"p{i:02}.png")
            file = f"p{i:02}{suffix}"
            tags.append((file, int(i % 3 == 1), int(i % 3 == 2)) if one_hot else (file, ("", "square", "disc")[i % 3]))
            split.append((file, "val" if i >= 9 else "train"))
        (data / "classes.txt").write_text("background\nsquare\ndisc\n")
        head = ("filename", "square", "disc") if one_hot else ("filename", "tags")
        for name, heading, rows in (("tags", head, tags), ("split", ("filename", "split"), split)):
            with (data / f"{name}.csv").open("w", newline="") as file:
                csv.writer(file).writerows([heading, *rows])
        if yaml:
            (data / "dataset.yaml").write_text(yaml)
        return data

    return write


def test_five_bands_and_one_hot_tags_from_the_command_line_to_scores(make, tmp_path, quick, capsys):
    data = make(bands, ".tif", one_hot=True)
    words = Words()
    run = smidgen.train(data, out=tmp_path / "run", use="tags", preset="small", settings=quick, screen=words)
    assert any("first convolution adapted to 5 channels, each normalized" in line for line in words.said)
    assert any("5 channels; in pictures the first three are red, green, blue" in line for line in words.said)
    assert run.scores["val"]["images"] == 3
    page = run.report.read_text(encoding="utf-8")
    assert "first convolution adapted to 5 channels" in page and "1st and 99th percentile" in page

    record = json.loads((run.folder / "model" / "model.json").read_text())
    low, high = record["value_range"]
    assert record["channels"] == len(low) == len(high) == 5
    assert 1000 <= low[1] < high[1] <= 1040 and 2000 - 500 <= low[3] < high[3] <= 2500

    # the classifier's first layer sees each band as it would see a color of a photo
    first = run.segmenter.network.encoder.normalize
    seen = first(np_tensor(sample.image() for sample in Dataset.open(data).train.values()))
    assert seen.mean(dim=(0, 2, 3)).tolist() == pytest.approx([(m - 0.5) / 0.5 for m in (0.485, 0.456, 0.406, 0.485, 0.456)], abs=0.01)
    assert seen.std(dim=(0, 2, 3)).tolist() == pytest.approx([s / 0.5 for s in (0.229, 0.224, 0.225, 0.229, 0.224)], abs=0.01)

    images, out = str(data / "images"), str(tmp_path / "out")
    assert main(["predict", str(run.folder), images, "--out", out, "--overlay"]) == 0
    shown = np.asarray(Image.open(tmp_path / "out" / "overlays" / "p01.jpg"))
    assert shown.shape == (32, 40, 3) and shown.std() > 20
    assert main(["evaluate", str(run.folder), str(data)]) == 0
    assert "5" not in capsys.readouterr().err

    three = tmp_path / "three.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(three)
    assert main(["predict", str(run.folder), str(three), "--out", out]) == 2
    assert "three.png: image: expected shape (5, h, w), found (3, 8, 8); this model takes 5 channels" in capsys.readouterr().err


def np_tensor(images):
    import torch

    return torch.from_numpy(np.stack(list(images)))


@pytest.mark.parametrize(
    ("save", "suffix", "yaml", "channels"),
    [(two, ".tif", "", 2), (with_infrared, ".png", "channels: all\n", 4), (pages, ".tif", "", 4)],
)
def test_other_numbers_of_channels_from_masks(make, tmp_path, quick, save, suffix, yaml, channels):
    data = make(save, suffix, yaml=yaml)
    few = {name: quick[name] for name in ("encoder", "supervised")}
    run = smidgen.train(data, out=tmp_path / "run", use="masks", preset="small", settings=few)
    assert run.segmenter.architecture.channels == channels
    found = smidgen.predict(run.folder, data / "images", out=tmp_path / "out")
    assert len(found.masks) == 12
    # predicted from the files as the run scored them
    kept = {path.stem: np.asarray(Image.open(path)) for path in (tmp_path / "out").glob("p*.png")}
    scored = run.segmenter.predict(Dataset.open(data).samples["p09"].image(), flip=True)
    assert np.array_equal(kept["p09"], scored.label)


def test_channels_that_differ_between_images_are_named(make, tmp_path, quick):
    data = make(bands, ".tif")
    gray(data / "images" / "p03.tif", np.zeros((32, 40, 3), np.uint8))
    tifffile.imwrite(data / "images" / "p04.tif", np.zeros((32, 40, 4), np.float32), photometric="minisblack", planarconfig="contig")
    with pytest.raises(DataError) as caught:
        smidgen.train(data, out=tmp_path / "run", preset="small", settings=quick)
    assert "images/p04.tif: 4 channels, 5 expected as in most images" in str(caught.value)
    assert "p03" not in str(caught.value)  # gray is repeated
    with pytest.raises(DataError, match="images b: 4 channels, another one has 5"):
        Dataset({"a": np.zeros((4, 4, 5)), "b": np.zeros((4, 4, 4)), "c": np.zeros((4, 4))}, tags={"a": ["x"]})


def test_data_of_other_channels_than_the_models_are_refused(make, tmp_path, quick):
    data = make(bands, ".tif")
    few = {name: quick[name] for name in ("encoder", "supervised")}
    run = smidgen.train(data, out=tmp_path / "run", use="masks", preset="small", settings=few)
    image, mask = {"a": np.zeros((32, 32, 3), np.uint8)}, {"a": np.zeros((32, 32), np.uint8)}
    colors = Dataset(image, masks=mask, classes=run.segmenter.classes.names, split={"a": "val"})
    with pytest.raises((UsageError, ShapeError), match="5 channels"):
        smidgen.evaluate(run.folder, colors, out=tmp_path / "evaluated")


@pytest.mark.slow
def test_an_object_that_only_the_fifth_band_shows_is_learned(make, tmp_path):
    def hidden(path, image):
        planes = np.random.default_rng(int(image.sum())).integers(0, 255, (32, 40, 5)).astype(np.float32)
        planes[..., 4] = 3000 + (image[..., 0] - image[..., 1].astype(float)) / 1000  # a square of +0.18, a disc of -0.16
        tifffile.imwrite(path, planes, photometric="minisblack", planarconfig="contig")

    settings = {
        "supervised": {"steps": 150, "epochs": 0, "batch": 6, "crop": 32, "warmup": 0, "scale": (1.0, 1.0)},
        "encoder": {"frozen": 0},
    }
    run = smidgen.train(make(hidden, ".tif"), out=tmp_path / "run", use="masks", preset="small", settings=settings)
    assert run.scores["val"]["miou"] > 0.5
