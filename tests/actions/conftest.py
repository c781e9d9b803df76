"""A tiny folder of photos: red squares and green discs on gray, with tags, masks and a split."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image

QUICK = {
    "encoder": {"weights": "none", "frozen": 0},
    "gap": {"steps": 2, "batch": 2, "long_side": (32, 32), "crop": 32, "score_size": 0},
    "advcam": {"steps": 2, "size": 0, "scales": (1.0,)},
    "walk": {"steps": 2, "batch": 2, "crop": 32, "walk_steps": 4, "foreground_above": 0.5, "background_below": 0.3},
    "deletion": {"images": 3, "draws": 1, "size": 0},
    "supervised": {"steps": 3, "epochs": 0, "batch": 2, "crop": 32, "warmup": 0},
}
"""Settings with which everything runs in seconds, and learns nothing."""


def scene(kind: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An image of 32 x 40 and its mask; kind 0 = nothing there, 1 = a square, 2 = a disc."""
    image = rng.integers(100, 140, (32, 40, 3)).astype(np.uint8)
    label = np.zeros((32, 40), np.uint8)
    y, x = rng.integers(10, 22), rng.integers(10, 30)
    rows, columns = np.ogrid[:32, :40]
    inside = (abs(rows - y) < 7) & (abs(columns - x) < 7) if kind == 1 else (rows - y) ** 2 + (columns - x) ** 2 < 50
    if kind:
        image[inside] = (220, 40, 40) if kind == 1 else (40, 200, 60)
        label[inside] = kind
    return image, label


@pytest.fixture
def folder(tmp_path):
    """Nine images for training and three to validate; the classes are background, square, disc."""
    rng = np.random.default_rng(1)
    data = tmp_path / "photos"
    for name in ("images", "masks"):
        (data / name).mkdir(parents=True)
    tags, split = [], []
    for i in range(12):
        image, label = scene(i % 3, rng)
        Image.fromarray(image).save(data / "images" / f"p{i:02}.png")
        Image.fromarray(label).save(data / "masks" / f"p{i:02}.png")
        tags.append((f"p{i:02}.png", ("", "square", "disc")[i % 3]))
        split.append((f"p{i:02}.png", "val" if i >= 9 else "train"))
    (data / "classes.txt").write_text("background\nsquare\ndisc\n")
    for name, rows in (("tags", tags), ("split", split)):
        with (data / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("filename", name), *rows])
    return data


@pytest.fixture
def quick():
    """Settings with which everything runs in seconds, and learns nothing."""
    return QUICK


@pytest.fixture
def boxes():
    """Makes so many volumes of 8 voxels a side with a box in each, and their masks, by id: v0, v1 …"""

    def made(count: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        rng = np.random.default_rng(0)
        label = np.zeros((8, 8, 8), np.uint8)
        label[2:5, 2:6, 3:6] = 1
        return {f"v{n}": label + rng.normal(0, 0.1, label.shape) for n in range(count)}, {f"v{n}": label for n in range(count)}

    return made
