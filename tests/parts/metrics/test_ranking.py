from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from smidgen.core.errors import ShapeError
from smidgen.parts.metrics.ranking import average_precision, rank, tag_table


def test_average_precision_by_hand():
    present = np.array([True, False, True, False])
    assert average_precision(present, np.array([0.9, 0.8, 0.7, 0.1])) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert average_precision(present, np.array([0.9, 0.1, 0.8, 0.2])) == 1
    assert average_precision(present, np.zeros(4)) == pytest.approx(0.5)


def test_only_the_order_of_scores_matters():
    generator = np.random.default_rng(0)
    present, logits = generator.random(50) < 0.3, generator.normal(size=50)
    assert average_precision(present, logits) == pytest.approx(average_precision(present, 1 / (1 + np.exp(-logits))))


def test_agrees_with_scikit_learn_ties_included():
    from sklearn.metrics import average_precision_score

    generator = np.random.default_rng(1)
    truth = (generator.random((60, 3)) < [0.1, 0.4, 0.7]).astype(np.int8)
    truth[0] = 1
    scores = generator.integers(0, 8, (60, 3)) / 8
    ranked = rank(truth, scores, ("a", "b", "c"))
    assert_allclose(ranked.ap, average_precision_score(truth, scores, average=None))
    assert ranked.mean == pytest.approx(average_precision_score(truth, scores, average="macro"))
    assert_array_equal(ranked.positives, truth.sum(axis=0))


def test_unknown_tags_are_removed():
    tags = [(1,), None, (), (2,)]
    truth = tag_table(tags, (1, 2))
    assert_array_equal(truth, [[1, 0], [-1, -1], [0, 0], [0, 1]])
    scores = np.array([[0.5, 0.1], [0.9, 0.9], [0.4, 0.2], [0.1, 0.8]])
    with_unknown, without = rank(truth, scores, ("a", "b")), rank(truth[[0, 2, 3]], scores[[0, 2, 3]], ("a", "b"))
    assert_allclose(with_unknown.ap, [1, 1])
    assert_allclose(with_unknown.ap, without.ap)
    assert_array_equal(with_unknown.known, [3, 3])


def test_a_class_that_no_image_has_is_named_and_left_out():
    ranked = rank(tag_table([(1,), ()], (1, 2)), np.array([[0.2, 0.1], [0.9, 0.3]]), ("cat", "dog"))
    assert ranked.undefined == ("dog",)
    assert ranked.mean == pytest.approx(0.5)
    assert str(ranked) == "50.0 over 1 of 2 classes (no image has: dog)"
    nothing = rank(tag_table([None, None], (1,)), np.zeros((2, 1)), ("cat",))
    assert np.isnan(nothing.mean)
    assert str(nothing).startswith("n/a over 0 of 1 class ")


def test_scores_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match="every image for every class"):
        rank(tag_table([(1,)], (1,)), np.zeros((2, 1)), ("cat",))
    with pytest.raises(ShapeError, match="NaN"):
        rank(tag_table([(1,)], (1,)), np.full((1, 1), np.nan), ("cat",))
