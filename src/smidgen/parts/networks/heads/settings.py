"""Settings of segmentation heads."""

from __future__ import annotations

from pydantic import Field

from smidgen.core.settings import Frozen


class Fcn(Frozen):
    """Scores of three strides, summed."""

    width: int = Field(default=128, gt=0)
    """Channels of the convolutions before the coarsest scores (paper: 4096, on VGG)."""
    blocks: int = Field(default=2, ge=0)
    """Number of those convolutions (paper: 2, fc6 and fc7)."""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """Share of channels left out in training after each of them (paper: 0.5)."""


class Fpn(Frozen):
    """Top-down pyramid with lateral connections."""

    pyramid_channels: int = Field(default=256, gt=0)
    """Channels of every level of the pyramid (Kirillov et al. 2019, sec. 3)."""
    channels: int = Field(default=128, gt=0, multiple_of=32)
    """Channels of the merged map (Kirillov et al. 2019, sec. 3); a multiple of the 32 groups of its normalization."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Share of merged channels left out in training (segmentation-models-pytorch)."""
