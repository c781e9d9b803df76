"""A run that trained several networks scores each of them and their vote."""

from __future__ import annotations

import json

import pytest

import smidgen


@pytest.mark.parametrize(("recipe", "how"), [("cps", {}), ("cotraining", {"keep": "distilled", "distill_steps": 2})])
def test_each_network_and_their_vote_are_scored(recipe, how, boxes, tmp_path):
    images, masks = boxes(6)
    masks = {id: label for id, label in masks.items() if id not in ("v2", "v3")}
    data = smidgen.Dataset(images, masks, dims=3, split={"v4": "val", "v5": "val"})
    tiny = {"steps": 2, "batch": 1, "batch_unlabeled": 1, "patch": (8, 8, 8), **how}
    settings = {"encoder": {"width": 2, "depth": 2}, "machine": {"workers": 0}, recipe: tiny}
    smidgen.train(data, recipe=recipe, out=tmp_path, settings=settings, screen=smidgen.Silent())
    scores = json.loads((tmp_path / "scores.json").read_text())
    others = ["val_network_1", "val_network_2"] if how else ["val_network_2"]
    assert [name for name in scores if name.startswith("val")] == ["val", *others, "val_vote"]
    assert len({str(scores[name]["confusion"]) for name in ("val", *others)}) > 1
    assert "vote of all networks" in (tmp_path / "report.html").read_text()
