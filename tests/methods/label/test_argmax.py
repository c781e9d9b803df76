from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from smidgen.core.run import Given
from smidgen.data.dataset import Dataset
from smidgen.methods.label import settings
from smidgen.methods.label.argmax import argmax, decided
from smidgen.parts.imaging.evidence import confidence, enlarged, ranked
from smidgen.products.heatmaps import Heatmaps

PLAIN = settings.Argmax()


def heat(maps, ids, background=0.25, size=None, ignore=None):
    maps = np.array(maps, np.float32)
    size = maps.shape[1:] if size is None else size
    nothing = None if background is None else np.full(maps.shape[1:], background, np.float32)
    return Heatmaps(maps=maps, ids=ids, background=nothing, peak=np.ones(len(ids), np.float32), size=size, ignore=ignore)


def test_the_strongest_wins():
    found = decided(heat([[[1.0, 0.2, 0.1, 0.5]], [[0.5, 0.3, 0.2, 0.5]]], ids=(3, 7)), PLAIN, background=0)
    assert found.label.tolist() == [[3, 7, 0, 3]]  # of equals the first
    assert found.label.dtype == np.uint8
    # (1 - .5) / 1, (.3 - .25) / .3, (.25 - .2) / .25, a tie
    assert found.confidence[0] == pytest.approx([0.5, 1 / 6, 0.2, 0.0], abs=1e-3)
    assert found.confidence.dtype == np.float16


def test_near_a_tie_pixels_are_ignored():
    found = decided(heat([[[0.9, 0.3, 0.22, 0.1]]], ids=(1,)), settings.Argmax(margin=0.1), background=0)
    assert found.label.tolist() == [[1, 255, 255, 0]]
    assert (found.confidence[0] > 0).tolist() == [True, False, False, True]


def test_what_heatmaps_ignore_is_ignored():
    found = decided(heat([[[0.9, 0.3]]], ids=(1,), ignore=np.array([[False, True]])), PLAIN, background=0)
    assert found.label.tolist() == [[1, 255]]
    assert found.confidence[0, 1] == 0


def test_nothing_in_the_image_is_background_for_sure():
    found = decided(heat(np.zeros((0, 2, 3)), ids=(), size=(5, 9)), PLAIN, background=0)
    assert (found.label == 0).all()
    assert (found.confidence == 1).all()
    assert found.label.shape == found.confidence.shape == (5, 9)


def test_classes_without_background():
    """Label value 0 is a class like any other; where nothing speaks, nothing is known."""
    found = decided(heat([[[0.9, 0.1, 0.0]], [[0.3, 0.2, 0.0]]], ids=(0, 1), background=None), PLAIN, background=None)
    assert found.label.tolist() == [[0, 1, 255]]
    assert found.confidence[0] == pytest.approx([2 / 3, 0.5, 0.0], abs=1e-3)
    unknown = decided(heat(np.zeros((0, 2, 3)), ids=(), background=None), PLAIN, background=None)
    assert (unknown.label == 255).all()
    assert (unknown.confidence == 0).all()


@pytest.mark.parametrize("size", [(11, 14), (6, 20), (3, 2), (5, 7), (1, 1)])
def test_enlarging_is_torch_s_bilinear(size):
    maps = np.random.default_rng(0).random((2, 5, 7)).astype(np.float32)
    expected = torch.nn.functional.interpolate(torch.from_numpy(maps)[None], size=size, mode="bilinear", align_corners=False)[0]
    np.testing.assert_allclose(enlarged(maps, size), expected.numpy(), atol=1e-6)


def test_enlarging_keeps_what_it_was_given_and_knows_volumes():
    maps = np.random.default_rng(1).random((1, 2, 1, 3)).astype(np.float32)
    before = maps.copy()
    expected = torch.nn.functional.interpolate(torch.from_numpy(maps)[None], size=(4, 3, 5), mode="trilinear", align_corners=False)[0]
    np.testing.assert_allclose(enlarged(maps, (4, 3, 5)), expected.numpy(), atol=1e-6)
    np.testing.assert_array_equal(maps, before)


def test_ranks_are_those_of_sorting():
    evidence = np.random.default_rng(2).random((5, 6, 7))
    ids = np.array([0, 9, 4, 2, 7], np.uint8)
    label, best, second = ranked(evidence, ids)
    in_order = np.sort(evidence, axis=0)
    np.testing.assert_array_equal(label, ids[evidence.argmax(axis=0)])
    np.testing.assert_array_equal(best, in_order[-1])
    np.testing.assert_array_equal(second, in_order[-2])


def test_confidence_lies_between_tie_and_silence():
    assert confidence(np.array([0.5, 0.5, 0.0, 1e-30]), np.array([0.5, 0.0, 0.0, 0.0])).tolist() == [0, 1, 1, 1]


def test_every_image_with_heatmaps_gets_a_label(run):
    data = Dataset([np.zeros((8, 12, 3), np.uint8)] * 3, tags=[["cat"], [], None])
    maps = Given(
        {"000": heat([[[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]], (1,), size=(8, 12)), "001": heat(np.zeros((0, 2, 3)), (), size=(8, 12))}, "toy"
    )
    labels = argmax(run, PLAIN, data, maps)
    assert set(labels) == {"000", "001"}
    assert labels["000"].label.shape == (8, 12)
    # evidence falls from 1 at x = 1.5 to 0 at x = 5.5 and meets .25 at x = 4.5
    assert labels["000"].label[0].tolist() == [1, 1, 1, 1] + [1 if 1 - (x - 1.5) / 4 > 0.25 else 0 for x in range(4, 12)]
    assert labels["001"].label.max() == 0


def test_fast_enough():
    maps = heat(np.random.default_rng(3).random((2, 72, 96)), ids=(1, 2), size=(288, 384))
    times = []
    for _ in range(5):
        started = time.perf_counter()
        decided(maps, PLAIN, background=0)
        times.append(time.perf_counter() - started)
    assert min(times) < 0.06  # 15 ms wanted; machines differ
