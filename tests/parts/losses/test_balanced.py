from __future__ import annotations

import math

import torch
from pytest import approx
from torch import tensor

from smidgen.parts.losses import settings
from smidgen.parts.losses.balanced import balanced
from smidgen.parts.losses.ce import ce


def logits_of(*probs: float) -> torch.Tensor:
    first = tensor(probs)
    return torch.stack([first, 1 - first]).log()[None, :, None]


def test_the_number_of_the_sheet():
    logits, label = logits_of(0.9, 0.8, 0.9, 0.7, 0.5), tensor([[[0, 0, 0, 0, 1]]])
    assert balanced(settings.Balanced(), logits, label).tolist() == approx([0.89078], abs=1e-5)


def test_more_background_of_the_same_kind_changes_nothing():
    few = balanced(settings.Balanced(), logits_of(0.9, 0.5), tensor([[[0, 1]]]))
    many = balanced(settings.Balanced(), logits_of(0.9, 0.9, 0.9, 0.9, 0.5), tensor([[[0, 0, 0, 0, 1]]]))
    assert few.tolist() == approx(many.tolist())


def test_an_empty_half_adds_nothing():
    logits = logits_of(0.9, 0.5)
    for label in (tensor([[[0, 0]]]), tensor([[[1, 1]]]), tensor([[[0, 255]]])):
        assert balanced(settings.Balanced(), logits, label).tolist() == approx(ce(settings.Ce(), logits, label).tolist())


def test_all_objects_share_one_half():
    probs = tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.3, 0.5], [0.1, 0.8, 0.1]])
    value = balanced(settings.Balanced(), probs.log().T[None, :, None], tensor([[[0, 1, 2, 1]]]))
    assert value.tolist() == approx([-math.log(0.7) - (math.log(0.6) + math.log(0.5) + math.log(0.8)) / 3], abs=1e-6)


def test_the_background_may_be_any_class():
    logits, label = logits_of(0.9, 0.8, 0.9, 0.7, 0.5), tensor([[[0, 0, 0, 0, 1]]])
    turned = balanced(settings.Balanced(background=1), logits.flip(1), 1 - label)
    assert turned.tolist() == approx([0.89078], abs=1e-5)


def test_confidence_scales_pixels():
    value = balanced(settings.Balanced(), logits_of(0.9, 0.5), tensor([[[0, 1]]]), tensor([[[1.0, 0.5]]]))
    assert value.tolist() == approx([-math.log(0.9) - 0.5 * math.log(0.5)], abs=1e-6)
