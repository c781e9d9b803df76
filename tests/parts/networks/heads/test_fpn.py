from __future__ import annotations

import torch
from pytest import raises
from torch import nn

from smidgen.core.errors import SettingsError
from smidgen.parts.networks.heads import settings
from smidgen.parts.networks.heads.fpn import Fpn

SMALL = settings.Fpn(pyramid_channels=32, channels=32)


def test_it_needs_its_four_strides():
    with raises(SettingsError, match=r"came \[2, 4, 8, 16\]: set --encoder.stride 32"):
        Fpn(SMALL, (1, 1, 1, 1), (2, 4, 8, 16), 2)


def test_normalization_is_by_groups():
    head = Fpn(SMALL, (1, 2, 3, 4, 5), (2, 4, 8, 16, 32), 2)
    assert any(isinstance(module, nn.GroupNorm) for module in head.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in head.modules())


@torch.no_grad()
def test_the_level_of_stride_2_is_not_read():
    head = Fpn(SMALL, (1, 2, 3, 4, 5), (2, 4, 8, 16, 32), 2).eval()
    levels = [torch.rand(1, c, 64 // s, 64 // s) for c, s in zip((1, 2, 3, 4, 5), (2, 4, 8, 16, 32), strict=True)]
    before = head(levels, (64, 64)).logits
    assert torch.equal(head([levels[0] + 1, *levels[1:]], (64, 64)).logits, before)
    for n in range(1, 5):
        changed = [level + 1 if i == n else level for i, level in enumerate(levels)]
        assert not torch.equal(head(changed, (64, 64)).logits, before)
