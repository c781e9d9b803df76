from __future__ import annotations

import numpy as np
import pytest

from smidgen.parts.metrics.biases import GRID, best_biases, case_dice, swept
from smidgen.parts.metrics.cases import Cases, structures


def softmax(logits):
    odds = np.exp(logits - logits.max(axis=0))
    return odds / odds.sum(axis=0)


def shifted(shift: float, size: int = 400, seed: int = 0):
    """A case of a network that sees everything, and adds a shift to the foreground: its probabilities and the truth."""
    logits = np.random.default_rng(seed).permutation(np.linspace(-6, 6, size)).reshape(20, -1)
    return softmax(np.stack([np.zeros_like(logits), logits + shift])), (logits > 0).astype(np.uint8)


@pytest.mark.parametrize("shift", [0.65, -1.4, 3.0])
def test_a_known_shift_is_found_again(shift):
    cases = [lambda seed=seed: shifted(shift, seed=seed) for seed in range(3)]
    assert best_biases(cases, 0) == (0.0, -shift)
    assert [case_dice(case, 0, (0.0, -shift)) for case in cases] == [1.0] * 3
    assert case_dice(cases[0], 0, (0.0, 0.0)) < 0.95


def test_the_shifts_of_several_classes_are_found_again():
    rng = np.random.default_rng(0)
    logits = rng.uniform(-3, 3, (4, 60_000))
    truth = logits.argmax(axis=0).astype(np.uint8)
    probs = softmax(logits + np.array([0.0, 0.5, -0.75, 0.2])[:, None])
    assert best_biases([lambda: (probs, truth)], 0) == (0.0, -0.5, 0.75, -0.2)


def test_where_nothing_is_better_it_stays_at_0():
    assert best_biases([lambda: shifted(0.0)], 0) == (0.0, 0.0)
    far = np.array([[0.9, 0.9, 0.1], [0.1, 0.1, 0.9]]), np.array([0, 0, 1], np.uint8)  # everything from -2 to 2 is right
    assert best_biases([lambda: far], 0) == (0.0, 0.0)
    nobody = np.array([[1.0, 1.0], [0.0, 0.0]]), np.zeros(2, np.uint8)
    assert best_biases([lambda: nobody], 0) == (0.0, 0.0)
    assert np.isnan(case_dice(lambda: nobody, 0, (0.0, 0.0)))


def test_unknown_pixels_and_half_precision_change_nothing():
    probs, truth = shifted(0.65)
    odd = truth.copy()
    odd[3:, 5:] = 255
    wrong = np.where(odd == 255, probs[::-1], probs).astype(np.float16)
    assert best_biases([lambda: (wrong, odd)], 0)[1] == pytest.approx(-0.65, abs=0.15)
    assert best_biases([lambda: (probs.astype(np.float16), truth)], 0) == (0.0, -0.65)


def test_it_is_the_dice_that_cases_tell_at_every_place_of_the_grid():
    rng = np.random.default_rng(2)
    probs = softmax(rng.standard_normal((3, 5, 6, 7)))
    truth = rng.integers(0, 3, (5, 6, 7)).astype(np.uint8)
    biases = np.array([0.0, 0.4, -0.3])
    found = swept(probs, truth, biases, 2, 0)
    for n in range(0, len(GRID), 20):
        own = np.array([0.0, 0.4, GRID[n]])
        label = (np.log(probs) + own[:, None, None, None]).argmax(axis=0).astype(np.uint8)
        told = Cases(("one", "two"), "voxels").adding("a", structures(truth, label, [1, 2]))
        assert found[n] == pytest.approx(told.dice["a"])
        assert case_dice(lambda: (probs, truth), 0, tuple(own)) == pytest.approx(told.dice["a"])


def test_false_alarms_in_empty_cases_count():
    probs = np.array([0.9, 0.8, 0.4, 0.1])
    full = np.stack([1 - probs, probs]), np.array([1, 1, 1, 0], np.uint8)
    assert best_biases([lambda: full], 0) == (0.0, 0.45)
    assert [case_dice(lambda: full, 0, (0.0, bias)) for bias in (0.0, 0.45)] == pytest.approx([0.8, 1.0])
    empty = np.array([[0.61, 0.9], [0.39, 0.1]]), np.array([0, 0], np.uint8)
    assert best_biases([lambda: full, lambda: empty], 0) == (0.0, 0.0)  # 0.45 would find something in it: a mean of 0.5


def test_without_a_background_every_class_may_move():
    logits = np.random.default_rng(0).uniform(-3, 3, (2, 20_000))
    probs, truth = softmax(logits + np.array([0.0, 0.5])[:, None]), logits.argmax(axis=0).astype(np.uint8)
    found = best_biases([lambda: (probs, truth)], None)
    assert found[1] - found[0] == pytest.approx(-0.5)
