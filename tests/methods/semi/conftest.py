"""What the tests of this stage share: bright shapes on noise, few of them with masks, and networks that learn these in seconds."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from smidgen.data.dataset import Dataset
from smidgen.parts.losses.sums import LossFactory
from smidgen.parts.networks import settings as networks
from smidgen.parts.networks.encoders import EncoderFactory
from smidgen.parts.networks.factories import HeadFactory

SIDE = 20


def shapes(count: int, seed: int = 0) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A bright square and a bright disc on noise, of different brightness."""
    rng = np.random.default_rng(seed)
    images, masks = {}, {}
    rows, columns = np.ogrid[:SIDE, :SIDE]
    for n in range(count):
        label = np.zeros((SIDE, SIDE), np.uint8)
        y, x = rng.integers(5, SIDE - 5, 2)
        label[(abs(rows - y) < 5) & (abs(columns - x) < 5)] = 1
        y, x = rng.integers(5, SIDE - 5, 2)
        label[(rows - y) ** 2 + (columns - x) ** 2 < 20] = 2
        image = np.array([0.2, 0.55, 0.9])[label] + rng.normal(0, 0.05, label.shape)
        images[f"s{n:02}"], masks[f"s{n:02}"] = np.clip(image, 0, 1).astype(np.float32), label
    return images, masks


@pytest.fixture
def few() -> SimpleNamespace:
    """Twenty images, two of them with masks; factories of a tiny network; and how well a Segmenter finds the shapes of others."""
    images, masks = shapes(20)
    data = Dataset(
        images, {id: masks[id] for id in ("s00", "s01")}, classes=["background", "square", "disc"], split=dict.fromkeys(images, "train")
    )
    others, truth = shapes(6, seed=1)

    def overlap(segmenter) -> float:
        found = np.stack([segmenter.predict(image[None]).label for image in others.values()])
        right = np.stack(list(truth.values()))
        return float(np.mean([((found == k) & (right == k)).sum() / ((found == k) | (right == k)).sum() for k in range(3)]))

    return SimpleNamespace(data=data, masks=masks, images=images, factories=factories(), overlap=overlap)


def factories(dims: int = 2) -> dict[str, object]:
    """A tiny network for images of one channel, and cross entropy."""
    torch.manual_seed(0)
    encoder = EncoderFactory(networks.Encoder(name="resunet", width=6, depth=2), 1, dims=dims)
    return {"encoder": encoder, "head": HeadFactory("point", dims=dims), "loss": LossFactory("ce")}
