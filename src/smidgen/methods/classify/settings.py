"""Settings of the classifiers of image tags. Defaults are the papers'; presets overlay what was measured."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from smidgen.core.settings import Frozen, Length

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Gap(Frozen):
    """Plain classifier of image tags; the defaults are those of IRN's CAM network (Ahn et al., CVPR 2019, official code)."""

    stride: Literal[0, 8, 16, 32] = 16
    """Pixels per place of the last feature map (IRN: 16); 0 = the encoder's own."""
    dilate: bool = False
    """Whether convolutions behind a stride that was taken away are dilated, as in encoder.dilate (IRN: no)."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """How weights move. IRN: plain gradient descent; adamw wants rates about 500 times smaller."""
    rate: Positive = 0.1
    """Learning rate of the encoder (IRN). With momentum 0.9 a tenth of it: IRN's own training has practically none."""
    head_rate: Positive = 1.0
    """Learning rate of the new last layer (IRN: ten times the encoder's)."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Momentum of sgd (IRN's code hands its 1e-4 of weight decay to the momentum, so about none)."""
    decay: Annotated[float, Field(ge=0)] = 1e-4
    """Weight decay per step, times the learning rate (IRN)."""
    schedule: Literal["poly", "cosine", "constant"] = "poly"
    """How the rates fall to 0 (IRN: poly)."""
    power: Positive = 0.9
    """Exponent of the poly schedule (IRN)."""
    warmup: Share = 0.0
    """Share of the steps in which the rates rise linearly from 0."""
    epochs: Annotated[Positive, Length(least=2, rounds=True, least_steps=30)] = 5.0
    """Passes over the tagged images (IRN)."""
    steps: Annotated[int, Field(ge=0), Length(least=30, overrides=True)] = 0
    """Number of training steps; 0 = as many as `epochs` need."""
    batch: Annotated[int, Field(ge=1)] = 16
    """Images per step (IRN)."""
    long_side: tuple[Annotated[int, Field(ge=8)], Annotated[int, Field(ge=8)]] = (320, 640)
    """Smallest and largest length of an image's longer side in training, in pixels; drawn evenly (IRN)."""
    crop: Annotated[int, Field(ge=8)] = 512
    """Side of the square that is cut out, in pixels; smaller images are placed at random on their mean color (IRN)."""
    flip: bool = True
    """Mirror half of the images left to right (IRN)."""
    color: Share = 0.0
    """Strength of random brightness, contrast and saturation: factors within 1 ± this (IRN: none)."""
    balance: Share = 0.0
    """How far present tags are weighted up in rare classes: weight (absent / present images)^balance, at least 1 (IRN: 0)."""
    balance_limit: Annotated[float, Field(ge=1)] = 20.0
    """Largest such weight."""
    clip: Annotated[float, Field(ge=0)] = 0.0
    """Largest norm of the gradient; 0 = not limited (IRN)."""
    score_size: Annotated[int, Field(ge=0)] = 512
    """Longer side in pixels at which tags are predicted after training, with a mirror image; 0 = as stored."""
