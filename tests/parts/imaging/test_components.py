from __future__ import annotations

import numpy as np
from numpy.testing import assert_array_equal

from smidgen.parts.imaging.components import largest_components


def test_of_each_class_the_largest_piece_stays():
    label = np.array([[1, 1, 0, 2, 0], [1, 0, 0, 2, 0], [0, 0, 1, 0, 2], [255, 1, 0, 0, 0]], np.uint8)
    kept = largest_components(label)
    assert_array_equal(kept, [[1, 1, 0, 2, 0], [1, 0, 0, 2, 0], [0, 0, 0, 0, 2], [255, 0, 0, 0, 0]])
    assert label[3, 1] == 1, "the caller's label stays as it was"
    assert kept.dtype == np.uint8


def test_corners_connect_in_three_dimensions():
    label = np.zeros((3, 3, 3), np.uint8)
    label[0, 0, 0] = label[1, 1, 1] = label[2, 2, 2] = 1
    assert_array_equal(largest_components(label), label)


def test_without_a_background_what_falls_away_has_no_answer():
    assert_array_equal(largest_components(np.array([0, 0, 1, 0], np.uint8), None), [0, 0, 1, 255])


def test_of_equal_pieces_the_first_stays():
    assert_array_equal(largest_components(np.array([1, 0, 1], np.uint8)), [1, 0, 0])
