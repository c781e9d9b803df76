from __future__ import annotations

import numpy as np

from smidgen.parts.imaging.certainty import by_crf, by_thresholds


def test_seeds_are_what_heatmaps_are_sure_of():
    """The sheet's numbers."""
    maps = np.array([[[0.40, 0.30, 0.10, 0.16]]], np.float32)
    assert by_thresholds(maps, (1,), 0.35, 0.15, background=0).tolist() == [[1, 255, 0, 255]]
    assert by_thresholds(maps, (1,), 0.35, 0.15, background=None).tolist() == [[1, 255, 255, 255]]
    two = np.concatenate([maps, np.array([[[0.39, 0.50, 0.15, 0.35]]], np.float32)])
    found = by_thresholds(two, (3, 7), 0.35, 0.15, background=0)
    assert found.tolist() == [[3, 7, 0, 255]]
    assert found.dtype == np.uint8


def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A bright square, and evidence that covers most of it, spills over on one side and has a speck elsewhere."""
    truth = np.zeros((40, 40), bool)
    truth[10:30, 12:32] = True
    image = np.where(truth, 0.8, 0.2).astype(np.float32).repeat(3).reshape(40, 40, 3).transpose(2, 0, 1)
    evidence = np.full((40, 40), 0.05, np.float32)
    evidence[10:30, 9:29] = 0.5
    evidence[3, 3] = 0.5
    return np.ascontiguousarray(image), truth, evidence[None]


def test_a_crf_moves_seeds_to_the_edges_of_colors():
    image, truth, maps = scene()
    cut = by_thresholds(maps, (4,), 0.35, 0.15, background=0)
    assert ((cut == 4) != truth).sum() == 20 * 6 + 1
    label = by_crf(image, maps, (4,), 0.35, 0.15, background=0)
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label == 4, truth)
    np.testing.assert_array_equal(label == 0, ~truth)


def test_what_only_the_low_threshold_finds_teaches_nothing():
    image, truth, maps = scene()
    maps[0, truth] = 0.25
    maps[0, 11:29, 12:20] = 0.9
    image[:, 10:30, 22:32] = 0.5  # the right half has a color of its own: the strong half does not reach it
    label = by_crf(image, maps, (1,), 0.8, 0.15, background=0)
    assert (label[12:28, 14:20] == 1).all()
    assert (label[12:28, 25:31] == 255).all()
    assert (label[:8] == 0).all()


def test_without_a_background_the_rest_is_not_known():
    image, truth, maps = scene()
    label = by_crf(image, np.concatenate([maps, 0.4 * maps]), (0, 3), 0.35, 0.15, background=None)
    np.testing.assert_array_equal(label, np.where(truth, 0, 255))
