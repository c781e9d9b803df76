"""How the toys are run: in a folder, from their start, until a stop that is injected."""

from __future__ import annotations

import csv
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


class Watched:
    """A learner that notes its terms, and which parameters moved since it was last asked."""

    def __init__(self, learner: Any):
        self.learner = learner
        self.noted: dict[tuple[int, str], dict[str, float]] = {}
        self.moved: dict[str, set[str]] = {turn: set() for turn in learner.optimizers}
        self.before, self.last = self.values(), None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.learner, name)

    def values(self) -> dict[str, torch.Tensor]:
        return {name: value.detach().clone() for name, value in self.learner.networks.named_parameters()}

    def look(self, turn: str | None) -> None:
        now = self.values()
        if self.last:
            self.moved[self.last] |= {name for name in now if not torch.equal(now[name], self.before[name])}
        self.before, self.last = now, turn

    def terms(self, batch: dict, turn: str, at: Any) -> Any:
        self.look(turn)
        terms = self.learner.terms(batch, turn, at)
        self.noted[at.n, turn] = {name: float(value.detach()) for name, value in terms.items()}
        return terms

    def after(self, at: Any) -> None:
        self.look(None)
        if hasattr(self.learner, "after"):
            self.learner.after(at)
        self.before = self.values()

    def own(self) -> dict[str, set[str]]:
        """Names of the parameters that each turn's optimizer holds."""
        names = {parameter: name for name, parameter in self.learner.networks.named_parameters()}
        held = {turn: [p for group in one.param_groups for p in group["params"]] for turn, one in self.learner.optimizers.items()}
        return {turn: {names[parameter] for parameter in parameters} for turn, parameters in held.items()}

    def told(self) -> dict[tuple[int, str], str]:
        """What was minimized, as the log writes it: (step, turn/term) -> value."""
        return {(n, f"{turn}/{name}"): f"{value:.6g}" for (n, turn), terms in self.noted.items() for name, value in terms.items()}


def logged(path: Path) -> dict[tuple[int, str], str]:
    """A log of single steps: (step, turn/term) -> value; the rates are left out."""
    with path.open(newline="") as file:
        return {(int(row["step"]) - 1, row["term"]): row["value"] for row in csv.DictReader(file) if row["term"] != "rate"}


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
