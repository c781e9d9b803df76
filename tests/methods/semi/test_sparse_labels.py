"""Ten strokes become a mask: methods of few labels on images of which some pixels are labeled and most are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from smidgen.core.fit import Step
from smidgen.data.dataset import Dataset
from smidgen.data.pairs import labeled
from smidgen.data.strong import Strong
from smidgen.data.views import Views, unlabeled, weak
from smidgen.methods.semi import settings
from smidgen.methods.semi.weak_to_strong import Training, weak_to_strong
from smidgen.parts.losses.sums import LossFactory
from smidgen.parts.networks import settings as networks
from smidgen.parts.networks.encoders import Encoder, EncoderFactory
from smidgen.parts.networks.factories import HeadFactory
from smidgen.parts.networks.network import Network

MOVES = {"crop": 28, "scale": (1.0, 1.0), "batch": 3, "batch_unlabeled": 3}
MOVED = {"steps": 100, "optimizer": "adamw", "lr_encoder": 0.01, "lr_head": 0.01}
DRAWN = {"brightness": 0.1, "contrast": 0.1, "gamma": 0.1, "blur": 0.5}
FAST = settings.WeakToStrong(**MOVES, **MOVED, **DRAWN, ema=0.9, confidence=0.8)


class ToyEncoder(EncoderFactory):
    key = "toy"

    def __init__(self):
        self.settings, self.in_channels, self.frozen_statistics = networks.Encoder(), 1, True

    def __call__(self):
        return Pyramid()


class Pyramid(Encoder):
    """Two convolutions at full resolution, 5 pixels wide together."""

    def __init__(self):
        nn.Module.__init__(self)
        self.channels, self.strides = (12,), (1,)
        self.layers = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 12, 3, padding=1), nn.ReLU())

    def forward(self, images):
        return [self.layers(images)]


def scenes(count: int, seed: int = 0):
    """Bright discs and dark grounds of several grays, with noise."""
    rng, images, masks = np.random.default_rng(seed), {}, {}
    rows, columns = np.ogrid[:28, :28]
    for n in range(count):
        y, x = rng.integers(9, 19, 2)
        mask = ((rows - y) ** 2 + (columns - x) ** 2 < rng.integers(30, 60)).astype(np.uint8)
        images[f"s{n}"] = np.clip(rng.uniform(0.15, 0.35) + 0.4 * mask + rng.normal(0, 0.08, mask.shape), 0, 1).astype(np.float32)
        masks[f"s{n}"] = mask
    return images, masks


def strokes(count: int = 8) -> Dataset:
    """Two strokes an image: six pixels within the disc, and six at the image's border."""
    images, masks = scenes(count)
    drawn = {}
    for id, mask in masks.items():
        label = np.full_like(mask, 255)
        y, x = np.argwhere(mask).mean(axis=0).astype(int)
        label[y, x - 3 : x + 3] = 1
        label[1, 4:10] = 0
        drawn[id] = label
    made = Dataset(images, drawn, classes=["background", "disc"])
    return made._with({id: replace(one, sparse=True) for id, one in made.samples.items()})


def overlap(segmenter, images, masks) -> float:
    found = np.stack([segmenter.predict(image[None]).label for image in images.values()]) == 1
    truth = np.stack(list(masks.values())) == 1
    return float((found & truth).sum() / (found | truth).sum())


def test_every_stroked_image_teaches_twice():
    data = strokes(4)
    views = Views(weak(FAST, data), 1, Strong())
    network = Network(Pyramid(), HeadFactory("point")((12,), (1,), 2))
    learner = Training(network, labeled(data, None), unlabeled(data), views, LossFactory("ce"), FAST)
    assert [len(stream.samples) for stream in learner.streams.values()] == [4, 4]
    assert all(sample.read_label is None for sample in learner.streams["unlabeled"].samples)
    batch = {}
    for name, stream in learner.streams.items():
        torch.manual_seed(3)
        drawn = [stream.prepare(sample) for sample in stream.samples]
        batch[name] = {key: torch.stack([one[key] for one in drawn]) for key in drawn[0]}
    assert 0.9 < (batch["labeled"]["label"] == 255).float().mean() < 1
    assert (batch["unlabeled"]["label"] == 0).all()
    found = learner.terms(batch, "all", Step(100, 120, torch.Generator()))
    assert all(value.isfinite() for value in found.values())
    assert set(found) == {"ce", "taught-ce"}


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"steps": 60}, id="plain"),
        pytest.param({"paste": 0.5, "labeled_weight": 0.5}, id="with boxes of stroked images", marks=pytest.mark.slow),
    ],
)
def test_strokes_become_masks(run, changed):
    torch.manual_seed(0)
    segmenter = weak_to_strong(run, FAST.model_copy(update=changed), strokes(), ToyEncoder(), HeadFactory("point"), LossFactory("ce"))
    assert overlap(segmenter, *scenes(6, seed=1)) > 0.75
