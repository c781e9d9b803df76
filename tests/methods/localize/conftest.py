"""A classifier of two convolutions and pictures for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn


class TwoConvs:
    """Stride 4, three classes with label values 1 to 3, a point between its two layers."""

    key, ids, points, stride = "two-convs", (1, 2, 3), ("pixels", "middle"), 4

    def __init__(self, copies: int = 1):
        generator = torch.Generator().manual_seed(1)
        first, second = torch.randn(6, 3, 3, 3, generator=generator) * 0.4, torch.randn(8, 6, 3, 3, generator=generator) * 0.3
        head = torch.randn(3, 8, generator=generator)
        # every feature `copies` times with its weight divided: the same logits from more channels
        self.first, self.second, self.head_weights = first, second.repeat(copies, 1, 1, 1), head.repeat(1, copies) / copies
        self.calls = 0

    def prepare(self, image):
        return torch.from_numpy(image)

    def features(self, x, at="pixels", to=None):
        self.calls += 1
        if at == "pixels":
            x = nn.functional.conv2d(x, self.first, stride=2, padding=1).relu()
        return x if to == "middle" else nn.functional.conv2d(x, self.second, stride=2, padding=1).relu()

    def class_maps(self, x, at="pixels", companions=None):
        f = self.features(x, at)
        return nn.functional.conv2d(f, self.head_weights[:, :, None, None].to(f.dtype))

    def layers(self):
        return None


@pytest.fixture
def classifier():
    return TwoConvs()


@pytest.fixture
def make_classifier():
    return TwoConvs


@pytest.fixture
def pictures():
    """Five smooth pictures of two sizes."""
    generator = np.random.default_rng(0)
    sizes = {"a": (24, 32), "b": (24, 32), "c": (20, 16), "d": (24, 32), "e": (22, 30)}
    return {id: np.kron(generator.random((3, h // 2, w // 2)), np.ones((1, 2, 2))).astype(np.float32) for id, (h, w) in sizes.items()}


@pytest.fixture
def data(pictures):
    from smidgen.data.dataset import Dataset

    images = {id: image.transpose(1, 2, 0) for id, image in pictures.items()}
    tags = {"a": [1], "b": [1, 3], "c": [2], "d": [], "e": [3, 2, 1]}
    return Dataset(images=images, tags=tags, classes=["background", "red", "green", "blue"], split=dict.fromkeys(pictures, "train"))
