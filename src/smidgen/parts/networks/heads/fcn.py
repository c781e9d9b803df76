"""FCN head (Long, Shelhamer & Darrell, CVPR 2015): class scores of strides 8, 16 and 32, summed from coarse to fine.

Differs: scores are upsampled by fixed bilinear interpolation (the paper learns a deconvolution that starts there); the two convolutions
before the coarsest scores are 3x3, narrow and normalized by groups; encoders whose deepest stride is 16 or 8 have fewer scores to sum.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from smidgen.core.errors import SettingsError
from smidgen.parts.networks.group_norm import normalized
from smidgen.parts.networks.heads import settings as heads
from smidgen.parts.networks.prediction import Prediction

STRIDE = 8


class Fcn(nn.Module):
    """The head of FCN-8s.

    Args:
        settings: Width and depth.
        channels: Of each level of the pyramid.
        strides: Of each level, ascending; 8 must be among them.
        classes: Number of logits.

    Raises:
        SettingsError: The pyramid has no level of stride 8.
    """

    stride = STRIDE

    def __init__(self, settings: heads.Fcn, channels: Sequence[int], strides: Sequence[int], classes: int):
        super().__init__()
        if STRIDE not in strides:
            raise SettingsError(f"head 'fcn': expected an encoder with features of stride 8, came {list(strides)}: choose another encoder")
        self.levels = [level for level, stride in enumerate(strides) if stride >= STRIDE]
        *skips, deepest = (channels[level] for level in self.levels)
        layers: list[nn.Module] = []
        for width in [deepest, *[settings.width] * settings.blocks][: settings.blocks]:
            layers += normalized(nn.Conv2d(width, settings.width, 3, padding=1, bias=False))
            layers.append(nn.Dropout2d(settings.dropout))
        self.deep = nn.Sequential(*layers, nn.Conv2d(settings.width if settings.blocks else deepest, classes, 1))
        self.skips = nn.ModuleList(nn.Conv2d(width, classes, 1) for width in skips)
        for skip in self.skips:  # the paper: skips start at zero, so training starts from the coarse scores
            nn.init.zeros_(skip.weight)  # pyright: ignore[reportArgumentType]
            nn.init.zeros_(skip.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, features: Sequence[Tensor], size: Sequence[int]) -> Prediction:
        """Logits at stride 8.

        Args:
            features: The pyramid.
            size: Of the image.
        """
        *fine, deepest = (features[level] for level in self.levels)
        scores = self.deep(deepest)
        for feature, skip in zip(reversed(fine), reversed(self.skips), strict=True):
            scores = skip(feature) + F.interpolate(scores, size=feature.shape[-2:], mode="bilinear", align_corners=False)
        return Prediction(scores)
