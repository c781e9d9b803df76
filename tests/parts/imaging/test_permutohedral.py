from __future__ import annotations

import numpy as np
import pytest

from smidgen.parts.imaging import permutohedral
from smidgen.parts.imaging.permutohedral import Lattice, distinct, gathering, simplices


def points(d: int, n: int = 200, spread: float = 3.0) -> np.ndarray:
    return np.random.default_rng(d).normal(0, spread, (d, n)).astype(np.float32)


def dense(features: np.ndarray) -> np.ndarray:
    """The kernel between all pairs of points."""
    return Lattice.of(features).summed(np.eye(features.shape[1], dtype=np.float32))


@pytest.mark.parametrize("d", [1, 2, 5, 9])
def test_a_point_is_the_weighted_mean_of_its_corners(d):
    """Corners are integers of one remainder each, and the shares put the point back where it is."""
    features = points(d)
    lowest, ranks, shares = simplices(features)
    s = d + 1
    assert (np.sort(ranks, axis=0) == np.arange(s)[:, None]).all()
    assert (lowest.sum(axis=0) == 0).all()
    np.testing.assert_allclose(shares.sum(axis=0), 1, atol=1e-5)
    assert shares.min() > -1e-5
    colors = np.arange(s)[:, None, None]
    corners = lowest * s + colors - s * (ranks >= s - colors)
    np.testing.assert_allclose((shares[:, None] * corners).sum(axis=0), permutohedral._elevated(features), atol=1e-3)


@pytest.mark.parametrize("d", [1, 2, 5, 9])
def test_distances_are_kept(d):
    """The plane of the lattice is a copy of the space of features, larger by a factor."""
    features, elevated = points(d), permutohedral._elevated(points(d))
    ratios = np.linalg.norm(elevated[:, 1:] - elevated[:, :1], axis=0) / np.linalg.norm(features[:, 1:] - features[:, :1], axis=0)
    np.testing.assert_allclose(ratios, np.sqrt(2 / 3) * (d + 1), rtol=1e-4)


def test_in_one_dimension_by_hand():
    """Corners lie 2 / (√(2/3) · 2 · √2) = √3 / 2 apart; a point on one blurs as (1, 2, 1) twice: 6/4 of its own and 4/4 of the next."""
    step = np.float32(np.sqrt(3) / 2)
    kernel = dense(np.array([[0, 1, 2, 3]], np.float32) * step)
    assert kernel[0, 0] == pytest.approx(1.25 / 1.5, abs=1e-5)  # the first has a neighbor on one side only: 1 + ½·½
    assert kernel[1, 1] == pytest.approx(1.5 / 1.5, abs=1e-5)
    assert kernel[1, 2] == pytest.approx(1.0 / 1.5, abs=1e-5)
    assert kernel[0, 2] == pytest.approx(0.25 / 1.5, abs=1e-5)
    assert kernel[0, 3] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_kernel_is_near_a_gaussian(d):
    """On a dense cloud, where there are corners everywhere: the shape over distance, up to one factor."""
    features = np.random.default_rng(0).uniform(-2, 2, (d, 1500)).astype(np.float32)
    middle = int((features**2).sum(axis=0).argmin())
    one = np.zeros((1500, 1), np.float32)
    one[middle] = 1
    found = Lattice.of(features).summed(one)[:, 0]
    exact = np.exp(-((features - features[:, [middle]]) ** 2).sum(axis=0) / 2)
    assert np.corrcoef(found, exact)[0, 1] > 0.97
    np.testing.assert_allclose(found[exact > 0.5] / found.max(), exact[exact > 0.5], atol=0.25)


@pytest.mark.parametrize("d", [2, 5])
def test_all_pairs_count_and_what_is_far_does_not(d):
    features = points(d, spread=0.5)
    features[0, 100:] += 1000
    kernel = dense(features)
    assert (kernel >= 0).all() and (kernel.diagonal() > 0).all()
    assert (kernel[:100, 100:] == 0).all() and (kernel[100:, :100] == 0).all()


def test_values_add_up_and_moving_all_points_changes_little():
    features, values = points(2, spread=1.0), np.random.default_rng(0).random((200, 3)).astype(np.float32)
    lattice = Lattice.of(features)
    np.testing.assert_allclose(lattice.summed(2 * values[:, :1]), 2 * lattice.summed(values)[:, :1], rtol=1e-4)
    np.testing.assert_allclose(Lattice.of(features[:, ::-1].copy()).summed(values[::-1].copy())[::-1], lattice.summed(values), rtol=1e-4)


def test_one_point_and_points_that_coincide():
    """On a corner of its own a point keeps 1 + … of nothing: the scale alone."""
    same = np.full((2, 4), 0.7, np.float32)
    kernel = dense(same)
    assert (kernel == kernel[0, 0]).all()
    assert dense(same[:, :1]) == pytest.approx(kernel[:1, :1])


def test_a_hash_finds_what_places_of_a_number_find(monkeypatch):
    """Many dimensions do not fit into one number: then keys are hashes, and nothing else changes."""
    features = points(5)
    exact = dense(features)
    monkeypatch.setattr(permutohedral, "SPREAD", 1)
    np.testing.assert_allclose(dense(features), exact, rtol=1e-5, atol=1e-7)
    many = dense(points(60, 50, 0.1))
    assert many.shape == (50, 50) and (many.diagonal() > 0).all()


def test_reading_and_giving():
    corners, shares = np.array([[0, 2], [2, 1]], np.int32), np.array([[0.25, 0.75], [1, 0]], np.float32)
    assert gathering([corners], [shares], 3).toarray().tolist() == [[0.25, 0, 0.75], [0, 0, 1]]
    both = gathering([corners, corners[:, :1] + 3], [shares, shares[:, :1]], 6)
    assert both.toarray().tolist() == [[0.25, 0, 0.75, 0.25, 0, 0], [0, 0, 1, 0, 0, 1]]


def test_distinct():
    keys = np.array([5, -1, 5, 9, -1])
    first, which = distinct(keys)
    assert keys[first].tolist() == [-1, 5, 9]
    assert which.tolist() == [1, 0, 1, 2, 0]
