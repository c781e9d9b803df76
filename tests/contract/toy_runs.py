"""How the toys are run: in a folder, from their start, until a stop that is injected."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from toy_method import Field

from smidgen.core.run import Given, Results, Run
from smidgen.core.screen import Silent
from smidgen.core.seeds import seed_all


class Stopped(Exception):
    """The injected stop."""


class StopAfter(Silent):
    """A screen that stops the work after so many items or steps."""

    def __init__(self, count: int):
        self.left = count

    @contextmanager
    def step(self, name: str, total: int, done: int, unit: str) -> Iterator[Any]:
        yield self

    def advance(self, count: int = 1, facts: Any = None) -> None:
        self.left -= 1
        if self.left == 0:
            raise Stopped


def opened(folder: Path, fabric: Fabric, stop_after: int | None = None, **more: Any) -> Run:
    """A run that saves after every step."""
    run = Run(folder, fabric, screen=StopAfter(stop_after) if stop_after else None, log_every=1, **more)
    run.checkpoint_seconds = 0.0
    return run


def trained(make: type, folder: Path, fabric: Fabric, stop_after: int | None = None, workers: int = 0, watch: Any = None) -> Any:
    """A toy learner, trained inside a stage's folder; Stopped is raised after `stop_after` steps."""
    run = opened(folder, fabric, stop_after, workers=workers)._inside(folder / "stages" / "toy", "0")
    seed_all(0)
    return run.fit("toy", watch(make()) if watch else make())


def tensors(learner: Any) -> dict[str, torch.Tensor]:
    return learner.networks.state_dict()


def flat(learner: Any) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in learner.networks.parameters()])


def pictures() -> SimpleNamespace:
    """A dataset of six images, of two sizes."""
    random = np.random.default_rng(0)
    return SimpleNamespace(key="six", train={f"case/{i}": random.random((8, 8 + i % 2 * 4)).astype(np.float32) for i in range(6)})


class Fitter:
    """What a recipe hands to a method that needs a segmenter trained."""

    def __init__(self, run: Run, data: Any):
        self.run, self.data, self.key = run, data, "toy_method:trained"

    def __call__(self, labels: Any) -> Any:
        return self.run.stage("segment", "toy_method:trained", self.data, labels=labels)


def rounds(run: Run) -> Results[Field]:
    """A recipe of one stage that calls another."""
    data = pictures()
    return run.stage("refine", "toy_method:rounds", data, fit_segmenter=Fitter(run, data), saliency=Given({}, "not asked for"))


def copied(folder: Path, to: Path) -> Path:
    """A copy of a finished run, to be tampered with."""
    return Path(shutil.copytree(folder, to, dirs_exist_ok=True))


def contents(folder: Path) -> dict[str, str]:
    """Hash of every value and network below a folder, however it is packed."""
    found = {}
    for path in sorted(folder.rglob("*")):
        hashed = hashlib.sha256()
        if path.suffix == ".npz":
            with np.load(path) as file:
                for name in sorted(file.files):
                    hashed.update(name.encode() + file[name].tobytes())
        elif path.suffix == ".pt":
            for name, value in torch.load(path, weights_only=True)["networks"].items():
                hashed.update(name.encode() + value.numpy().tobytes())
        else:
            continue
        found[str(path.relative_to(folder))] = hashed.hexdigest()
    return found
