from __future__ import annotations

import torch
import torch.nn.functional as F
from pytest import raises

from smidgen.core.errors import SettingsError
from smidgen.parts.networks.heads import settings
from smidgen.parts.networks.heads.fcn import Fcn


@torch.no_grad()
def test_scores_of_three_strides_are_summed_from_coarse_to_fine():
    head = Fcn(settings.Fcn(blocks=0), (2, 2, 2), (8, 16, 32), 2).eval()
    for layer in (*head.skips, head.deep[-1]):
        layer.weight.copy_(torch.eye(2)[..., None, None])
        layer.bias.zero_()
    fine, middle, coarse = torch.rand(1, 2, 8, 8), torch.rand(1, 2, 4, 4), torch.rand(1, 2, 2, 2)
    wanted = fine + F.interpolate(middle + F.interpolate(coarse, size=(4, 4), mode="bilinear"), size=(8, 8), mode="bilinear")
    assert torch.allclose(head([fine, middle, coarse], (64, 64)).logits, wanted)


@torch.no_grad()
def test_training_starts_from_the_coarse_scores():
    head = Fcn(settings.Fcn(), (4, 4, 4), (8, 16, 32), 3).eval()
    coarse = torch.rand(1, 4, 2, 2)
    one = head([torch.rand(1, 4, 8, 8), torch.rand(1, 4, 4, 4), coarse], (64, 64)).logits
    other = head([torch.rand(1, 4, 8, 8), torch.rand(1, 4, 4, 4), coarse], (64, 64)).logits
    assert torch.equal(one, other)


def test_the_first_levels_are_left_out_and_fewer_will_do():
    assert len(Fcn(settings.Fcn(), (1, 1, 4, 4, 4), (2, 4, 8, 16, 32), 3).skips) == 2
    assert len(Fcn(settings.Fcn(), (1, 1, 4), (2, 4, 8), 3).skips) == 0
    with raises(SettingsError, match=r"stride 8, came \[4, 16\]"):
        Fcn(settings.Fcn(), (4, 4), (4, 16), 3)


def test_depth_and_width_follow_the_settings():
    head = Fcn(settings.Fcn(blocks=2, width=8), (4, 4, 6), (8, 16, 32), 3)
    convolutions = [layer for layer in head.deep if isinstance(layer, torch.nn.Conv2d)]
    assert [(layer.in_channels, layer.out_channels) for layer in convolutions] == [(6, 8), (8, 8), (8, 3)]
