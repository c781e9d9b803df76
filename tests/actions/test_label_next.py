from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import smidgen
from smidgen.actions.labeling import label_next, score_next
from smidgen.products.labels import LabelMap


def scores(confidence):
    return SimpleNamespace(label=np.ones((2, 2), np.uint8), confidence=np.full((2, 2), confidence))


def looked(n, groups=None, masks=()):
    images = {f"i{k}": np.zeros((2, 2, 3), np.uint8) for k in range(n)}
    data = smidgen.Dataset(images, masks={f"i{k}": np.zeros((2, 2), np.uint8) for k in masks}, classes=["background", "thing"])
    if groups is None:
        return data
    return data._with({id: replace(data.samples[id], group=group) for id, group in zip(images, groups, strict=True)})


def test_the_least_sure_without_a_mask_come_first():
    predictions = {f"i{k}": scores(0.5 + 0.1 * k) for k in range(4)}
    pseudo = {"i1": LabelMap(np.array([[1, 1], [0, 255]], np.uint8))}
    found = label_next(looked(5, masks=(0,)), predictions, pseudo, asked=2)
    assert [one.id for one in found] == ["i1", "i2"], "i0 has a mask, i4 was not predicted"
    assert found[0].agreement == pytest.approx(2 / 3)
    assert found[1].record() == {"image": "i2", "confidence": pytest.approx(0.7), "agreement_with_pseudo_mask": None}


def test_no_group_takes_all_places():
    predictions = {f"i{k}": scores(0.5 + 0.1 * k) for k in range(5)}
    found = label_next(looked(5, ["a", "a", "a", "b", "b"]), predictions, None, asked=3)
    assert [one.id for one in found] == ["i0", "i1", "i3"]


def test_images_for_a_score_are_drawn_and_not_chosen():
    data = looked(30, masks=(3,))
    assert score_next(data, 0) == score_next(data, 0)
    assert len(score_next(data, 0)) == 10
    assert "i3" not in score_next(data, 0, 30)
