from __future__ import annotations

import math

import torch
from pytest import approx, mark
from torch import tensor

from smidgen.parts.losses import settings
from smidgen.parts.losses.ce import ce


def logits_of(*probs: float) -> torch.Tensor:
    """One image of one row and two classes, from the probabilities of class 0."""
    first = tensor(probs)
    return torch.stack([first, 1 - first]).log()[None, :, None]


def test_the_mean_surprise_of_the_sheet():
    value = ce(settings.Ce(), logits_of(0.9, 0.8, 0.9, 0.7, 0.5), tensor([[[0, 0, 0, 0, 1]]]))
    assert value.tolist() == approx([0.29674], abs=1e-5)


def test_ignored_pixels_do_not_count():
    logits = logits_of(0.9, 0.8, 0.001)
    assert ce(settings.Ce(), logits, tensor([[[0, 0, 255]]])).tolist() == approx([-(math.log(0.9) + math.log(0.8)) / 2], abs=1e-6)


def test_each_image_is_averaged_over_its_own_pixels():
    logits = torch.cat([logits_of(0.9, 0.5), logits_of(0.2, 0.5)])
    values = ce(settings.Ce(), logits, tensor([[[0, 255]], [[0, 1]]]).to(torch.uint8))
    assert values.tolist() == approx([-math.log(0.9), -(math.log(0.2) + math.log(0.5)) / 2], abs=1e-6)


def test_confidence_scales_pixels_and_the_count_stays():
    value = ce(settings.Ce(), logits_of(0.9, 0.5), tensor([[[0, 1]]]), tensor([[[0.5, 1.0]]]))
    assert value.tolist() == approx([-(0.5 * math.log(0.9) + math.log(0.5)) / 2], abs=1e-6)
    assert ce(settings.Ce(), logits_of(0.9, 0.5), tensor([[[0, 1]]]), torch.zeros(1, 1, 2)).tolist() == [0]


def test_smoothing_spreads_a_share_evenly():
    value = ce(settings.Ce(smoothing=0.1), logits_of(0.9), tensor([[[0]]]))
    assert value.tolist() == approx([-0.95 * math.log(0.9) - 0.05 * math.log(0.1)], abs=1e-6)


@mark.parametrize("size", [(8, 8), (4, 8, 8)])
def test_coarse_logits_are_upsampled(size: tuple[int, ...]):
    coarse = torch.zeros(1, 2, *(n // 4 for n in size))
    coarse[:, 1] = 1.0  # the same everywhere: upsampling must not change it
    value = ce(settings.Ce(), coarse, torch.ones(1, *size, dtype=torch.long))
    assert value.tolist() == approx([math.log(1 + math.exp(-1))], abs=1e-6)
