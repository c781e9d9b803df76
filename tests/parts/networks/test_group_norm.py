from __future__ import annotations

import torch
from pytest import mark

from smidgen.parts.networks.group_norm import group_norm


@mark.parametrize(("channels", "groups"), [(256, 32), (128, 32), (48, 16), (32, 16), (8, 4), (5, 1), (2, 1)])
def test_groups_divide_the_channels_and_none_is_of_one(channels, groups):
    layer = group_norm(channels)
    assert layer.num_groups == groups
    assert layer.train()(torch.randn(1, channels, 1, 1)).isfinite().all()
