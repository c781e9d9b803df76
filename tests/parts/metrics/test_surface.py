"""Surface distances against cases worked out by hand, and against MONAI where it has an answer."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from smidgen.core.errors import ShapeError
from smidgen.parts.metrics.surface import Structure, compare, diagonal, structures, surface_distances


def box(shape, *sides):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


def test_a_square_and_the_same_a_column_to_the_right():
    found = compare(box((8, 8), (2, 6), (1, 5)), box((8, 8), (2, 6), (2, 6)))
    assert found == Structure(dice=0.75, jaccard=0.6, hd95=1.0, assd=0.5)


@pytest.mark.parametrize(("step", "expected"), [((3, 0, 0), 9), ((0, 3, 0), 3), ((0, 0, 4), 4), ((2, 0, 8), 10)])
def test_single_voxels_lie_as_far_apart_as_the_spacing_says(step, expected):
    one, other = np.zeros((20, 20, 20), bool), np.zeros((20, 20, 20), bool)
    one[5, 5, 5] = other[tuple(5 + n for n in step)] = True
    found = compare(one, other, (3, 1, 1))
    assert (found.dice, found.hd95, found.assd, found.only) == (0, expected, expected, None)
    assert compare(one, other).hd95 == approx(np.linalg.norm(step)), "without spacing in voxels"


def test_what_only_one_side_has_is_as_far_off_as_the_image_is_long():
    nothing, cube = np.zeros((4, 4, 8), bool), box((4, 4, 8), (0, 2), (0, 2), (0, 2))
    far = sqrt(12**2 + 4**2 + 8**2)
    assert compare(cube, nothing, (3, 1, 1)) == Structure(0.0, 0.0, far, far, "truth")
    assert compare(nothing, cube, (3, 1, 1)) == Structure(0.0, 0.0, far, far, "prediction")
    assert compare(nothing, nothing) is None
    assert diagonal((3, 4), (1, 1)) == 5


def test_the_larger_direction_counts_and_both_surfaces_are_pooled():
    one, other = np.zeros((1, 101), bool), np.zeros((1, 101), bool)
    one[0, 0] = True
    other[0, 0], other[0, 100] = True, True
    found = compare(one, other)
    assert found.hd95 == approx(95), "95th percentile of (0, 100); the other direction is 0"
    assert found.assd == approx(100 / 3), "(0, 0, 100) pooled, not the mean of means, which is 25"
    assert compare(other, one) == Structure(found.dice, found.jaccard, found.hd95, found.assd)


def test_unlabeled_voxels_count_on_neither_side_and_make_no_surface():
    truth, said = np.zeros((1, 12), np.uint8), np.zeros((1, 12), np.uint8)
    truth[0, 2:5], truth[0, 5:9], said[0, 2:11] = 1, 255, 1
    assert structures(truth, said, [1])[0].dice == approx(2 * 3 / (3 + 5)), "two false alarms beyond the unlabeled ones"
    said[0, 9:] = 0
    whole = np.zeros((6, 6), np.uint8)
    whole[:, 2:4], whole[:, 4:] = 1, 255
    wider = whole.copy()
    wider[:, 1] = 1
    both = surface_distances(whole == 1, wider == 1, (1, 1), whole == 255)
    assert len(both[0]) == 6 + 2, "the left side and the ends at the image's edge; not where nothing is known"
    assert structures(np.full((2, 3), 255, np.uint8), np.ones((2, 3), np.uint8), [0, 1]) == (None, None)


def test_a_structure_that_ends_nowhere_known_is_compared_all_the_same():
    truth = np.full((5, 5), 255, np.uint8)
    truth[2, 2] = 1
    assert structures(truth, np.ones((5, 5), np.uint8), [1]) == (Structure(1.0, 1.0, 0.0, 0.0),)


def test_wrong_shapes_are_told():
    with pytest.raises(ShapeError, match="resize it"):
        structures(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), [1])
    with pytest.raises(ShapeError, match="one number per axis"):
        compare(np.ones((2, 3), bool), np.ones((2, 3), bool), (1, 1, 1))


@given(st.integers(0, 10_000), st.tuples(*[st.sampled_from([0.5, 1.0, 2.5])] * 3))
def test_distances_are_those_of_all_pairs(seed, spacing):
    generator = np.random.default_rng(seed)
    one, other = (generator.random((4, 5, 6)) < generator.uniform(0.05, 0.9) for _ in range(2))
    if not (one.any() and other.any()):
        return
    found = surface_distances(one, other, spacing)

    def places(mask):
        full = np.pad(mask, 1)
        inner = full.copy()
        for axis in range(3):
            inner &= np.roll(full, 1, axis) & np.roll(full, -1, axis)
        return np.argwhere((full & ~inner)[1:-1, 1:-1, 1:-1]) * np.array(spacing)

    apart = np.linalg.norm(places(one)[:, None] - places(other)[None], axis=-1)
    assert found[0] == approx(apart.min(axis=1))
    assert found[1] == approx(apart.min(axis=0))


@pytest.mark.slow
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 1.0, 0.7)])
def test_monai_says_the_same_where_both_sides_have_a_surface(spacing):
    import torch
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance
    from monai.metrics.surface_distance import compute_average_surface_distance

    z, y, x = np.indices((16, 30, 28))
    truth = ((z - 7) / 5) ** 2 + ((y - 14) / 9) ** 2 + ((x - 13) / 8) ** 2 < 1
    said = ((z - 8) / 4) ** 2 + ((y - 15) / 11) ** 2 + ((x - 12) / 8) ** 2 < 1
    said[2, 2:4, 2:4] = True
    found = compare(truth, said, spacing)
    pair = [torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (said, truth)]
    far = compute_hausdorff_distance(*pair, include_background=True, percentile=95, spacing=list(spacing))
    mean = compute_average_surface_distance(*pair, include_background=True, symmetric=True, spacing=list(spacing))
    assert found.hd95 == approx(float(far), rel=1e-5)
    assert found.assd == approx(float(mean), rel=1e-5)
