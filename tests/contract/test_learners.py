"""Every shape of learner: stopped and resumed is straight through, a turn moves its own, what is logged is minimized."""

from __future__ import annotations

import csv
from functools import cache

import pytest
import torch
from lightning_fabric import Fabric
from toy_learners import LEARNERS
from toy_runs import Stopped, tensors, trained

PRECISIONS = ("32-true", "bf16-mixed")
every_learner = pytest.mark.parametrize("make", LEARNERS)


@cache
def fabric(precision: str = "32-true") -> Fabric:
    return Fabric(accelerator="cpu", devices=1, precision=precision)  # pyright: ignore[reportArgumentType]


@every_learner
@pytest.mark.parametrize("precision", PRECISIONS)
def test_stopped_and_resumed_is_straight_through(make, precision, tmp_path):
    straight = tensors(trained(make, tmp_path / "straight", fabric(precision)))
    with pytest.raises(Stopped):
        trained(make, tmp_path / "resumed", fabric(precision), stop_after=3)
    with pytest.raises(Stopped):
        trained(make, tmp_path / "resumed", fabric(precision), stop_after=4, workers=2)
    resumed = tensors(trained(make, tmp_path / "resumed", fabric(precision)))
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
    assert all(torch.isfinite(value).all() for value in straight.values())


class Watched:
    """A learner that notes its terms, and which parameters moved since it was last asked."""

    def __init__(self, learner):
        self.learner = learner
        self.noted: dict[tuple[int, str], dict[str, float]] = {}
        self.moved: dict[str, set[str]] = {turn: set() for turn in learner.optimizers}
        self.before, self.last = self.values(), None

    def __getattr__(self, name):
        return getattr(self.learner, name)

    def values(self):
        return {name: value.detach().clone() for name, value in self.learner.networks.named_parameters()}

    def look(self, turn):
        now = self.values()
        if self.last:
            self.moved[self.last] |= {name for name in now if not torch.equal(now[name], self.before[name])}
        self.before, self.last = now, turn

    def terms(self, batch, turn, at):
        self.look(turn)
        terms = self.learner.terms(batch, turn, at)
        self.noted[at.n, turn] = {name: float(value.detach()) for name, value in terms.items()}
        return terms

    def after(self, at):
        self.look(None)
        if hasattr(self.learner, "after"):
            self.learner.after(at)
        self.before = self.values()


@every_learner
def test_a_turn_moves_its_own_parameters_and_is_logged(make, tmp_path):
    watched = trained(make, tmp_path, fabric(), watch=Watched)
    names = {parameter: name for name, parameter in watched.networks.named_parameters()}
    for turn, optimizer in watched.optimizers.items():
        own = {names[parameter] for group in optimizer.param_groups for parameter in group["params"]}
        assert watched.moved[turn] <= own
        assert watched.moved[turn]
    with next(tmp_path.rglob("log.csv")).open() as file:
        rows = [row for row in csv.DictReader(file) if row["term"] != "rate"]
    logged = {(int(row["step"]) - 1, row["term"]): row["value"] for row in rows}
    noted = {(n, f"{turn}/{name}"): f"{value:.6g}" for (n, turn), terms in watched.noted.items() for name, value in terms.items()}
    assert logged == noted
