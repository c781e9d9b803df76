"""Run lengths and polygons: pixel for pixel what COCO's public API makes of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as reference
from pytest import approx

from smidgen.data.images import Broken
from smidgen.data.polygons import fill
from smidgen.data.rle import decode, encode

SIZES = st.tuples(st.integers(1, 24), st.integers(1, 24))
CORNER = st.one_of(st.floats(-30, 50), st.integers(-10, 40), st.integers(-50, 200).map(lambda n: n / 5 - 0.1))


def by_reference(corners: list[list[float]], size: tuple[int, int]) -> np.ndarray:
    flat = [value for corner in corners for value in corner]
    return reference.decode(reference.frPyObjects([flat], *size))[..., 0].astype(bool)


def test_run_lengths_go_down_the_columns():
    """a13: counts 4, 4, 16 in an image 6 wide and 4 high fill the second column."""
    mask = decode([4, 4, 16], (4, 6))
    assert mask[:, 1].all() and mask.sum() == 4


@settings(max_examples=150, deadline=None)
@given(SIZES.flatmap(lambda size: arrays.arrays(np.bool_, size)))
def test_run_lengths_are_those_of_pycocotools(mask):
    text = reference.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert encode(mask) == text
    assert (decode(text, mask.shape) == mask).all()


def test_long_runs_survive():
    """Counts beyond 16 bits take four characters, and differences may be negative."""
    mask = np.zeros((700, 900), np.bool_)
    mask[:, 400:600] = True
    mask[3, 700] = True
    text = encode(mask)
    assert reference.decode({"size": [700, 900], "counts": text}).sum() == mask.sum() == approx(140_001)
    assert (decode(text, (700, 900)) == mask).all()


@pytest.mark.parametrize("counts", ["", "\x7f", "0ä", "PPPPPPPPPPPPPP1", "1P", [4, 4], [4, -4, 24], [24, 24]])
def test_impossible_runs_are_refused(counts):
    with pytest.raises(Broken, match="RLE"):
        decode(counts, (4, 6))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(CORNER, CORNER), min_size=3, max_size=9), SIZES)
def test_polygons_are_those_of_pycocotools(corners, size):
    assert (fill(np.asarray(corners, float), size) == by_reference([list(one) for one in corners], size)).all()


def test_corners_between_pixels():
    """a85: a square with corners at 2.6 and 7.6 covers rows and columns 3 to 7."""
    mask = fill(np.array([[2.6, 2.6], [7.6, 2.6], [7.6, 7.6], [2.6, 7.6]]), (12, 12))
    assert mask.sum() == 25 and mask[3:8, 3:8].all()


def test_what_lies_outside_is_cut_off():
    """a89: a rectangle from x = -5 to 17 in an image of 10 x 10 covers rows 3 to 7, 50 pixels."""
    mask = fill(np.array([[-5.0, 3], [17, 3], [17, 8], [-5, 8]]), (10, 10))
    assert mask.sum() == 50 and mask[3:8].all()


def test_corners_at_the_end_of_the_world_cost_nothing():
    mask = fill(np.array([[-1e300, 2], [1e300, 2], [1e300, 5], [-1e300, 5]]), (10, 10))
    assert mask.sum() == 30 and mask[2:5].all()
