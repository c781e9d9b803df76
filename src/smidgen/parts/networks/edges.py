"""Edge network (IRN, Ahn et al., CVPR 2019): where the features of a frozen encoder change from one thing to another.

Differs: any encoder; images of any size (the original cuts them to 512 x 512); an encoder's level at half the image's size takes part.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from smidgen.parts.networks.encoders import Encoder

STRIDE = 4
"""Pixels per place of the edge map."""


class EdgeNetwork(nn.Module):
    """A small head on every level of the encoder, all merged to one logit per place. The encoder learns nothing.

    Args:
        encoder: Gives the pyramid of features; stays in evaluation mode.
        width: Channels of each head (IRN).
        groups: Of the heads' group normalization (IRN).
    """

    def __init__(self, encoder: Encoder, width: int = 32, groups: int = 4):
        super().__init__()
        self.encoder = encoder.requires_grad_(False)
        self.levels = nn.ModuleList(
            [nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.GroupNorm(groups, width)) for channels in encoder.channels]
        )
        self.merge = nn.Conv2d(width * len(self.levels), 1, 1)

    def train(self, mode: bool = True) -> EdgeNetwork:
        """Training mode for the heads only."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b i j"]:
        """Logit of an edge at each place: ceil(size / 4) places.

        The image is continued at its lower and right border to a multiple of the largest stride, by its last row and column.

        Args:
            image: Values in [0, 1].
        """
        (height, width), multiple = image.shape[-2:], max(STRIDE, *self.encoder.strides)
        padded = F.pad(image, (0, -width % multiple, 0, -height % multiple), mode="replicate")
        size = (padded.shape[-2] // STRIDE, padded.shape[-1] // STRIDE)
        with torch.no_grad():
            features = [_not_finer(feature, size) for feature in self.encoder(padded)]
        merged = [_enlarged(head(feature), size).relu() for head, feature in zip(self.levels, features, strict=True)]
        logits = self.merge(torch.cat(merged, dim=1))[:, 0]
        return logits[:, : -(-height // STRIDE), : -(-width // STRIDE)]


def _not_finer(feature: Tensor, size: tuple[int, int]) -> Tensor:
    return F.adaptive_avg_pool2d(feature, size) if feature.shape[-2] > size[0] else feature


def _enlarged(feature: Tensor, size: tuple[int, int]) -> Tensor:
    return feature if feature.shape[-2:] == size else F.interpolate(feature, size=size, mode="bilinear", align_corners=False)
