from __future__ import annotations

import time

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage

from smidgen.core.errors import ShapeError
from smidgen.parts.metrics.boundary import Boundary, border, count_borders, f_score, tolerance

NAMES = ("background", "cat", "dog")


def square(top: int, left: int, side: int = 40, size: int = 100, value: int = 1) -> np.ndarray:
    label = np.zeros((size, size), np.uint8)
    label[top : top + side, left : left + side] = value
    return label


def scored(label, prediction, names=NAMES) -> Boundary:
    made = Boundary(names)
    made.add(label, prediction)
    return made


def by_distances(label, prediction, classes) -> np.ndarray:
    """The same counts, by distance transforms; for labels without 255."""
    reach, rows = tolerance(label.shape), []
    borders = {side: border(np.asarray(values, np.uint16)) for side, values in (("said", prediction), ("true", label))}
    for k in range(classes):
        said, true = borders["said"] & (prediction == k), borders["true"] & (label == k)
        near = [np.zeros_like(one) if not one.any() else ndimage.distance_transform_edt(~one) <= reach for one in (true, said)]
        rows.append([said.sum(), (said & near[0]).sum(), true.sum(), (true & near[1]).sum()])
    return np.array(rows)


def test_the_tolerance_is_a_share_of_the_diagonal_and_one_pixel_at_least():
    assert tolerance((375, 500)) == pytest.approx(4.6875)  # the diagonal is 625
    assert tolerance((20, 20)) == 1


def test_a_border_has_both_sides_and_the_edge_of_the_image_is_none():
    label = np.zeros((4, 4), np.uint16)
    label[:, 2:] = 1
    assert_array_equal(border(label), [[False, True, True, False]] * 4)
    assert not border(np.ones((3, 5), np.uint16)).any()


def test_a_case_worked_out_by_hand():
    # Tolerance 1.06: two pixels to the right is too far for the upright sides. A side of 40 has 156 border pixels. Each level side finds
    # 39 of its 40 pixels; of the upright sides, two pixels lie below and above level ones of the other square.
    c = scored(square(20, 20), square(20, 22)).counts[1]
    assert c.tolist() == [156, 80, 156, 80]
    assert f_score(c[None])[0] == pytest.approx(80 / 156)


def test_perfect_within_the_tolerance_and_nothing_beyond_it():
    assert_allclose(scored(square(20, 20), square(21, 20)).f[:2], 1)
    assert_allclose(scored(square(10, 10, 20), square(60, 60, 20)).f[:2], 0)


def test_both_directions_are_asked():
    truth, said = square(20, 20), square(20, 20)
    said[70:80, 70:80] = 1  # one object too many: all true borders are found, 36 of 192 predicted ones are wrong
    b = scored(truth, said)
    assert b.recall[1] == 1
    assert b.precision[1] == pytest.approx(156 / 192)
    assert b.f[1] == pytest.approx(2 * 156 / (156 + 192))
    swapped = scored(said, truth)
    assert (swapped.precision[1], swapped.recall[1]) == (b.recall[1], b.precision[1])
    assert swapped.f[1] == pytest.approx(b.f[1])


def test_a_class_without_border_is_named_and_left_out_and_a_missed_one_is_zero():
    b = scored(square(20, 20), square(20, 20, value=2))
    assert_allclose(b.f, [1, 0, 0])
    only = scored(square(20, 20), square(20, 20))
    assert np.isnan(only.f[2])
    assert str(only.mean()) == "100.0 over 2 of 3 classes with background (no border in truth or prediction: dog)"
    assert only.mean(background=False).over == "1 of 2 classes without background"
    assert only.record()["without_border"] == ["dog"]
    assert np.isnan(Boundary(NAMES).mean().value)


@pytest.mark.parametrize(("shape", "smooth"), [((60, 80), 2), ((12, 16, 20), 2), ((8, 3000), (1, 25))])  # the last: tolerance 22
def test_it_agrees_with_distance_transforms(shape, smooth):
    generator = np.random.default_rng(0)
    label, said = ((ndimage.gaussian_filter(generator.random(shape), smooth) * 60 % 4).astype(np.uint8) for _ in range(2))
    assert_array_equal(count_borders(label, said, 4), by_distances(label, said, 4))


def test_a_band_of_unlabeled_pixels_hides_no_border():
    truth = square(100, 100, 100, 400)  # tolerance 4.2
    edge = border(truth.astype(np.uint16))
    banded = np.where(ndimage.binary_dilation(edge, iterations=2), 255, truth).astype(np.uint8)
    assert (banded == 255).sum() > 2000
    assert_allclose(scored(banded, truth).f[:2], 1)
    assert scored(banded, square(100, 115, 100, 400)).f[1] < 0.6


def test_wide_tolerances_of_large_images_are_looked_up_and_not_walked():
    truth = np.zeros((40, 2400), np.uint8)  # tolerance 18
    truth[:, 800:1600] = 1
    banded = np.where(ndimage.binary_dilation(border(truth.astype(np.uint16)), iterations=8), 255, truth).astype(np.uint8)
    banded[:, 2000:] = 255  # wide: silent
    said = np.roll(truth, 12, axis=1)
    said[:, 2100:2200] = 2
    b = scored(banded, said)
    assert_allclose(b.f[:2], 1)
    assert b.counts[2].sum() == 0
    assert_allclose(scored(banded, np.roll(truth, 30, axis=1)).f[:2], 0)


def test_what_is_predicted_deep_in_unlabeled_pixels_changes_nothing():
    generator = np.random.default_rng(1)
    truth, said = square(10, 10, 30), square(11, 10, 30)
    truth[60:, :] = 255
    other = said.copy()
    other[60:, :] = generator.integers(0, 3, (40, 100))
    assert_array_equal(count_borders(truth, said, 3), count_borders(truth, other, 3))
    assert_allclose(scored(truth, said).f[:2], 1)
    nothing = np.full((20, 20), 255, np.uint8)
    assert scored(nothing, generator.integers(0, 3, (20, 20)).astype(np.uint8)).counts.sum() == 0


def test_no_answer_is_a_region_of_no_class():
    said = square(20, 20)
    said[15:20, 10:70] = 255
    b = scored(square(20, 20), said)
    assert b.recall[1] == 1
    assert b.precision[0] < 1


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_counts_of_images_add_up_in_any_order(batch):
    generator = np.random.default_rng(2)
    pairs = [generator.integers(0, 3, (2, 30, 30)).astype(np.uint8) for _ in range(8)]
    whole, merged = Boundary(NAMES), Boundary(NAMES)
    for one in pairs:
        whole.add(*one)
    for start in reversed(range(0, 8, batch)):
        part = Boundary(NAMES)
        for one in pairs[start : start + batch]:
            part.add(*one)
        merged.merge(part)
    assert_array_equal(whole.counts, merged.counts)


def test_other_sizes_are_refused():
    with pytest.raises(ShapeError, match="resize it"):
        count_borders(np.zeros((3, 3), np.uint8), np.zeros((3, 4), np.uint8), 2)


def test_an_image_takes_milliseconds():
    generator = np.random.default_rng(3)
    label = np.kron(generator.integers(0, 13, (8, 10)), np.ones((47, 50), int))[:375, :500].astype(np.uint8)
    said = np.roll(label, (3, 5), (0, 1))
    count_borders(label, said, 13)
    best = min(_seconds(count_borders, label, said, 13) for _ in range(5))
    assert best < 0.030


def _seconds(function, *args) -> float:
    started = time.process_time()
    function(*args)
    return time.process_time() - started
