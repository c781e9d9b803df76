from __future__ import annotations

import numpy as np
import pytest
from pytest import approx
from scipy.ndimage import distance_transform_edt

from smidgen.parts.imaging.distance import inner_rim, level_sets, proportions, signed_distance

MODES = ("paper", "exact")


def blob(shape, seed=0, share=0.35):
    """Something irregular, touching the border here and there."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5, mode="wrap")
    return noise > np.quantile(noise, 1 - share)


def reference(mask, spacing, mode, reach=0.0):
    """The definition without shortcuts."""
    inside, outside = distance_transform_edt(mask, sampling=spacing), distance_transform_edt(~mask, sampling=spacing)
    half = min(spacing) / 2 if mode == "exact" else 0.0
    most = (reach, reach) if reach else ((inside - half).max(), (outside - half).max())
    found = np.where(mask, -np.minimum((inside - half) / most[0], 1), np.minimum((outside - half) / most[1], 1))
    if mode == "paper":
        grown = np.pad(mask, 1, constant_values=True)
        near = [np.roll(~grown, step, axis)[(slice(1, -1),) * mask.ndim] for axis in range(mask.ndim) for step in (1, -1)]
        found[mask & np.any(near, axis=0)] = 0
    return found


def test_the_sheets_square():
    mask = np.zeros((5, 5), bool)
    mask[1:4, 1:4] = True
    found = signed_distance(mask)
    assert found[2, 2] == -1
    assert np.all(found[inner_rim(mask)] == 0)
    assert inner_rim(mask).sum() == 8
    assert found[0, 2] == found[2, 0] == approx(0.70711, abs=1e-5)
    assert found[0, 0] == found[4, 4] == 1


@pytest.mark.parametrize(
    ("mask", "wanted"),
    [
        ([0, 0, 1, 1, 1, 0, 0], [1, 0.5, 0, -1, 0, 0.5, 1]),
        ([0, 0, 1, 1, 1, 1, 1, 0, 0], [1, 0.5, 0, -2 / 3, -1, -2 / 3, 0, 0.5, 1]),
    ],
)
def test_lines(mask, wanted):
    assert signed_distance(np.array(mask, bool)).tolist() == approx(wanted)


def test_half_a_voxel_less_by_hand():
    found = signed_distance(np.array([0, 0, 1, 1, 1, 0, 0], bool), mode="exact")
    assert found.tolist() == approx([1, 1 / 3, -1 / 3, -1, -1 / 3, 1 / 3, 1])  # 1.5, 0.5 outside; 0.5, 1.5, 0.5 inside
    assert signed_distance(np.array([0, 0, 1, 1, 1, 0, 0], bool), mode="exact", reach=5.0).tolist() == approx(
        [0.3, 0.1, -0.1, -0.3, -0.1, 0.1, 0.3]
    )


def test_one_voxel_is_its_own_rim():
    mask = np.zeros((3, 3), bool)
    mask[1, 1] = True
    assert signed_distance(mask).ravel().tolist() == approx([1, 0.70711, 1, 0.70711, 0, 0.70711, 1, 0.70711, 1], abs=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("reach", [0.0, 4.0])
@pytest.mark.parametrize("shape", [(6,), (5, 4), (3, 4, 5)])
def test_nothing_and_everything_are_plus_and_minus_one(mode, reach, shape):
    assert np.all(signed_distance(np.zeros(shape, bool), None, mode, reach) == 1)
    assert np.all(signed_distance(np.ones(shape, bool), None, mode, reach) == -1)


@pytest.mark.parametrize("mode", MODES)
def test_a_rim_at_the_border_is_none(mode):
    mask = np.zeros((5, 5), bool)
    mask[:3] = True
    assert inner_rim(mask)[2].all()
    assert inner_rim(mask).sum() == 5
    assert (signed_distance(mask, None, mode)[0] == -1).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("reach", [0.0, 3.0])
@pytest.mark.parametrize("spacing", [None, (3.0, 1.0, 1.25)])
def test_shortcuts_change_nothing(mode, reach, spacing):
    for seed, shape in enumerate([(9, 11, 7), (16, 5, 12), (12, 12, 12)]):
        mask = blob(shape, seed) if seed < 2 else np.pad(np.ones((2, 3, 2), bool), ((5, 5), (1, 8), (10, 0)))
        found = signed_distance(mask, spacing, mode, reach)
        assert np.abs(found - reference(mask, spacing or (1.0,) * 3, mode, reach)).max() < 1e-6


@pytest.mark.parametrize("mode", MODES)
def test_mirrored_and_turned_masks_have_mirrored_and_turned_distances(mode):
    mask = blob((9, 11, 7))
    found = signed_distance(mask, None, mode)
    for axis in range(3):
        assert np.allclose(signed_distance(np.flip(mask, axis), None, mode), np.flip(found, axis))
    assert np.allclose(signed_distance(np.rot90(mask), None, mode), np.rot90(found))


def test_the_sign_is_the_mask():
    mask = blob((9, 11, 7))
    assert np.array_equal(signed_distance(mask, (2.0, 1.0, 1.0), "exact") < 0, mask)
    paper, rim = signed_distance(mask), inner_rim(mask)
    assert np.array_equal((paper < 0)[~rim], mask[~rim])
    assert np.all(paper[rim] == 0)


def test_the_papers_rim_erodes_a_ball():
    places = np.indices((61, 61, 61)) - 30
    ball = (places**2).sum(axis=0) <= 25**2
    overlaps = {}
    for mode in MODES:
        found = 1 / (1 + np.exp(np.clip(1500 * signed_distance(ball, None, mode), -60, 60))) > 0.5
        overlaps[mode] = 2 * (found & ball).sum() / (found.sum() + ball.sum())
    assert overlaps["paper"] == approx(0.949, abs=0.005)
    assert overlaps["exact"] == 1


def test_how_steep_masks_are_around_a_ball():
    """Radius 25 in the paper's crop: one voxel is so large a step that hardly any voxel gets a gradient through the mask."""
    ball = ((np.indices((112, 112, 80)) - np.array([56, 56, 40]).reshape(3, 1, 1, 1)) ** 2).sum(axis=0) <= 25**2
    found = signed_distance(ball).astype(float)
    assert found[found > 0].min() == approx(0.0156, abs=1e-4)
    assert found[found < 0].max() == approx(-0.057, abs=1e-3)
    inside = 1 / (1 + np.exp(np.clip(1500 * found, -60, 60)))
    assert (1500 * inside * (1 - inside) > 1e-3).mean() == approx(0.0063, abs=5e-5)


def test_the_papers_scale_is_that_of_the_crop():
    line = np.zeros(21, bool)
    line[8:13] = True
    whole, crop = signed_distance(line), signed_distance(line[5:16])
    assert (whole[14] - whole[13], crop[9] - crop[8]) == (approx(0.125), approx(1 / 3))
    steady = [signed_distance(mask, mode="exact", reach=10.0) for mask in (line, line[5:16])]
    assert np.allclose(steady[0][5:16], steady[1])


def test_long_voxels_count_as_long():
    bar = np.zeros((5, 3), bool)
    bar[1:4, 1] = True  # three along the first axis, one along the second
    isotropic, stretched = (distance_transform_edt(bar, sampling=one).max() for one in ((1, 1), (1, 2)))
    assert (isotropic, stretched) == (1, 2)
    found = signed_distance(bar, (1.0, 2.0), "exact", reach=4.0)
    assert found[2, 1] == approx(-(2 - 0.5) / 4)
    assert found[2, 0] == approx((2 - 0.5) / 4)
    assert proportions((2.5, 1.25, 1.25), 3) == (2, 1, 1)
    assert proportions(None, 2) == (1, 1)


def test_what_is_unknown_belongs_to_no_side():
    label = np.array([0, 0, 255, 1, 1, 255, 255], np.uint8)
    found = signed_distance(label == 1, None, "exact", 10.0, label != 255)
    assert found.tolist() == approx([0.25, 0.15, 0, -0.15, -0.25, 0, 0])
    all_unknown = signed_distance(np.zeros(3, bool), known=np.zeros(3, bool))
    assert np.all(all_unknown == 1)


def test_every_class_but_the_first_has_its_level_set():
    label = np.array([[0, 1, 1, 2, 2, 255]], np.uint8)
    found = level_sets(label, 4, mode="exact", reach=8.0)
    assert found.dtype == np.float16
    assert found.shape == (3, 1, 6)
    assert [(one < 0).tolist() for one in found[:2, 0]] == [[value == k for value in label[0]] for k in (1, 2)]
    assert np.all(found[2] == 1)
    assert np.array_equal(level_sets(label, 4, (2.0, 1.0), "exact", 8.0), level_sets(label, 4, (1.0, 0.5), "exact", 8.0))
