"""Samples prepared by spawned workers, as on macOS and Windows: what a learner hands to them pickles, and the numbers are the same."""

from __future__ import annotations

import importlib
import os
import sys

import pytest

TOY = """
import os

import torch
from torch import nn

from smidgen.core.fit import Stream

def prepare(x):
    return {"x": torch.rand(()) + x, "process": torch.tensor(os.getpid())}

class Line:
    def __init__(self):
        self.networks = nn.ModuleDict({"line": nn.Linear(1, 1, bias=False)})
        nn.init.zeros_(self.networks["line"].weight)
        self.optimizers = {"all": torch.optim.SGD(self.networks.parameters(), 0.1)}
        self.streams = {"numbers": Stream([1.0, 2.0, 3.0], 2, prepare)}
        self.steps, self.processes = 4, set()

    def terms(self, batch, turn, at):
        self.processes |= set(batch["numbers"]["process"].tolist())
        return {"x": (batch["numbers"]["x"] * self.networks["line"].weight.sum()).mean()}
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A module that a spawned process can import, as a user's own would be."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "spawned_toy.py").write_text(TOY)
    importlib.invalidate_caches()
    yield importlib.import_module("spawned_toy")
    sys.modules.pop("spawned_toy", None)


def test_spawned_workers_prepare_the_same_samples(run, toy, tmp_path):
    weights, processes = [], []
    for workers in (0, 1):
        alike = run._inside(tmp_path / f"stage-{workers}", "0")
        alike.workers, alike.start_method = workers, "spawn"
        line = alike.fit("line", toy.Line())
        weights.append(float(line.networks["line"].weight.detach()))
        processes.append(line.processes)
    assert weights[0] == weights[1] != 0
    assert processes[0] == {os.getpid()} != processes[1]
