"""Rounds (nobody, never): a method of several rounds of maps and fits that lets another stage train, as region mining does.

Also the stage that it lets train. Both are found by `toy_method:NAME`, as a user's own methods are.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from smidgen.core.fit import Step, Stream
from smidgen.core.run import Results, Run
from smidgen.core.settings import Frozen


@dataclass(frozen=True)
class Field:
    """One value per pixel."""

    values: np.ndarray
    origin: str


class Rounds(Frozen):
    """Settings of `rounds`."""

    rounds: int = 2
    """How often (any number)."""
    noise: float = 0.1
    """Deviation of what is added (in [0, 1])."""


class Trained(Frozen):
    """Settings of `trained`."""

    steps: int = 4
    """Training steps (any number)."""


def rounds(run: Run, settings: Rounds, data: Any, fit_segmenter: Callable[[Any], Any]) -> Results[Field]:
    """Guess, learn the guess, correct it, let a segmenter learn the correction, mix."""
    views = run.map("views", partial(noisy, noise=settings.noise), data.train)
    labels = run.map("seeds", partial(guessed, size=4), views, together=lambda view: view.values.shape, size=4)
    pixels = None
    for i in range(settings.rounds):
        pixels = run.fit(f"pixels-{i}", Pixels(views, labels, 6, warm_from=pixels))
        labels = run.map(f"relabel-{i}", partial(relabeled, pixels.networks["net"]), views)
        segmenter = fit_segmenter(labels)
        labels = run.map(f"mix-{i}", partial(mixed, segmenter.network), views, labels)
    return labels


def trained(run: Run, settings: Trained, data: Any, labels: Results[Field]) -> Any:
    """A segmenter of one layer."""
    pixels = run.fit("pixels", Pixels({id: Field(data.train[id], "") for id in labels}, labels, settings.steps))
    return Segmenter(pixels.networks["net"])


class Segmenter:
    """A product with a network; the stage stamps its key."""

    def __init__(self, network: nn.Module):
        self.network, self.key = network, ""


def noisy(image: np.ndarray, noise: float) -> Field:
    return Field((image + noise * np.random.standard_normal(image.shape)).astype(np.float32), "noisy")


def guessed(views: list[Field], size: int) -> list[Field]:
    assert len(views) <= size
    return [Field((view.values > 0.5).astype(np.int64), "guessed") for view in views]


def logits(network: nn.Module, view: Field) -> Tensor:
    return network(torch.from_numpy(view.values)[None, None])[0]


def relabeled(network: nn.Module, view: Field) -> Field:
    drop = torch.rand(2, 1, 1)  # a map may use global generators
    return Field((logits(network, view) + drop).argmax(dim=0).numpy(), "relabeled")


def mixed(network: nn.Module, view: Field, label: Field) -> Field:
    keep = np.random.random(label.values.shape) < 0.5
    return Field(np.where(keep, label.values, logits(network, view).argmax(dim=0).numpy()), "mixed")


class Pixels:
    """Learns labels from views."""

    def __init__(self, views: Any, labels: Any, steps: int, warm_from: Pixels | None = None):
        fresh = nn.ModuleDict({"net": nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))})
        self.networks = copy.deepcopy(warm_from.networks) if warm_from else fresh
        self.optimizers = {"all": torch.optim.Adam(self.networks.parameters(), 0.05)}
        pairs = [(views[id].values, labels[id].values) for id in labels]
        self.streams = {"pixels": Stream(pairs, 4, as_tensors)}
        self.steps = steps

    def terms(self, batch: dict, turn: str, at: Step) -> dict[str, Tensor]:
        return {"ce": cross_entropy(self.networks["net"](batch["pixels"]["image"]), batch["pixels"]["label"])}


def as_tensors(pair: tuple[np.ndarray, np.ndarray]) -> dict[str, Tensor]:
    image, label = (torch.from_numpy(array)[:8, :8] for array in pair)
    return {"image": (image + 0.01 * torch.randn(image.shape))[None], "label": label}
