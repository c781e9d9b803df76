"""Layers by the number of spatial axes, 2 or 3, so that one network serves images, slices and volumes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from smidgen.parts.networks.group_norm import group_norm

CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
BATCH_NORMS = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
DROPOUTS = {2: nn.Dropout2d, 3: nn.Dropout3d}
LAYOUTS = {2: torch.channels_last, 3: torch.channels_last_3d}
"""Places outermost in memory: several times as fast on CPUs, where a convolution in 3D reads all channels of a place at once."""

Norm = Literal["batch", "instance", "group"]
"""Over which values a layer normalizes: those of a channel in the batch, of a channel in the image, of a group of channels in it."""


def norm(kind: Norm, channels: int, dims: int) -> nn.Module:
    """A normalization with a scale and a shift for each channel.

    Of images it is the one by groups with groups of one channel: the same numbers, and in the layout used here ten times as fast.

    Args:
        kind: Over which values.
        channels: Of what is normalized.
        dims: Spatial axes.
    """
    if kind == "batch":
        return BATCH_NORMS[dims](channels)
    return PerImage(channels, channels) if kind == "instance" else group_norm(channels)


class PerImage(nn.GroupNorm):
    """Normalization by groups that bears a group of one value, as the deepest level of a small image is one: it becomes 0."""

    def forward(self, input: Tensor) -> Tensor:
        """The same as in torch, which refuses such groups."""
        return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)
