from __future__ import annotations

import torch
from pytest import mark, raises
from torch import nn

from smidgen.core.errors import SettingsError
from smidgen.parts.networks.heads import settings
from smidgen.parts.networks.heads.unet import Unet

SMALL = settings.Unet(width=4, widest=16)


def test_channels_double_up_to_the_widest_and_parameters_are_as_counted():
    head = Unet(SMALL, (3, 5, 7, 9, 11), (2, 4, 8, 16, 32), 2)
    convolutions = [module for module in head.decoder.modules() if isinstance(module, nn.Conv2d)]
    assert [(one.in_channels, one.out_channels) for one in convolutions[::2]] == [(11 + 9, 16), (16 + 7, 16), (16 + 5, 8), (8 + 3, 4)]
    weights = 9 * (20 * 16 + 16 * 16 + 23 * 16 + 16 * 16 + 21 * 8 + 8 * 8 + 11 * 4 + 4 * 4) + 2 * 2 * (16 + 16 + 8 + 4) + 4 * 2 + 2
    assert sum(parameter.numel() for parameter in head.parameters()) == weights


def test_normalization_is_by_groups():
    head = Unet(SMALL, (3, 5), (2, 4), 2)
    assert sum(isinstance(module, nn.GroupNorm) for module in head.modules()) == 2
    assert not any(isinstance(module, nn.BatchNorm2d) for module in head.modules())


@mark.parametrize("strides", [(2, 4, 8, 16, 32), (4, 8, 16, 32), (2, 4, 8, 16), (2, 4, 8)])
def test_it_answers_at_the_finest_level_of_any_pyramid(strides):
    head = Unet(SMALL, [6] * len(strides), strides, 1).train()
    levels = [torch.randn(1, 6, 32 // stride, 96 // stride) for stride in strides]
    logits = head(levels, (32, 96)).logits
    assert logits.shape == (1, 1, 32 // strides[0], 96 // strides[0]) and head.stride == strides[0]
    logits.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in head.parameters())


@torch.no_grad()
def test_every_level_is_read():
    head = Unet(SMALL, (3, 5, 7), (4, 8, 16), 2).eval()
    levels = [torch.rand(1, c, 64 // s, 64 // s) for c, s in zip((3, 5, 7), (4, 8, 16), strict=True)]
    before = head(levels, (64, 64)).logits
    for n in range(3):
        changed = [level + torch.rand_like(level) if i == n else level for i, level in enumerate(levels)]
        assert not torch.equal(head(changed, (64, 64)).logits, before)


def test_a_single_level_is_refused():
    with raises(SettingsError, match=r"several strides, came \[8\]"):
        Unet(SMALL, (4,), (8,), 2)
