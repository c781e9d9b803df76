from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from smidgen.parts.imaging.hiding import hidden


def square(height=33, width=46):
    region = np.zeros((height, width), bool)
    region[5:20, 10:30] = True
    return region


@pytest.mark.parametrize("by", ["surroundings", "mean"])
def test_only_the_region_changes_and_its_colors_are_gone(by):
    image = np.full((3, 33, 46), 0.25, np.float32)
    image[:, square()] = 0.9
    shown = hidden(image, square(), by)
    assert_allclose(shown, 0.25, atol=1e-6)
    noise = np.random.default_rng(0).random((3, 33, 46)).astype(np.float32)
    assert_array_equal(hidden(noise, square(), by)[:, ~square()], noise[:, ~square()])
    assert hidden(noise, square(), by).dtype == np.float32


def test_colors_flow_in_from_where_they_are_near():
    image = np.zeros((1, 32, 32), np.float32)
    image[:, :, 16:] = 1
    region = np.zeros((32, 32), bool)
    region[12:20, :] = True
    filled = hidden(image, region)[0, 12:20]
    assert filled[:, :10].max() < 0.1
    assert filled[:, 22:].min() > 0.9
    assert_allclose(hidden(image, region, "mean")[0, 12:20], 0.5)


def test_a_large_hole_is_filled_too():
    image = np.full((2, 40, 40), 0.3, np.float32)
    region = np.ones((40, 40), bool)
    region[0, 0] = False
    image[:, region] = 1
    assert_allclose(hidden(image, region), 0.3, atol=1e-5)


def test_nothing_and_everything_stay():
    image = np.random.default_rng(0).random((3, 8, 8)).astype(np.float32)
    for region in (np.zeros((8, 8), bool), np.ones((8, 8), bool)):
        assert hidden(image, region) is image
