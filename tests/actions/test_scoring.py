"""Scores beside the mIoU: outlines, objects by size, intervals; in words where somebody looks."""

from __future__ import annotations

import json

import numpy as np

import smidgen
from smidgen.actions import figures
from smidgen.actions.scoring import facts, row, score
from smidgen.actions.shown import of_evaluation
from smidgen.products.labels import LabelMap
from smidgen.products.sample import Classes
from smidgen.report.training import TrainingReport, html


def scored(n=8, shift=1):
    masks = {}
    for k in range(n):
        label = np.zeros((40, 50), np.uint8)
        label[5 : 20 + k, 10:30] = 1
        masks[f"i{k}"] = label
    data = smidgen.Dataset({id: np.zeros((40, 50, 3), np.uint8) for id in masks}, masks=masks, classes=["background", "thing"])
    return score(data, {id: LabelMap(np.roll(label, shift, axis=1)) for id, label in masks.items()})


def test_all_figures_are_told_with_their_units():
    found = json.loads(json.dumps(facts(scored())))
    assert found["boundary"]["mean_f"] == 1, "one pixel is within the tolerance"
    assert found["boundary"]["tolerance_share_of_diagonal"] == 0.0075
    assert found["boundary"]["tolerance_pixels"] == {"least": 1.0, "most": 1.0}
    assert (found["by_object_size"]["large"]["objects"], found["by_object_size"]["large"]["share_found"]) == (8, 1)
    assert found["by_object_size"]["small"]["share_found"] is None
    spread = found["intervals"]
    assert (spread["units"], spread["of"], spread["held_by_too_few"]) == (8, "images", [])
    for interval, value in ((spread["miou"], found["miou"]), (spread["iou"]["thing"], found["iou"]["thing"])):
        assert interval["low"] <= value <= interval["high"]


def test_classes_in_few_images_have_no_interval_and_neither_have_means():
    spread = facts(scored(3))["intervals"]
    assert spread["held_by_too_few"] == ["background", "thing"]
    assert spread["iou"] == {"background": None, "thing": None}
    assert "miou" not in spread
    assert facts(scored(1))["intervals"] is None


def test_they_stand_in_words_and_in_the_report():
    found = facts(scored()) | {"of": "run", "data": "photos", "split": "val"}
    first, second = figures.further(found)
    assert first.startswith("boundary F 100.0 (100.0 to 100.0, 95 % over 8 images): outlines within 1.0 pixels")
    assert second == "objects found: large 100.0 % of 8"
    assert "boundary F 100.0" in of_evaluation(found, None)
    page = html(TrainingReport("x", Classes(("background", "thing")), scores=(row("val, model", scored()),)))
    for words in ("By size of objects", "outlines within 1.0 pixels", "95 % bootstrap over 8 images", "boundary F"):
        assert words in page


def test_files_of_before_are_read_all_the_same():
    old = {"miou": 0.5, "miou_is_mean_of": "2 classes", "iou": {"a": None}}
    assert figures.further(old) == ()
    assert figures.class_rows(old) == [("a", "n/a", "", "n/a", "n/a")]
    assert figures.spread(old, "miou") == ""
    assert figures.label_next({}) == ()


def test_outlines_that_lie_elsewhere_are_not_found():
    assert facts(scored(shift=6))["boundary"]["f"]["thing"] < 0.5
