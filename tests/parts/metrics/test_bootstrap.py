from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from smidgen.parts.metrics import bootstrap
from smidgen.parts.metrics.boundary import Boundary, count_borders
from smidgen.parts.metrics.confusion import Confusion, count

NAMES = ("background", "cat", "dog")


def some_counts(n: int, seed: int = 0, k: int = 3) -> np.ndarray:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, k, (n, 60))
    answers = np.where(generator.random((n, 60)) < generator.uniform(0.3, 1, (n, 1)), labels, generator.integers(0, k, (n, 60)))
    return np.stack([count(a, b, k) for a, b in zip(labels, answers, strict=True)])


def every_draw(n: int) -> np.ndarray:
    """All n^n ways to draw n images, as weights."""
    return np.array([np.bincount(way, minlength=n) for way in itertools.product(range(n), repeat=n)], np.float64)


def test_the_score_of_a_draw_is_the_score_of_the_drawn_images():
    counts = some_counts(4)
    weights = every_draw(4)[::7]
    ious, right = bootstrap.ious(weights, counts), bootstrap.pixel_accuracies(weights, counts)
    for row, drawn in enumerate(weights.astype(int)):
        one = Confusion(NAMES, 0, np.repeat(counts, drawn, axis=0).sum(axis=0))
        assert_allclose(ious[row], one.iou)
        assert right[row] == pytest.approx(one.pixel_accuracy)


def test_it_agrees_with_all_draws_of_a_small_set():
    counts = some_counts(5, 1)
    exact = np.nanmean(bootstrap.ious(every_draw(5), counts), axis=1)  # all 3125, equally likely
    low, high = np.quantile(exact, [0.025, 0.975])
    drawn = bootstrap.draws(5, resamples=20_000)
    found = bootstrap.interval(np.nanmean(bootstrap.ious(drawn, counts), axis=1), 5)
    assert found.low == pytest.approx(low, abs=0.004)
    assert found.high == pytest.approx(high, abs=0.004)
    whole = Confusion(NAMES, 0, counts.sum(axis=0)).miou
    assert found.low < whole < found.high


def test_the_interval_of_a_mean_is_1_96_standard_errors():
    n = 400
    hits = np.random.default_rng(2).integers(0, 101, n)
    counts = np.stack([hits, 100 - hits], axis=1)[:, None, :]  # one class, found or without an answer: the mIoU is the mean share
    found = bootstrap.of_counts(counts, np.zeros((0, 1, 4), np.int64), None)["miou"]
    error = (hits / 100).std(ddof=1) / np.sqrt(n)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.06)
    assert (found.high + found.low) / 2 == pytest.approx(hits.mean() / 100, abs=0.1 * error)
    assert (found.units, found.of) == (n, "images")


def test_images_of_a_group_are_drawn_together():
    alone = some_counts(40, 3)
    copies = np.repeat(alone, 4, axis=0)  # four equal images of each patient tell no more than one
    groups = [f"patient {i // 4}" for i in range(160)]
    none = np.zeros((0, 3, 4), np.int64)
    by_image, by_group = (bootstrap.of_counts(copies, none, 0, g)["miou"] for g in (None, groups))
    right = bootstrap.of_counts(alone, none, 0)["miou"]
    assert (by_group.low, by_group.high) == pytest.approx((right.low, right.high))
    assert (by_group.units, by_group.of) == (40, "groups")
    assert by_image.high - by_image.low == pytest.approx((right.high - right.low) / 2, rel=0.15)


def test_images_without_a_group_are_groups_of_their_own():
    assert_array_equal(bootstrap.group_of(4, ["a", None, "a", None]), [0, 1, 0, 2])
    assert bootstrap.draws(4, ["a", "a", "b", "b"]).sum(axis=1).tolist() == [4.0] * 1000


def test_the_same_counts_have_the_same_interval():
    counts = some_counts(12, 4)
    assert bootstrap.of_counts(counts, np.zeros((0, 3, 4), np.int64), 0) == bootstrap.of_counts(counts, np.zeros((0, 3, 4), np.int64), 0)


def test_one_image_has_no_interval():
    assert bootstrap.of_counts(some_counts(1), np.zeros((0, 3, 4), np.int64), 0) == {}
    assert bootstrap.of_means(np.zeros(0)) is None
    assert bootstrap.interval(np.full(10, np.nan), 5) is None


def test_borders_are_weighted_alike():
    generator = np.random.default_rng(5)
    pairs = generator.integers(0, 3, (4, 2, 20, 20)).astype(np.uint8)
    pairs[1, 1] = pairs[1, 0]
    borders = np.stack([count_borders(*pair, 3) for pair in pairs])
    found = bootstrap.of_counts(some_counts(4), borders, 0)
    whole = Boundary(NAMES, 0, borders.sum(axis=0))
    assert found["mean_f"].low <= whole.mean().value <= found["mean_f"].high
    assert found["mean_f_without_background"].low <= whole.mean(background=False).value <= found["mean_f_without_background"].high


def test_a_thousand_draws_of_many_images_take_seconds():
    counts = np.tile(some_counts(50, 8, 21), (40, 1, 1))
    started = time.process_time()
    bootstrap.of_counts(counts, np.zeros((0, 21, 4), np.int64), 0)
    assert time.process_time() - started < 3
