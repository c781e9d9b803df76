from __future__ import annotations

import math

import torch
from pytest import approx
from torch import tensor

from smidgen.parts.losses import settings
from smidgen.parts.losses.ce import ce
from smidgen.parts.losses.rmi import regions, rmi, unknown


def test_regions_are_what_lies_around_each_place():
    found = regions(torch.arange(12.0).view(1, 1, 3, 4), 1)
    assert found.shape == (1, 1, 9, 2)
    assert found[0, 0, :, 1].tolist() == [1, 2, 3, 5, 6, 7, 9, 10, 11]
    assert regions(torch.zeros(1, 2, 2, 5, 6), 1).shape == (1, 2, 18, 12)  # two slices, 3 x 3 in the plane


def test_single_places_by_hand():
    # centered: y = ±1/2, p = ±1/4 each twice: Σ_y = 1, Σ_yp = 1/2, Σ_p = 1/4, so M = 1 - 1/4 / (1/4 + ridge)
    truth, probs = tensor([[[[0.0, 0, 1, 1]]]]).double(), tensor([[[[0.25, 0.25, 0.75, 0.75]]]]).double()
    left = 1 - 0.25 / (0.25 + 0.1)
    assert unknown(truth, probs, 0.1).item() == approx(math.log(1 + left / 0.1) / 2)
    # what does not vary with the label tells nothing
    assert unknown(truth, torch.full_like(probs, 0.5), 0.1).item() == approx(math.log(1 + 1 / 0.1) / 2)
    assert unknown(truth, tensor([[[[0.2, 0.8, 0.2, 0.8]]]]).double(), 0.1).item() == approx(math.log(1 + 1 / 0.1) / 2)


def test_an_absent_class_adds_nothing():
    truth, probs = torch.zeros(1, 1, 9, 20).double(), torch.rand(1, 1, 9, 20).double()
    assert unknown(truth, probs, 5e-4).item() == 0


def test_the_whole_loss_by_hand():
    probs = tensor([0.9, 0.8, 0.3, 0.1])  # of class 0
    logits, label = torch.stack([probs, 1 - probs]).log()[None, :, None], tensor([[[0, 0, 1, 1]]])
    found = rmi(settings.Rmi(radius=0, pooling=1, ridge=0.01), logits, label)
    p = probs.double() - probs.double().mean()
    both, own = 0.5 * (p[0] + p[1] - p[2] - p[3]), (p**2).sum()
    left = 1 - both**2 / (own + 0.01)
    regional = 2 * math.log(1 + left.item() / 0.01) / 2  # both classes alike
    assert found.item() == approx(0.5 * ce(settings.Ce(), logits, label).item() + 0.5 * regional, rel=1e-6)


def test_shares():
    noise = torch.Generator().manual_seed(0)
    logits, label = torch.randn(2, 3, 24, 24, generator=noise), torch.randint(3, (2, 24, 24), generator=noise)
    plain, regional, half = (rmi(settings.Rmi(share=share), logits, label) for share in (1.0, 0.0, 0.5))
    assert plain.tolist() == approx(ce(settings.Ce(), logits, label).tolist())
    assert half.tolist() == approx(((plain + regional) / 2).tolist(), rel=1e-6)


def test_a_sharp_right_answer_is_better_than_a_blurred_one():
    label = torch.zeros(1, 48, 48, dtype=torch.long)
    label[:, 16:32, 16:40] = 1
    sharp = torch.nn.functional.one_hot(label, 2).permute(0, 3, 1, 2).float() * 8
    blurred = torch.nn.functional.avg_pool2d(sharp, 9, 1, 4)
    only = settings.Rmi(share=0)
    assert rmi(only, sharp, label).item() < 0.5 * rmi(only, blurred, label).item()
