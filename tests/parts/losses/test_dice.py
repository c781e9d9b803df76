from __future__ import annotations

import torch
from pytest import approx
from torch import tensor

from smidgen.parts.losses import settings
from smidgen.parts.losses.dice import dice

TINY = 1e-6


def logits_of(*probs: float) -> torch.Tensor:
    first = tensor(probs)
    return torch.stack([first, 1 - first]).log()[None, :, None]


def test_the_overlap_by_hand():
    # class 0: 2 * 0.8 / (0.8 + 0.4 + 1), class 1: 2 * 0.6 / (0.2 + 0.6 + 1)
    value = dice(settings.Dice(smooth=TINY), logits_of(0.8, 0.4), tensor([[[0, 1]]]))
    assert value.tolist() == approx([1 - (1.6 / 2.2 + 1.2 / 1.8) / 2], abs=1e-5)


def test_squares_in_the_denominator():
    value = dice(settings.Dice(smooth=TINY, squared=True), logits_of(0.8, 0.4), tensor([[[0, 1]]]))
    assert value.tolist() == approx([1 - (1.6 / (0.64 + 0.16 + 1) + 1.2 / (0.04 + 0.36 + 1)) / 2], abs=1e-5)


def test_smoothing_counts_as_pixels():
    value = dice(settings.Dice(smooth=1), logits_of(0.8, 0.4), tensor([[[0, 1]]]))
    assert value.tolist() == approx([1 - (2.6 / 3.2 + 2.2 / 2.8) / 2], abs=1e-5)


def test_a_perfect_answer_costs_nothing_and_its_opposite_everything():
    label = tensor([[[0, 1, 1]]])
    perfect = torch.nn.functional.one_hot(label, 2).permute(0, 3, 1, 2) * 100.0
    assert dice(settings.Dice(smooth=TINY), perfect, label).item() == approx(0, abs=1e-5)
    assert dice(settings.Dice(smooth=TINY), -perfect, label).item() == approx(1, abs=1e-5)


def test_an_absent_class_counts_only_when_all_do():
    logits = torch.stack([tensor([0.8, 0.4]), tensor([0.2, 0.4]), tensor([1e-30, 0.2])]).log()[None, :, None]
    label = tensor([[[0, 1]]])
    present = 1 - (1.6 / 2.2 + 0.8 / 1.6) / 2
    assert dice(settings.Dice(smooth=TINY), logits, label).tolist() == approx([present], abs=1e-5)
    false_alarms = 1 - TINY / (0.2 + TINY)
    assert dice(settings.Dice(smooth=TINY, over="all"), logits, label).tolist() == approx([(2 * present + false_alarms) / 3], abs=1e-5)


def test_ignored_pixels_are_in_no_sum():
    cut = dice(settings.Dice(), logits_of(0.8, 0.4), tensor([[[0, 1]]]))
    ignored = dice(settings.Dice(), logits_of(0.8, 0.4, 0.9), tensor([[[0, 1, 255]]]))
    assert ignored.tolist() == approx(cut.tolist())


def test_confidence_weighs_all_sums():
    twice = dice(settings.Dice(smooth=2), logits_of(0.8, 0.8, 0.4, 0.4), tensor([[[0, 0, 1, 1]]]))
    half = dice(settings.Dice(smooth=1), logits_of(0.8, 0.8, 0.4, 0.4), tensor([[[0, 0, 1, 1]]]), torch.full((1, 1, 4), 0.5))
    assert half.tolist() == approx(twice.tolist())


def test_an_object_that_covers_everything_is_finite_in_16_bits():
    logits = torch.full((1, 2, 256, 256), 0.5, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = dice(settings.Dice(), logits, torch.ones(1, 256, 256, dtype=torch.long))
    assert value.dtype == torch.float32
    assert value.item() == approx(1 - 2 * 0.5 / 1.5, abs=1e-4)
    value.sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
