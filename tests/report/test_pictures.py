from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from smidgen.products.colors import PALETTE
from smidgen.products.heatmaps import Heatmaps
from smidgen.report import pictures


def decoded(uri: str) -> np.ndarray:
    head, data = uri.split(",")
    assert head == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"), np.int64)


@pytest.mark.parametrize(
    ("shape", "size"), [((300, 600), (160, 320)), ((600, 300), (320, 160)), ((20, 20), (320, 320)), ((1, 500), (1, 320))]
)
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_any_image_becomes_a_picture_of_the_same_shape(shape, size, channels):
    assert decoded(pictures.picture(np.full((channels, *shape), 0.5, np.float32))).shape == (*size, 3)


def test_the_image_keeps_its_colors():
    image = np.zeros((3, 40, 40), np.float32)
    image[0] = 1
    assert np.abs(decoded(pictures.picture(image)) - [255, 0, 0]).max() < 12


def test_classes_are_tinted_and_background_stays_gray():
    label = np.zeros((40, 40), np.uint8)
    label[:, 20:] = 3
    shown = decoded(pictures.with_classes(np.full((1, 40, 40), 0.5, np.float32), label, PALETTE))
    left, right = shown[160, 60], shown[160, 260]
    assert np.ptp(left) < 12
    direction = PALETTE[3] - PALETTE[3].mean()
    assert np.corrcoef(right - right.mean(), direction)[0, 1] > 0.98
    everything = decoded(pictures.with_classes(np.full((1, 40, 40), 0.5, np.float32), label, PALETTE, background=None))
    assert everything[160, 60].mean() < left.mean() - 20


def test_ignored_pixels_are_hatched():
    label = np.full((40, 40), 255, np.uint8)
    shown = decoded(pictures.with_classes(np.full((1, 40, 40), 0.5, np.float32), label, PALETTE))
    assert shown[100:200, 100:200].std() > 8


def test_evidence_is_brighter_where_it_is_stronger_and_the_strongest_class_is_shown():
    maps = np.zeros((2, 4, 4), np.float32)
    maps[0, :, :2], maps[1, :, 3:] = 0.4, 1
    image = np.full((3, 64, 64), 0.5, np.float32)
    shown = decoded(pictures.with_evidence(image, Heatmaps(maps, (1, 2), None, np.ones(2, np.float32), (64, 64)))).sum(axis=2)
    assert shown[160, 310] > shown[160, 40] > shown[160, 200]
    none = Heatmaps(np.zeros((0, 4, 4), np.float32), (), None, np.ones(0, np.float32), (64, 64))
    assert decoded(pictures.with_evidence(image, none)).shape == (320, 320, 3)


def test_colors_of_many_classes_are_told_apart():
    first = PALETTE[1:22].astype(int)
    apart = np.abs(first[:, None] - first[None]).sum(axis=-1) + 999 * np.eye(21, dtype=int)
    assert apart.min() > 40
    assert (np.ptp(first, axis=1) > 60).all(), "no class is gray, for pictures are"
    assert PALETTE[0].tolist() == [0, 0, 0]
    assert PALETTE.shape == (256, 3)
