"""Predictions that other tools have cut, turned, named alike or scored by the batch."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from pytest import approx

import smidgen as package
from smidgen.data.dataset import Dataset
from smidgen.data.images import ImageFile
from smidgen.methods.predict import settings, windows
from smidgen.parts.metrics.confusion import Confusion
from smidgen.parts.networks import settings as networks
from smidgen.parts.networks.heads.settings import Fcn
from smidgen.products.sample import Classes
from smidgen.products.segmenter import Architecture, Segmenter
from smidgen.products.windows import gaussian, whole

CLASSES = Classes(("background", "red", "green", "blue"), 0)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A network without training whose classes all occur: its scores depend on colors and places."""
    torch.manual_seed(0)
    architecture = Architecture(networks.Encoder(weights="none"), "fcn", Fcn(), CLASSES, patch=64)
    network = architecture.build()
    for parameter in network.head.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    folder = tmp_path_factory.mktemp("trouble") / "model"
    Segmenter(network, architecture).save(folder)
    return folder


def scene(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Noise with a strong red object in one corner."""
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    image[: height // 3, : width // 3] = 240, 10, 20
    return image


def mask(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def test_one_scene_in_four_formats_is_one_image(model, tmp_path):
    """Row c09: a TIFF came in as RGB and a PNG as BGR, so the same scene scored lower."""
    image, folder = scene(40, 56), tmp_path / "new"
    folder.mkdir()
    Image.fromarray(image).save(folder / "png.png")
    Image.fromarray(image).save(folder / "tiff.tif")
    tifffile.imwrite(folder / "planar.tif", np.ascontiguousarray(image.transpose(2, 0, 1)), photometric="rgb", planarconfig="separate")
    tifffile.imwrite(folder / "big.tif", image, photometric="rgb", bigtiff=True)
    assert (folder / "big.tif").read_bytes()[2] == 43  # row c14: BigTIFF is read as any other
    found = package.predict(model, folder, out=tmp_path / "masks", probs=True)
    every = {Path(path).stem: mask(Path(path)) for path in found.masks.values()}
    assert len(np.unique(every["png"])) > 1
    for name in ("tiff", "planar", "big"):
        assert (every[name] == every["png"]).all()
    sure = {Path(path).stem: confidence for path, confidence in found.confidence.items()}
    assert len(set(sure.values())) == 1
    assert ImageFile(str(folder / "planar.tif"), channels=3).read()[:, 0, 0] == approx(np.array([240, 10, 20]) / 255)


def test_a_turned_photo_has_a_mask_that_lies_over_it_as_it_is_shown(model, tmp_path):
    """Row c06, for photos: a result whose axes are turned can't be laid over its image."""
    upright, folder = scene(40, 56), tmp_path / "new"
    folder.mkdir()
    Image.fromarray(upright).save(folder / "upright.png")
    turn = Image.Exif()
    turn[0x0112] = 6  # stored on its side: a viewer turns it by 90 degrees
    Image.fromarray(np.rot90(upright)).save(folder / "turned.png", exif=turn)
    package.predict(model, folder, out=tmp_path / "masks", overlay=True)
    assert mask(tmp_path / "masks" / "turned.png").shape == (40, 56)
    assert (mask(tmp_path / "masks" / "turned.png") == mask(tmp_path / "masks" / "upright.png")).all()
    assert mask(tmp_path / "masks" / "overlays" / "turned.jpg").shape == (40, 56, 3)


def test_probabilities_cover_the_whole_image_with_its_empty_border(model, tmp_path):
    """Row c15: saved probabilities had the size of what was left after an empty border was cut off."""
    image = np.zeros((60, 80, 3), np.uint8)
    image[20:40, 20:60] = scene(20, 40)
    path = tmp_path / "framed.png"
    Image.fromarray(image).save(path)
    package.predict(model, path, out=tmp_path / "masks", probs=True)
    with np.load(tmp_path / "masks" / "probs" / "framed.npz") as file:
        probs = file["probs"].astype(np.float32)
    assert probs.shape == (4, 60, 80) and probs.sum(axis=0) == approx(np.ones((60, 80)), abs=3e-3)
    assert (mask(tmp_path / "masks" / "framed.png") == probs.argmax(axis=0)).mean() > 0.99  # ties of 16 bits aside


def test_every_output_is_called_like_its_input_and_a_table_lists_the_pairs(model, tmp_path):
    """Rows c17, c19 and c21: scan.01 and scan.02 became one file, a.png and a.jpg as well, or results were only numbered."""
    names = ["scan.01.tif", "scan.02.tif", "my.img 3.v2.png", "b.png", "a.png", "a.jpg", "10.png", "9.png"]
    folder, out = tmp_path / "new", tmp_path / "masks"
    folder.mkdir()
    for n, name in enumerate(names):
        Image.fromarray(scene(20 + n, 24)).save(folder / name)
    package.predict(model, folder, out=out)
    wanted = {"scan.01", "scan.02", "my.img 3.v2", "b", "a-png", "a-jpg", "10", "9"}
    assert {path.stem for path in out.glob("*.png")} == wanted
    with (out / "predictions.csv").open(newline="") as file:
        pairs = {Path(row["image"]).name: Path(row["mask"]) for row in csv.DictReader(file)}
    assert sorted(pairs) == sorted(names)
    for n, name in enumerate(names):
        assert mask(pairs[name]).shape == (20 + n, 24)


def test_no_tile_shows_in_a_smooth_picture():
    """Row c04: borders of tiles were visible after plain averaging or cropping.

    A predictor that is wrong by 0.1 towards the rim of its window: the blended result is far nearer to the truth than that, and never
    jumps from one pixel to the next.
    """
    rows, columns = np.mgrid[:700, :500].astype(np.float32)
    image = ((rows / 700 + columns / 500) / 2)[None]

    def rim(window):
        y, x = (np.abs(np.linspace(-1, 1, n, dtype=np.float32)) for n in window.shape[1:])
        probs = np.clip(window[0] + 0.1 * np.maximum(y[:, None], x[None]) ** 4, 0, 1)
        return np.stack([probs, 1 - probs])

    found, truth = whole(rim, image, 128)[0], image[0]
    inside = (slice(64, -64),) * 2  # at the image's own edge one window has all the say
    assert np.abs(found - truth)[inside].max() < 0.03
    smooth = 1 / 700
    assert np.abs(np.diff(found, axis=0))[inside].max() < 2.5 * smooth and np.abs(np.diff(found, axis=1))[inside].max() < 2.5 * smooth
    assert gaussian((128, 128))[0, 0] <= 2e-3  # corners, which know least, have least to say


def test_an_image_alone_and_among_four_is_seen_alike(model, run):
    """Row b60: a network left in training mode sees an image by the company it keeps."""
    images = [scene(40, 56, seed) for seed in range(4)]
    segmenter = Segmenter.load(model)
    assert not any(module.training for module in segmenter.network.modules())
    batch = torch.stack([segmenter.prepare(image.transpose(2, 0, 1).astype(np.float32) / 255) for image in images])
    together = segmenter.probs(batch)
    for image, probs in zip(batch, together, strict=True):
        torch.testing.assert_close(segmenter.probs(image[None])[0], probs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [1, 3, 8])
def test_scores_do_not_depend_on_the_batch(model, run, size, monkeypatch):
    """Row b56: mIoU was averaged over batches, so their size changed it."""
    monkeypatch.setattr(windows, "TOGETHER", size)
    rng, images, masks = np.random.default_rng(1), {}, {}
    for n in range(8):
        images[f"v{n}"], masks[f"v{n}"] = scene(32, 40, n), np.zeros((32, 40), np.uint8)
        masks[f"v{n}"][: rng.integers(1, 32), : rng.integers(1, 40)] = 1 + n % 3
    data = Dataset(images, masks, classes=list(CLASSES.names), split=["val"] * 8)
    found = windows.windows(run, settings.Windows(), data, Segmenter.load(model))
    each, at_once = Confusion(CLASSES.names), Confusion(CLASSES.names)
    for id, truth in masks.items():
        each.add(truth, found[id].label)
    at_once.add(np.stack(list(masks.values())), np.stack([found[id].label for id in masks]))
    assert each.record() == at_once.record()
    SCORES.setdefault("all", each.record())
    assert each.record() == SCORES["all"]


SCORES: dict = {}
"""Of the first batch size that was tried; the others have the same."""
