"""Settings of segmentation heads."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

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


class Aspp(Frozen):
    """Atrous spatial pyramid pooling, refined by one fine level: DeepLabV3+ (Chen et al. 2018)."""

    rates: tuple[PositiveInt, ...] = Field(default=(6, 12, 18), min_length=1)
    """Distance between the places that each 3x3 branch sees, for features of stride 16 (Chen et al. 2018); doubled at stride 8 and
    halved at 32, so that a branch sees the same part of the image."""
    width: int = Field(default=256, gt=0)
    """Channels of every branch and of the decoder (Chen et al. 2018)."""
    low: int = Field(default=48, gt=0)
    """Channels that the features of stride 4 are reduced to (Chen et al. 2018, table 1)."""
    separable: bool = False
    """Convolutions of 3x3 in two steps, first each channel for itself, then across channels: about a ninth of the cost
    (Chen et al. 2018, sec. 3.1). false = dense ones, as in DeepLabV3."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of the merged pyramid's values left out in training (DeepLab's code)."""


class Unet(Frozen):
    """Decoder that doubles the resolution level by level and takes in the encoder's map at each."""

    width: int = Field(default=32, gt=0)
    """Channels at the finest level; they double with every coarser one (Ronneberger et al. 2015: 64; nnU-Net: 32)."""
    widest: int = Field(default=512, gt=0)
    """No level has more channels than this (Ronneberger et al. 2015: 512 at the coarsest level of the decoder)."""


class Point(Frozen):
    """Scores of each place from its own features."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of channels left out in training (Luo et al. 2021: none here; their V-Net leaves out half of them itself)."""


class Ocr(Frozen):
    """Object context: each place sees one summary per class of the whole image."""

    width: int = Field(default=512, gt=0)
    """Channels of the features and of their context (Yuan et al. 2020: 512; compact: 256, as in the authors' OCR_B)."""
    key_width: int = Field(default=256, gt=0)
    """Channels in which places and regions are compared and mixed (Yuan et al. 2020: 256; compact: 128)."""
    finest: Literal[4, 8, 16, 32] = 8
    """Stride of the finest level that takes part; coarser ones are enlarged and put beside it (Yuan et al. 2020: 8, on HRNet 4)."""
    coarse_kernel: Literal[1, 3] = 1
    """Side of the first convolution before the coarse scores (HRNet's code: 1; Yuan et al. 2020 on ResNet: 3)."""
    aux_weight: float = Field(default=0.4, ge=0)
    """Weight of the coarse scores' own cross entropy (Yuan et al. 2020); 0 = regions learn from their use alone."""
    sharpness: float = Field(default=1.0, ge=0)
    """Factor on the coarse scores before the softmax over places (authors' code: 1); 0 = every region is the whole image: a control."""
    context: bool = True
    """false leaves out regions and context, not the coarse scores: a control."""
    start: Literal["fresh", "coarse"] = "fresh"
    """fresh = final scores begin at random (Yuan et al. 2020); coarse = they are the coarse scores and a correction that begins at zero,
    so that training begins as that of a plain head."""
    dropout: float = Field(default=0.05, ge=0, lt=1)
    """Share of fused channels left out in training (authors' code: 0.05)."""


class Dual(Frozen):
    """Class scores and level sets from one head."""

    base: str = "unet"
    """The head that makes both; all but its last layer is shared (Luo et al. 2021: a V-Net's decoder)."""
    base_settings: tuple[str, ...] = ()
    """Settings of that head, each as NAME=VALUE; what is not named has its default."""
    steepness: float = Field(default=1500.0, gt=0)
    """Factor between level sets and logits of their masks (Luo et al. 2021, eq. 2: 1500)."""
    answer: Literal["scores", "both", "level_sets"] = "scores"
    """Who answers after training: the class scores (Luo et al. 2021), the level sets, or the mean probability of both."""
