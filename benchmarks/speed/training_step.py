"""Overhead of our training loop: a step of `core/fit.py` against the same step written down plainly in PyTorch. Aim: at most 3 %.

The plain loop has the same network, optimizer, samples and augmentation, and reads its loss once a step as any loop that logs does. Its
steps are done between ours, one by one, so both see the same machine.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from _records import Question, measured, record
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import default_collate
from torchvision.transforms import v2

from smidgen.core.fit import Step, Stream, fit

STEPS, SKIPPED = 24, 4
BATCH, SIDE, CLASSES = 8, 128, 5
ROUNDS, AIM = 2, 1.03

ASKED = Question(
    name="training_step",
    claim="The training loop costs next to nothing: seeds, exact resume, logs and checks included",
    question="What does a step take, against the same step written down plainly in PyTorch?",
    data=f"{BATCH} images of {SIDE} x {SIDE} pixels, noise",
    metric="CPU s a step",
    baseline="plain PyTorch",
    settings={"network": "tf_efficientnet_lite0", "batch": BATCH, "side": SIDE, "steps": STEPS, "rounds": ROUNDS, "threads": 1},
    aim=f"at most {AIM} times the plain loop",
)


def prepare(sample: tuple[np.ndarray, int]) -> dict[str, Tensor]:
    """One sample, augmented as the classifier's are."""
    image = torch.from_numpy(sample[0]).float().div(255)
    return {"x": v2.RandomHorizontalFlip()(v2.RandomCrop(SIDE)(image)), "y": torch.tensor(sample[1])}


def samples() -> list[tuple[np.ndarray, int]]:
    """Noise of an image's size; what it shows does not matter."""
    draw = np.random.default_rng(0)
    return [(draw.integers(0, 255, (3, SIDE + 32, SIDE + 32), dtype=np.uint8), i % CLASSES) for i in range(64)]


def network() -> nn.Module:
    """The default encoder as a classifier."""
    torch.manual_seed(0)
    return timm.create_model("tf_efficientnet_lite0", num_classes=CLASSES)


class Ours:
    """A learner."""

    def __init__(self) -> None:
        self.networks = nn.ModuleDict({"net": network()})
        self.optimizers = {"all": torch.optim.AdamW(self.networks.parameters(), 1e-4)}
        self.streams = {"images": Stream(samples(), BATCH, prepare)}
        self.steps = STEPS

    def terms(self, batch: dict[str, Any], turn: str, at: Step) -> dict[str, Tensor]:
        """Cross-entropy."""
        return {"ce": cross_entropy(self.networks["net"](batch["images"]["x"]), batch["images"]["y"])}


class Plain:
    """The same step, written down."""

    def __init__(self) -> None:
        self.net, self.samples, self.loss = network().train(), samples(), 0.0
        self.optimizer = torch.optim.AdamW(self.net.parameters(), 1e-4)
        self.n = 0

    def step(self) -> None:
        """One batch."""
        order = range(self.n * BATCH, (self.n + 1) * BATCH)
        batch = default_collate([prepare(self.samples[i % len(self.samples)]) for i in order])
        loss = cross_entropy(self.net(batch["x"]), batch["y"])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.loss = loss.item()
        self.n += 1


class Between:
    """Hears of each of our steps, and does a plain one before the next."""

    def __init__(self) -> None:
        self.plain, self.since = Plain(), time.process_time()
        self.times: dict[str, list[float]] = {"ours": [], "plain": []}

    def advance(self, count: int = 1, facts: Mapping[str, float] | None = None) -> None:
        """A step of ours is done."""
        now = time.process_time()
        self.plain.step()
        then = time.process_time()
        self.times["ours"].append(now - self.since)
        self.times["plain"].append(then - now)
        self.since = time.process_time()


def compared() -> tuple[list[float], list[float], dict[str, float]]:
    """Steps of both, one by one."""
    ours, plain = [], []
    for _ in range(ROUNDS):
        between = Between()
        with tempfile.TemporaryDirectory() as folder:
            fit(Fabric(accelerator="cpu", devices=1), Ours(), Path(folder), between)
        ours += between.times["ours"][SKIPPED:-1]  # the last one saves
        plain += between.times["plain"][SKIPPED:-1]
    told = {"ratio_of_sums": round(sum(ours) / sum(plain), 4)}
    return [round(one, 4) for one in plain], [round(one, 4) for one in ours], told


def main() -> int:
    """Measure; 0 if the aim is reached."""
    torch.set_num_threads(1)
    part = measured(ASKED, "step by step in turn", compared)
    return record(ASKED, [part], reached=part.ratio["median"] <= AIM)


if __name__ == "__main__":
    sys.exit(main())
