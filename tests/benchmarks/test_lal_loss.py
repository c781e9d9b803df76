"""The claim `lal_loss` on a toy: it runs, skips what is there, and writes a record with borders, regions and steps."""

from __future__ import annotations

import json

import numpy as np
import pytest

TINY = {"encoder": {"weights": "none"}, "supervised": {"steps": 2, "crop": 32, "size": 0, "batch": 2}, "windows": {"flip": False}}


@pytest.fixture
def claim(claim_named):
    return claim_named("lal_loss")


@pytest.fixture
def toy(toy_named):
    """A square on ground."""
    return toy_named("voc_animals", ("background", "square"), lambda n: (slice(8, 24), slice(2 * n, 2 * n + 16)))


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
