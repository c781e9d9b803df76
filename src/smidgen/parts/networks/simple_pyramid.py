"""Simple feature pyramid (Li et al., Exploring Plain Vision Transformer Backbones, ECCV 2022): four strides from one map.

Differs: no convolutions after the change of size; the head brings its own.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class SimplePyramid(nn.Module):
    """The last map of a plain transformer at a quarter of its stride, half, the same, and double.

    Args:
        channels: Of the map.
        stride: Of the map in pixels.
    """

    def __init__(self, channels: int, stride: int):
        from timm.layers.norm import LayerNorm2d  # seconds to import

        super().__init__()
        half, quarter = channels // 2, channels // 4
        self.channels = (quarter, half, channels, channels)
        self.strides = (stride // 4, stride // 2, stride, stride * 2)
        self.levels = nn.ModuleList(
            [
                nn.Sequential(
                    nn.ConvTranspose2d(channels, half, 2, stride=2),
                    LayerNorm2d(half),
                    nn.GELU(),
                    nn.ConvTranspose2d(half, quarter, 2, stride=2),
                ),
                nn.ConvTranspose2d(channels, half, 2, stride=2),
                nn.Identity(),
                nn.MaxPool2d(2, ceil_mode=True),
            ]
        )

    def forward(self, last: Float[Tensor, "b c h w"]) -> list[Tensor]:
        """The four levels, finest first."""
        return [level(last) for level in self.levels]
