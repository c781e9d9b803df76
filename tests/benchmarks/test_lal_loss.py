"""The claim `lal_loss` on a toy: it runs, skips what is there, and writes a record with borders, regions and steps."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CLAIMS = Path(__file__).parents[2] / "benchmarks" / "claims"
OURS = ("_records", "_full_masks", "_watched", "lal_loss")
TINY = {"encoder": {"weights": "none"}, "supervised": {"steps": 2, "crop": 32, "size": 0, "batch": 2}, "windows": {"flip": False}}


@pytest.fixture
def claim(monkeypatch, tmp_path):
    """The module, its results and its data in a folder of the test's own."""
    monkeypatch.syspath_prepend(str(CLAIMS))
    for name in OURS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module("lal_loss")
    monkeypatch.setattr(sys.modules["_records"], "RESULTS", tmp_path / "results")
    for name in ("_full_masks", "lal_loss"):
        monkeypatch.setattr(sys.modules[name], "RUNS", tmp_path / "runs")
    yield module
    for name in OURS:
        sys.modules.pop(name, None)


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """Five images of a square on ground; the last is val."""
    folder = tmp_path / "data" / "voc_animals"
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for n in range(5):
        mask = np.zeros((32, 32), np.uint8)
        mask[8:24, n * 2 : n * 2 + 16] = 1
        Image.fromarray(np.uint8(mask[..., None] * 150 + rng.integers(0, 60, (32, 32, 3)))).save(folder / "images" / f"p{n}.png")
        Image.fromarray(mask).save(folder / "masks" / f"p{n}.png")
    (folder / "classes.txt").write_text("background\nsquare\n")
    (folder / "split.csv").write_text("filename,split\n" + "".join(f"p{n},{'val' if n == 4 else 'train'}\n" for n in range(5)))
    monkeypatch.setenv("SMIDGEN_DATA", str(tmp_path / "data"))
    return folder


@pytest.mark.slow
def test_every_arm_is_measured_once(claim, toy, tmp_path, capsys):
    words = ["--seeds", "0", "--every", "1", "--settings", json.dumps(TINY)]
    claim.main(words)
    found = json.loads((tmp_path / "results" / "lal_loss.json").read_text())
    rows = [found["baseline"], found["method"], *found["others"]]
    assert [row["name"] for row in rows] == [claim.ARMS[arm][0] for arm in ("ce", "lal", *claim.OTHERS)]
    for row in rows:
        assert 0 <= row["values"][0] <= 100
        assert 0 <= row["boundary_f"][0] <= 100
        assert row["regions_of_masks"] == [2]
        assert "steps_to_level" in row
    cell = json.loads((tmp_path / "results" / "cells" / "lal_loss" / "voc_animals" / "lal-0.json").read_text())
    assert len(cell["curve"]) == 2
    capsys.readouterr()
    claim.main(words)
    assert "…" not in capsys.readouterr().out


def test_steps_to_a_level(claim):
    assert claim.steps_to([10.0, 30.0, 20.0], 100, 20.0) == 150
    assert claim.steps_to([10.0, 30.0], 100, 5.0) == 50
    assert claim.steps_to([10.0, 30.0], 100, 31.0) is None


def test_regions_are_counted_by_class(claim):
    assert claim.regions(np.array([[0, 0, 1], [1, 1, 0], [255, 0, 0]])) == 2  # corners touch
    assert claim.regions(np.array([[0, 1, 0], [0, 1, 0]])) == 3
