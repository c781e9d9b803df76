"""Normalization by groups of channels (Wu & He, ECCV 2018): each image for itself, so that batches of one train as well as large ones."""

from __future__ import annotations

import math

from torch import nn

GROUPS = 32


def group_norm(channels: int) -> nn.GroupNorm:
    """Of 32 groups (the paper's number), or as many as divide the channels.

    Each has at least two channels: one alone, at a single place, says nothing.
    """
    groups = math.gcd(GROUPS, channels)
    return nn.GroupNorm(groups if groups < channels else max(1, groups // 2), channels)


def normalized(convolution: nn.Conv2d | nn.Conv3d) -> list[nn.Module]:
    """The convolution, normalized by groups and cut off at zero."""
    return [convolution, group_norm(convolution.out_channels), nn.ReLU(inplace=True)]
