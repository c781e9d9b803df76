"""Records of the speed benchmarks: each part is kept as soon as it is measured, and measured once; the fields are a claim's."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "speed" / "_records.py"
CLAIM = {"claim", "question", "data", "split", "metric", "higher_is_better", "baseline", "method", "others", "paper", "seeds", "settings"}
CLAIM |= {"seconds", "versions", "commit"}


@pytest.fixture
def records(monkeypatch, tmp_path):
    spec = importlib.util.spec_from_file_location("speed_records", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "speed_records", module)  # dataclasses look for their module
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    return module


def asked(records, rounds: int = 3):
    return records.Question("toy", "c", "q", "noise", "s", "theirs", {"rounds": rounds}, "at most as long")


def test_ratios_are_made_round_by_round(records):
    assert records.ratio([2.0, 4.0, 30.0], [1.0, 4.0, 10.0]) == {"median": 2.0, "low": 1.0, "high": 3.0}
    assert records.ratio([3.0], [2.0]) == {"median": 1.5, "low": 1.5, "high": 1.5}


def test_both_arms_are_called_in_each_round_and_take_turns(records):
    calls = []
    found = records.in_turn(lambda: calls.append("theirs"), lambda: calls.append("ours"), 3, per=2)
    assert [len(one) for one in found] == [3, 3]
    assert calls == ["ours", "theirs", "theirs", "ours", "ours", "theirs", "theirs", "ours"]


def test_a_part_is_kept_at_once_and_measured_once(records):
    question, done = asked(records), []

    def work():
        done.append(1)
        return [2.0, 2.0, 4.0], [1.0, 1.0, 1.0], {"alike": 1.0}

    first = records.measured(question, "first", work)
    assert json.loads(question.path.read_text())["reached"] is None
    assert records.measured(question, "first", work) == first
    records.measured(question, "second", work)
    assert len(done) == 2
    assert records.record(question, records.kept(question), reached=False) == 1
    told = json.loads(question.path.read_text())
    assert set(told) >= CLAIM
    assert (told["baseline"], told["method"]) == (
        {"name": "theirs", "values": [2.0, 2.0, 4.0]},
        {"name": "ours", "values": [1.0, 1.0, 1.0]},
    )
    assert told["others"] == [
        {"name": "second", "data": "noise", "values": [1.0, 1.0, 1.0], "ratio": {"median": 0.5, "low": 0.25, "high": 0.5}, "alike": 1.0}
    ]
    records.measured(asked(records, rounds=4), "first", work)
    assert len(done) == 3  # other settings
