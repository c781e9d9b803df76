from __future__ import annotations

import numpy as np

from smidgen.parts.metrics.confusion import Confusion, count
from smidgen.report.failures import notes

NAMES = ("background", "cat", "dog", "cow", "sheep")


def told(label, prediction, names=NAMES, images=None) -> str:
    confusion = Confusion(names)
    confusion.add(np.array(label), np.array(prediction))
    return "\n".join(f"{note.kind}: {note.text}" for note in notes(confusion, images))


def test_a_model_that_predicts_one_class_only_is_called_out():
    text = told([0] * 98 + [1] * 2, [0] * 100, NAMES[:2])
    assert "warning: The model predicts one class only, background. Its pixel accuracy of 98.0 is the share of that class." in text
    assert "Never predicted" not in text


def test_a_model_no_better_than_the_commonest_class():
    text = told([0, 0, 0, 1], [1, 1, 0, 0], NAMES[:2])
    assert "no better than answering “background” everywhere (37.5 mIoU)" in text


def test_classes_without_a_true_pixel_are_named_and_how_they_count():
    text = told([0, 0, 1, 1], [0, 2, 1, 1], NAMES[:4])
    assert "warning: dog and cow: not a single true pixel in val" in text
    assert "dog was predicted all the same and counts as IoU 0 in the mean." in text
    assert "cow is not part of the mean." in text


def test_weak_classes_and_confused_pairs():
    label = [0] * 10 + [1] * 10 + [2] * 10 + [3] * 10 + [4] * 10
    prediction = [0] * 10 + [1] * 10 + [1] * 4 + [2] * 6 + [3] * 9 + [0] + [0] * 10
    text = told(label, prediction)
    assert "Weakest classes: sheep (IoU 0.0), dog (IoU 60.0) and cat (IoU 71.4)." in text
    assert "Most confused: 100.0\N{NO-BREAK SPACE}% of sheep taken for background; 40.0\N{NO-BREAK SPACE}% of dog taken for cat" in text
    assert "warning: Never predicted although there: sheep." in text


def test_small_things_that_are_missed_more_often():
    images = {}
    for i in range(6):
        label, prediction = np.zeros(1000, int), np.zeros(1000, int)
        label[:10], prediction[:2] = 1, 1
        label[500:900] = prediction[500:900] = 2
        images[f"i{i}"] = count(label, prediction, 3)
    total = Confusion(NAMES[:3], 0, sum(images.values()))
    text = "\n".join(note.text for note in notes(total, images)).replace("\N{NO-BREAK SPACE}", " ")
    assert "less than 2 % of an image (6 cases), 20.0 % of its pixels are found; elsewhere 100.0 %." in text
    assert "Small things" not in "\n".join(note.text for note in notes(total))


def test_a_perfect_model_leaves_nothing_to_say():
    assert told([0, 1, 2, 3, 4], [0, 1, 2, 3, 4]).count("\n") == 0
    assert notes(Confusion(NAMES)) == ()
