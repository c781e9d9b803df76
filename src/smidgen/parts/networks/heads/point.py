"""Point head (Ronneberger, Fischer & Brox, MICCAI 2015): a 1x1 convolution, each place scored from its own features.

It is all that a U-shaped trunk needs, which has looked around already; in two and three dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from smidgen.parts.networks.heads import settings as heads
from smidgen.parts.networks.layers import CONVOLUTIONS, DROPOUTS
from smidgen.parts.networks.prediction import Prediction


class Point(nn.Module):
    """Scores on the finest level.

    Args:
        settings: Dropout.
        channels: Of each level of the encoder's pyramid.
        strides: Of each level, ascending.
        classes: Number of logits.
        dims: Spatial axes, 2 or 3.
    """

    stride: int
    """Of the finest level."""

    def __init__(self, settings: heads.Point, channels: Sequence[int], strides: Sequence[int], classes: int, dims: int = 2):
        super().__init__()
        self.stride = strides[0]
        self.dropout = DROPOUTS[dims](settings.dropout)
        self.scores = CONVOLUTIONS[dims](channels[0], classes, 1)

    def forward(self, features: Sequence[Tensor], size: Sequence[int]) -> Prediction:
        """Logits at the stride of the finest level.

        Args:
            features: The pyramid.
            size: Of the image.
        """
        return Prediction(self.scores(self.dropout(features[0])))
