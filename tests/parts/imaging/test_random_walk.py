from __future__ import annotations

from math import hypot

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from smidgen.parts.imaging.random_walk import affinities, chebyshev_shares, paths, transition, walk


def smooth(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Edges with ridges, in [0, 1]."""
    noise = gaussian_filter(np.random.default_rng(seed).random((height, width)), 1)
    return ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)


def distance_to_segment(point: tuple[int, int], end: tuple[int, int]) -> float:
    """From a point to the segment between (0, 0) and `end`."""
    along = (point[0] * end[0] + point[1] * end[1]) / (end[0] ** 2 + end[1] ** 2)
    along = min(1.0, max(0.0, along))
    return hypot(point[0] - along * end[0], point[1] - along * end[1])


def dense(edges: np.ndarray, radius: int, sharpness: float, steps: int) -> np.ndarray:
    """T^steps as the paper writes it: every pair on its own, columns divided by their sums, all powers of the whole matrix."""
    height, width = edges.shape
    places = [(y, x) for y in range(height) for x in range(width)]
    matrix = np.eye(len(places))
    for i, (y, x) in enumerate(places):
        for j, (v, u) in enumerate(places):
            if i < j and (v - y) ** 2 + (u - x) ** 2 < radius**2:
                box = [(a, b) for a in range(y, v + 1) for b in range(min(x, u), max(x, u) + 1)]
                on_path = [edges[a, b] for a, b in box if distance_to_segment((a - y, b - x), (v - y, u - x)) < 1 - 1e-9]
                matrix[i, j] = matrix[j, i] = (1 - max(on_path)) ** sharpness
    return np.linalg.matrix_power(matrix / matrix.sum(axis=0), steps)


@pytest.mark.parametrize(("radius", "count"), [(10, 152), (5, 34)])
def test_a_half_plane_of_neighbors(radius, count):
    offsets = [path.offset for path in paths(radius)]
    assert len(offsets) == len(set(offsets)) == count
    assert not any((-y, -x) in offsets for y, x in offsets)
    assert all(0 < hypot(*offset) < radius for offset in offsets)


def test_a_path_is_all_that_is_closer_than_one_to_the_segment():
    around = [(y, x) for y in range(-6, 12) for x in range(-12, 12)]
    for path in paths(6):
        assert set(path.places) == {place for place in around if distance_to_segment(place, path.offset) < 1 - 1e-9}
        assert {(0, 0), path.offset} <= set(path.places)


def test_affinity_is_what_the_strongest_edge_on_the_path_leaves():
    edges = np.array([[0.1, 0.2, 0.7, 0.0], [0.3, 0.4, 0.0, 0.9]], np.float32)
    by_offset = {path.offset: path for path in paths(4)}
    np.testing.assert_allclose(affinities(edges, by_offset[0, 2]), 1 - np.array([[0.7, 0.7], [0.4, 0.9]]), rtol=1e-6)
    np.testing.assert_allclose(affinities(edges, by_offset[1, -1]), 1 - np.array([[0.4, 0.7, 0.9]]), rtol=1e-6)
    # (0, 0) to (1, 2): the other places of the box are .45 or .89 away from the line; so all six count
    np.testing.assert_allclose(affinities(edges, by_offset[1, 2]), 1 - np.array([[0.7, 0.9]]), rtol=1e-6)
    # (0, 0) to (1, 3): the corners (0, 3) and (1, 0) are .95 away and count as well
    np.testing.assert_allclose(affinities(edges, by_offset[1, 3]), 1 - np.array([[0.9]]), rtol=1e-6)


def test_three_places_in_a_row():
    """The sheet's numbers: half an edge in the middle, power 10, 2^8 steps."""
    step = transition(np.array([[0, 0.5, 0]], np.float32), radius=5, sharpness=10.0)
    assert step.toarray()[0, 1:] == pytest.approx([0.000975, 0.000975], abs=5e-7)
    start = np.array([[[1.0, 0, 0]]])
    for tolerance in (1e-7, 0.0):
        assert walk(start, step, 256, tolerance)[0, 0] == pytest.approx([0.648359, 0.175820, 0.175820], abs=1e-6)
    repeated = start[0, 0]
    for _ in range(256):
        repeated = step @ repeated
    assert walk(start, step, 256, tolerance=0.0)[0, 0] == pytest.approx(repeated, abs=1e-12)


def test_nothing_passes_a_whole_edge():
    step = transition(np.array([[0, 1, 0]], np.float32), radius=5, sharpness=10.0)
    np.testing.assert_array_equal(step.toarray(), np.eye(3))
    start = np.array([[[0.3, 0.1, 0.9]]])
    np.testing.assert_allclose(walk(start, step, 256), start, rtol=1e-9)


@pytest.mark.parametrize(("size", "radius"), [((12, 15), 5), ((9, 3), 5), ((2, 7), 4), ((1, 1), 5)])
def test_equal_to_the_dense_power(size, radius):
    edges = smooth(*size) if max(size) > 1 else np.zeros(size, np.float32)
    maps = np.random.default_rng(1).random((2, *size))
    expected = maps.reshape(2, -1) @ dense(edges, radius, 10, 256)
    np.testing.assert_allclose(walk(maps, transition(edges, radius, 10.0), 256).reshape(2, -1), expected, atol=1e-6)


def test_equal_to_the_dense_power_on_a_large_map():
    edges = smooth(24, 30)
    step, maps = transition(edges, 5, 10.0), np.random.default_rng(1).random((2, 24, 30))
    expected = maps.reshape(2, -1) @ np.linalg.matrix_power(step.toarray().T, 256)
    np.testing.assert_allclose(walk(maps, step, 256).reshape(2, -1), expected, atol=1e-6)


def test_columns_of_the_paper_s_matrix_sum_to_one():
    step = transition(smooth(8, 11), 5, 10.0)
    np.testing.assert_allclose(step.toarray().sum(axis=1), 1, rtol=1e-12)  # ours is the transpose
    np.testing.assert_allclose(walk(np.ones((1, 8, 11)), step, 256), 1, rtol=1e-7)


def test_evidence_is_conserved():
    """Weighted by its ties, the sum of a map stays the same, whatever the edges."""
    edges = smooth(8, 11)
    ties = np.ones((8, 11))
    for path in paths(5):
        if path.fits((8, 11)):
            for end in ((0, 0), path.offset):
                ties[path.window((8, 11), end)] += affinities(edges, path).astype(float) ** 10
    maps = np.random.default_rng(2).random((1, 8, 11))
    walked = walk(maps, transition(edges, 5, 10.0), 256)
    assert (walked * ties).sum() == pytest.approx((maps * ties).sum(), rel=1e-7)
    assert walked.sum() != pytest.approx(maps.sum(), rel=1e-3)


def test_classes_do_not_meet():
    step, maps = transition(smooth(8, 11), 5, 10.0), np.random.default_rng(3).random((3, 8, 11))
    together = walk(maps, step, 64)
    np.testing.assert_array_equal(walk(maps[::-1], step, 64)[::-1], together)
    np.testing.assert_array_equal(walk(maps[1:2], step, 64)[0], together[1])
    assert walk(maps[:0], step, 64).shape == (0, 8, 11)


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 16, 256])
def test_the_shares_make_the_power(steps):
    x = np.linspace(-1, 1, 101)
    polynomial = np.polynomial.chebyshev.chebval(x, chebyshev_shares(steps, 1e-7))
    np.testing.assert_allclose(polynomial, x**steps, atol=3e-7)
    assert sum(chebyshev_shares(steps, 1e-7)) == pytest.approx(1)
    assert len(chebyshev_shares(steps, 1e-7)) <= min(steps + 1, 90)


def test_no_steps_change_nothing():
    maps = np.random.default_rng(4).random((2, 6, 5))
    np.testing.assert_array_equal(walk(maps, transition(smooth(6, 5), 3, 10.0), 0), maps)
