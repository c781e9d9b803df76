from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from smidgen.core.errors import ShapeError
from smidgen.parts.metrics.confusion import Confusion, count, dice, iou

NAMES = ("background", "cat", "dog", "cow")


def confusion(label, prediction, names=NAMES, background: int | None = 0) -> Confusion:
    made = Confusion(names, background)
    made.add(np.asarray(label), np.asarray(prediction))
    return made


def random_pair(generator: np.random.Generator, n: int = 400, k: int = 4, ignored: float = 0.1):
    label, prediction = generator.integers(0, k, n), generator.integers(0, k, n)
    label[generator.random(n) < ignored] = 255
    return label.astype(np.uint8), prediction.astype(np.uint8)


def test_scores_of_a_case_worked_out_by_hand():
    c = confusion([[0, 0, 0, 0], [1, 1, 1, 2]], [[0, 0, 0, 1], [1, 1, 0, 2]], NAMES[:3])
    assert_array_equal(c.matrix, [[3, 1, 0], [1, 2, 0], [0, 0, 1]])
    assert_allclose(c.iou, [3 / 5, 2 / 4, 1])
    assert_allclose(c.dice, [6 / 8, 4 / 6, 1])
    assert_allclose(c.recall, [3 / 4, 2 / 3, 1])
    assert c.miou == pytest.approx((0.6 + 0.5 + 1) / 3)
    assert c.miou_foreground == pytest.approx(0.75)
    assert c.pixel_accuracy == pytest.approx(6 / 8)
    assert c.frequency_weighted_iou == pytest.approx((4 * 0.6 + 3 * 0.5 + 1) / 8)


def test_ignored_pixels_are_removed_whatever_is_predicted_there():
    base = confusion([0, 1], [0, 0])
    with_ignored = confusion([0, 1, 255, 255, 255], [0, 0, 3, 0, 255])
    assert_array_equal(base.counts, with_ignored.counts)


def test_a_class_in_neither_truth_nor_prediction_has_no_score_and_is_named():
    c = confusion([0, 1, 1], [0, 1, 0])
    assert np.isnan(c.iou[2:]).all()
    assert c.absent == ("dog", "cow")
    mean = c.mean()
    assert (mean.classes, mean.of, mean.background) == (2, 4, True)
    assert str(mean) == "50.0 over 2 of 4 classes with background (in neither truth nor prediction: dog, cow)"
    assert c.mean(background=False).over == "1 of 3 classes without background"


def test_a_false_alarm_of_a_class_that_is_not_there_scores_zero_and_counts():
    label, prediction = np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint8)
    prediction[:10, :10] = 1
    c = confusion(label, prediction, NAMES[:2])
    assert c.iou[1] == 0
    assert c.dice[1] == 0
    assert c.unseen == ("cat",)
    assert c.absent == ()
    assert c.miou == pytest.approx((4096 - 100) / 4096 / 2)


def test_scores_stay_in_range_for_empty_and_equal_masks():
    assert np.isnan(confusion(np.zeros(0, int), np.zeros(0, int)).miou)
    assert confusion([1] * 5, [1] * 5).dice[1] == 1
    empty = confusion(np.zeros(9, int), np.zeros(9, int), NAMES[:2])
    assert empty.iou[0] == 1
    assert np.isnan(empty.dice[1])
    nothing = Confusion(NAMES)
    assert np.isnan(nothing.pixel_accuracy)
    assert np.isnan(nothing.frequency_weighted_iou)
    assert nothing.record()["miou"] is None


def test_no_answer_is_a_miss_but_nobodys_false_alarm():
    c = confusion([1, 1, 1, 1, 2], [1, 1, 255, 255, 2])
    assert_array_equal(c.unanswered, [0, 2, 0, 0])
    assert c.iou[1] == pytest.approx(0.5)
    assert c.iou[2] == 1
    assert c.pixel_accuracy == pytest.approx(0.6)


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_order_and_batch_size_do_not_matter(batch):
    generator = np.random.default_rng(0)
    labels, predictions = generator.integers(0, 4, (8, 5, 6)), generator.integers(0, 4, (8, 5, 6))
    whole = confusion(labels, predictions)
    parts = Confusion(NAMES)
    for start in reversed(range(0, 8, batch)):
        parts.add(labels[start : start + batch], predictions[start : start + batch])
    assert_array_equal(whole.counts, parts.counts)
    assert whole.miou == parts.miou


def test_merging_equals_adding():
    generator = np.random.default_rng(1)
    pairs = [random_pair(generator) for _ in range(3)]
    one, merged = Confusion(NAMES), Confusion(NAMES)
    for pair in pairs:
        one.add(*pair)
        merged.merge(confusion(*pair))
    assert_array_equal(one.counts, merged.counts)
    with pytest.raises(ShapeError, match="one list of classes"):
        one.merge(Confusion(NAMES[:2]))


def test_the_baseline_answers_the_commonest_class_everywhere():
    c = confusion([0] * 6 + [1] * 3 + [2], [0] * 10)
    assert c.commonest_class == "background"
    assert c.commonest_class_miou() == pytest.approx(0.6 / 3)
    assert c.commonest_class_miou(background=False) == 0
    assert c.commonest_class_miou() == pytest.approx(c.miou)


def test_one_class_only_is_told_unless_the_truth_is_no_richer():
    assert confusion([0, 1, 2], [0, 0, 0]).one_class == "background"
    assert confusion([0, 0, 0], [0, 0, 0]).one_class is None
    assert confusion([0, 1, 2], [0, 1, 0]).one_class is None


def test_most_confused_pairs_come_with_their_share():
    c = confusion([1] * 10 + [2] * 4, [1] * 7 + [2] * 3 + [2, 1, 1, 0])
    assert c.confused(2) == (("dog", "cat", 0.5), ("cat", "dog", 0.3))


def test_data_without_background_name_none():
    c = confusion([0, 1], [0, 1], ("sky", "road"), background=None)
    assert str(c.mean()) == "100.0 over 2 classes"
    assert c.mean(background=False).classes == 2
    assert c.record()["miou_without_background"] is None


def test_values_that_are_no_class_are_refused_with_a_remedy():
    with pytest.raises(ShapeError, match=r"mask: .* found 7; list"):
        confusion([0, 7], [0, 0])
    with pytest.raises(ShapeError, match=r"prediction: .* found 9"):
        confusion([0, 1], [0, 9])
    with pytest.raises(ShapeError, match="resize it"):
        confusion([0, 1], [0, 1, 1])


def test_volumes_and_big_types_count_alike():
    generator = np.random.default_rng(2)
    label, prediction = random_pair(generator, 24)
    flat = count(label, prediction, 4)
    assert_array_equal(flat, count(label.reshape(2, 3, 4), prediction.reshape(2, 3, 4), 4))
    assert_array_equal(flat, count(label.astype(np.int64), prediction.astype(np.int32), 4))


def test_agrees_with_scikit_learn():
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, jaccard_score

    label, prediction = random_pair(np.random.default_rng(3))
    c, seen = confusion(label, prediction), label != 255
    truth, answer = label[seen], prediction[seen]
    assert_array_equal(c.matrix, confusion_matrix(truth, answer, labels=range(4)))
    assert_allclose(c.iou, jaccard_score(truth, answer, average=None))
    assert c.miou == pytest.approx(jaccard_score(truth, answer, average="macro"))
    assert_allclose(c.dice, f1_score(truth, answer, average=None))
    assert c.frequency_weighted_iou == pytest.approx(jaccard_score(truth, answer, average="weighted"))
    assert c.pixel_accuracy == pytest.approx(accuracy_score(truth, answer))


def test_agrees_with_torchmetrics_where_every_class_is_there():
    import torch
    from torchmetrics.functional.classification import multiclass_confusion_matrix, multiclass_jaccard_index

    label, prediction = random_pair(np.random.default_rng(4))
    c, seen = confusion(label, prediction), label != 255
    truth, answer = (torch.from_numpy(a[seen].astype(np.int64)) for a in (label, prediction))
    assert_array_equal(c.matrix, multiclass_confusion_matrix(answer, truth, num_classes=4).numpy())
    assert_allclose(c.iou, multiclass_jaccard_index(answer, truth, num_classes=4, average="none").numpy(), rtol=1e-6)


def test_stacks_of_counts_are_scored_image_by_image():
    generator = np.random.default_rng(5)
    counts = np.stack([count(*random_pair(generator, 50), 4) for _ in range(3)])
    assert_allclose(iou(counts), [iou(one) for one in counts])
    assert_allclose(dice(counts), [dice(one) for one in counts])


def test_the_record_survives_json():
    import json

    c = confusion([0, 1, 1], [0, 1, 0])
    record = json.loads(json.dumps(c.record(), allow_nan=False))
    assert record["miou"] == 0.5
    assert record["iou"] == {"background": 0.5, "cat": 0.5, "dog": None, "cow": None}
    assert_array_equal(Confusion(NAMES, 0, np.array(record["confusion"])).counts, c.counts)
