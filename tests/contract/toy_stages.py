"""What a method of each stage is tried with: a tiny dataset, something for each of its needs, and settings with which it is quick.

A later method needs no line here, unless its stage or one of its needs is new: then one entry in STAGES or in NEEDS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from toy_runs import Stopped

from smidgen.core import registry
from smidgen.core.run import Given, Run
from smidgen.core.screen import Silent
from smidgen.core.settings import Frozen, validated
from smidgen.data.dataset import Dataset
from smidgen.parts.losses.sums import LossFactory
from smidgen.parts.networks import settings as networks
from smidgen.parts.networks.encoders import EncoderFactory
from smidgen.parts.networks.factories import HeadFactory
from smidgen.parts.networks.network import Network
from smidgen.products.heatmaps import Heatmaps
from smidgen.products.labels import LabelMap
from smidgen.products.segmenter import Architecture, Segmenter
from smidgen.products.warm import Origin, WarmStart

CLASSES = ("background", "square", "disc")
MOST_UNITS = 16
"""Longer steps are no toys."""

STAGES: Mapping[str, Mapping[str, Any]] = {
    "classify": {"steps": 5, "batch": 3, "long_side": (24, 32), "crop": 32, "score_size": 0},
    "localize": {"steps": 3, "batch": 2, "scales": (0.5, 1.0), "size": 0},
    "refine": {"steps": 5, "batch": 2, "crop": 32, "size": 0, "radius": 4, "walk_radius": 3, "walk_steps": 4},
    "label": {"margin": 0.1},
    "check": {"images": 3, "draws": 2, "size": 0},
    "segment": {"steps": 5, "batch": 2, "crop": 32},
    "semi": {"steps": 5, "batch": 2, "batch_unlabeled": 2, "crop": 32, "distill_steps": 3},
    "predict": {"keep_probs": True},
}
"""Stage -> settings that make its methods quick; a method takes those that it has. None are needed where the defaults are quick."""


# ---------------------------------------------------------------- data and needs


@cache
def scenes() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Eight images of two sizes with their masks: nothing, a square, a disc, and so on."""
    rng = np.random.default_rng(0)
    found = {}
    for n in range(8):
        height, width = (32, 32) if n % 3 else (24, 32)
        image, mask = rng.integers(90, 130, (height, width, 3)).astype(np.uint8), np.zeros((height, width), np.uint8)
        rows, columns = np.ogrid[:height, :width]
        y, x, kind = rng.integers(8, height - 8), rng.integers(8, width - 8), n % 3
        inside = (abs(rows - y) < 6) & (abs(columns - x) < 6) if kind == 1 else (rows - y) ** 2 + (columns - x) ** 2 < 45
        if kind:
            image[inside], mask[inside] = ((230, 60, 40), (50, 210, 70))[kind - 1], kind
        found[f"p{n}"] = image, mask
    return found


@cache
def data() -> Dataset:
    """Five training images with tags and masks, one of which nothing is known, and two to validate."""
    images = {id: image for id, (image, _) in scenes().items()}
    masks = {id: mask for id, (_, mask) in scenes().items() if id != "p5"}
    tags = {id: [CLASSES[value] for value in np.unique(mask) if value] for id, mask in masks.items()}
    split = {id: "val" if id in ("p6", "p7") else "train" for id in images}
    return Dataset(images, masks, tags, CLASSES, split=split)


class Classifier(nn.Module):
    """Three layers in a chain, stride 4."""

    key, ids, points, stride = "toy classifier", (1, 2), ("pixels", "middle"), 4

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        first, second, head = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 8, 3, 2, 1), nn.Conv2d(8, 2, 1, bias=False)
        self.chain = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), head).requires_grad_(False).eval()
        self.head_weights = head.weight[:, :, 0, 0]

    def prepare(self, image: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(image))

    def features(self, x: Tensor, at: str = "pixels", to: str | None = None) -> Tensor:
        return self.chain[slice(0 if at == "pixels" else 2, 2 if to == "middle" else 4)](x)

    def class_maps(self, x: Tensor, at: str = "pixels", companions: Tensor | None = None) -> Tensor:
        return self.chain[4](self.features(x, at))

    def layers(self) -> list[nn.Module]:
        return list(self.chain)


def heatmaps() -> Given[Heatmaps]:
    """The masks of the tagged training images at a quarter of their size, blurred by noise."""
    rng, found = np.random.default_rng(1), {}
    for id, sample in data().tagged.items():
        small = scenes()[id][1][2::4, 2::4]
        maps = [np.clip(0.9 * (small == one) + rng.uniform(0, 0.1, small.shape), 0, 1) for one in sample.tags or ()]
        stacked = np.array(maps, np.float32).reshape(-1, *small.shape)
        background = np.full(small.shape, 0.3, np.float32)
        found[id] = Heatmaps(stacked, sample.tags or (), background, np.ones(len(maps), np.float32), sample.size)
    return Given(found, "toy heatmaps")


def labels() -> Given[LabelMap]:
    """The masks of the tagged training images with a stripe that is ignored."""
    found = {}
    for id in data().tagged:
        label = scenes()[id][1].copy()
        label[:, :3] = 255
        found[id] = LabelMap(label, np.where(label == 255, 0, 0.75).astype(np.float16))
    return Given(found, "toy labels")


def segmenter() -> Segmenter:
    """An untrained network."""
    torch.manual_seed(0)
    body, head = encoder()(), HeadFactory("fcn")
    network = Network(body, head(body.channels, body.strides, len(CLASSES))).requires_grad_(False)
    return Segmenter(network, Architecture(networks.Encoder(), "fcn", head.settings, data().classes), key="toy segmenter")


def encoder() -> EncoderFactory:
    return EncoderFactory(networks.Encoder(weights="none"))


def warm_from() -> WarmStart:
    """Networks to start from: the untrained segmenter, and a classifier of the classes in another order."""
    torch.manual_seed(1)
    body = encoder()()
    head = nn.Conv2d(body.final_channels, 2, 1, bias=False)
    networks = nn.ModuleDict({"encoder": body, "head": head})
    classifier = Origin("toy", "toy", (CLASSES[2], CLASSES[1]), networks.state_dict)
    return WarmStart("toy warm start", classifier, WarmStart.of(segmenter()).segmenter)


class Fitter:
    """Trains nothing: whatever the labels, the same network."""

    key = "toy fitter"

    def __call__(self, labels: Any) -> Segmenter:
        assert all(value.label.dtype == np.uint8 for value in labels.values())
        return segmenter()


NEEDS: Mapping[str, Callable[[], Any]] = {
    "classifier": Classifier,
    "heatmaps": heatmaps,
    "labels": labels,
    "segmenter": segmenter,
    "fit_segmenter": Fitter,
    "encoder": encoder,
    "head": lambda: HeadFactory("fcn"),
    "warm_from": warm_from,
    "loss": lambda: LossFactory("0.5*dice+ce"),
}
"""Need -> makes something for it; it carries a `key`."""


# ---------------------------------------------------------------- running a method


def quick(row: registry.Method) -> Frozen:
    """Settings of a method with which it is a toy."""
    kind = registry.settings_of(row)
    return validated(kind, {name: value for name, value in STAGES.get(row.stage, {}).items() if name in kind.model_fields}, row.name)


def provided(row: registry.Method, optional: bool) -> dict[str, Any]:
    """Something for each need of a method, with or without those that have a default."""
    missing = [need for need in row.needs if need not in NEEDS]
    if missing:
        pytest.fail(f"tests/contract/toy_stages.py: NEEDS has nothing for {', '.join(missing)}: add what {row.stage} {row.name} can try")
    return {need: NEEDS[need]() for need in row.needs if optional or need not in row.optional}


@cache
def fabric() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


class Stops(Silent):
    """Stops the work once in every step that counts in `unit`, after it has advanced so many times; refuses what is no toy."""

    def __init__(self, unit: str = "", after: int = 1):
        self.unit, self.after = unit, after
        self.stopped: set[tuple[str, str]] = set()
        self.at, self.left = ("", ""), 0

    def stage(self, stage: str, method: str, key: str, done: bool) -> None:
        self.at = (key, "")

    @contextmanager
    def step(self, name: str, total: int, done: int, unit: str) -> Iterator[Any]:
        if total > MOST_UNITS:
            pytest.fail(f"step '{name}' takes {total} {unit}: make it quick in STAGES of tests/contract/toy_stages.py")
        self.at, self.left = (self.at[0], name), self.after if unit == self.unit else 0
        yield self

    def advance(self, count: int = 1, facts: Any = None) -> None:
        self.left -= 1
        if self.left == 0 and self.at not in self.stopped:
            self.stopped.add(self.at)
            raise Stopped


def play(row: registry.Method, optional: bool, folder: Path, screen: Stops | None = None) -> Any:
    """A method on the toy of its stage, in a run of its own; what it returns."""
    run = Run(folder, fabric(), {row.name: quick(row)}, screen=screen or Stops(), log_every=1)
    run.checkpoint_seconds = 0.0
    return run.stage(row.stage, row.name, data(), **provided(row, optional))


def insist(row: registry.Method, optional: bool, folder: Path, screen: Stops) -> None:
    """Run a method again and again until nothing stops it."""
    while True:
        try:
            play(row, optional, folder, screen)
        except Stopped:
            continue
        return
