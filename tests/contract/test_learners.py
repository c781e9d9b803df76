"""Every shape of learner: stopped and resumed is straight through, a turn moves its own, what is logged is minimized."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from lightning_fabric import Fabric
from toy_learners import LEARNERS
from toy_runs import Stopped, Watched, logged, tensors, trained

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


@every_learner
def test_a_turn_moves_its_own_parameters_and_is_logged(make, tmp_path):
    watched = trained(make, tmp_path, fabric(), watch=Watched)
    for turn, own in watched.own().items():
        assert watched.moved[turn] <= own
        assert watched.moved[turn]
    assert logged(next(tmp_path.rglob("log.csv"))) == watched.told()
