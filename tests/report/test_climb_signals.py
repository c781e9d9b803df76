from __future__ import annotations

import numpy as np

from smidgen.core import codec
from smidgen.methods.localize.advcam import Climb
from smidgen.products import climbs as kept
from smidgen.products.sample import Classes
from smidgen.report.climbs import summed
from smidgen.report.training import TrainingReport, html


def climb(first, last, on=0.2, clipped=0.0) -> Climb:
    one = [np.array([value], np.float32) for value in (first, last, on, clipped)]
    return Climb(np.zeros((1, 4, 4), np.float32), (1,), (16, 16), *one)


def read(tmp_path, **climbs):
    folder = tmp_path / "01-climbs"
    folder.mkdir()
    for id, one in climbs.items():
        codec.save(one, folder / f"{id}.npz")
    return summed(kept.read(tmp_path, (*climbs, "not there")))


def test_what_advcam_keeps_is_read_and_summed(tmp_path):
    found = read(tmp_path, up=climb(1, 3), down=climb(4, 2), flood=climb(1, 5, on=0.95), stuck=climb(1, 2, clipped=0.6))
    assert (found.images, len(found.each)) == (4, 4)
    assert (found.rising, found.flooded, found.saturated) == (0.75, 0.25, 0.25)
    assert found.line.startswith("the logit rose in 3 of 4 climbs (4 images; median 1.0 to 2.5)")
    assert [(one.id, one.why) for one in found.strained()] == [
        ("down", "did not rise"),
        ("stuck", "ran against its limits"),
        ("flood", "ran over the whole map"),
    ]
    assert {one["image"] for one in found.record()["failed"]} == {"down", "flood", "stuck"}
    assert "Some climbs failed (25.0" in found.note.text
    page = html(TrainingReport("x", Classes(("background", "cat")), climbs=found))
    assert "The logit rose in 3 of 4 climbs" in page
    assert "Some climbs failed" in page


def test_healthy_climbs_are_no_reason_to_distrust(tmp_path):
    assert read(tmp_path, a=climb(1, 3), b=climb(2, 3)).note is None


def test_who_does_not_climb_has_no_signals(tmp_path):
    assert summed(kept.read(tmp_path, ("a",))) is None
