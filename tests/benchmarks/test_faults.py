"""Three kills of the real command by the benchmark of 50: in its start, in the middle, in the report."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "faults.py"


@pytest.fixture
def faults(monkeypatch):
    spec = importlib.util.spec_from_file_location("faults", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "faults", module)  # dataclasses look for their module
    spec.loader.exec_module(module)
    return module


def test_each_phase_is_struck_as_often_as_the_others(faults):
    struck = list(faults.chains(50, 10))
    assert [len(one) for one in struck] == [10] * 5
    assert list(faults.chains(3, 10)) == [[0, 4, 9]]
    assert sum(map(len, faults.chains(50, 9))) == 50


def test_what_is_broken_or_left_over_is_found(faults, tmp_path):
    (tmp_path / "stages").mkdir()
    for name, text in {"a.json": "{", "b.json": "{}", "stages/log.csv": "step,term,value\n1,x", ".7.part.c.json": "{", ".lock": ""}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "half.npz").write_bytes(b"PK")
    assert [line.partition(":")[0] for line in faults.broken(tmp_path)] == ["a.json", "half.npz", "stages/log.csv"]
    assert faults.leftovers(tmp_path) == [".7.part.c.json"]


@pytest.mark.slow
def test_killed_at_three_moments_it_ends_as_undisturbed(faults, tmp_path):
    found = faults.measure(faults.Bench(tmp_path / "work", tmp_path / "faults.json"), kills=3, more=False)["summary"]
    assert found["kills"] == 3
    assert found["runs_equal"] == found["runs"] == 1
    assert (found["half_written"], found["leftovers"]) == (0, 0)
