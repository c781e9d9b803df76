"""Settings of the refiners of heatmaps. Defaults are the papers'; presets overlay what was measured."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from smidgen.core.settings import Frozen

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Walk(Frozen):
    """Learned edges and a random walk between them (IRN, Ahn et al., CVPR 2019); values of AdvCAM's code (Lee et al., CVPR 2021)."""

    foreground_above: Share = 0.35
    """Places whose strongest class exceeds this teach that class (AdvCAM; IRN 0.30)."""
    background_below: Share = 0.15
    """Places where no class exceeds this teach background (AdvCAM; IRN 0.05). What lies between teaches nothing."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """How the edge network's weights move (IRN: plain gradient descent)."""
    rate: Positive = 0.1
    """Learning rate (IRN)."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Momentum of sgd (IRN's code hands its 1e-4 of weight decay to the momentum, so about none)."""
    decay: Annotated[float, Field(ge=0)] = 1e-4
    """Weight decay per step, times the learning rate (IRN)."""
    power: Positive = 0.9
    """Exponent with which the rate falls to 0: rate (1 - progress)^power (IRN)."""
    epochs: Positive = 3.0
    """Passes over the images in which there is something (IRN)."""
    steps: Annotated[int, Field(ge=0)] = 0
    """Number of training steps; 0 = as many as `epochs` need."""
    batch: Annotated[int, Field(ge=1)] = 32
    """Images per training step (IRN)."""
    size: Annotated[int, Field(ge=0)] = 0
    """Longer side of an image in pixels, in training at scale 1 and in the walk, whose maps have a quarter of it; 0 = as stored (IRN)."""
    scale: tuple[Positive, Positive] = (0.5, 1.5)
    """Smallest and largest random factor on an image in training (IRN)."""
    crop: Annotated[int, Field(ge=8)] = 512
    """Side of the square that is cut out in training, in pixels; smaller images are placed at random (IRN)."""
    flip: bool = True
    """Mirror half of the training images left to right (IRN)."""
    color: Share = 0.0
    """Strength of random brightness, contrast and saturation in training: factors within 1 ± this (IRN: none)."""
    radius: Annotated[int, Field(ge=2)] = 10
    """Pairs of places closer than this teach, in places of 4 pixels (IRN)."""
    walk_radius: Annotated[int, Field(ge=2)] = 5
    """How far one step of the walk leads, in places of 4 pixels (IRN)."""
    walk_steps: Annotated[int, Field(ge=0)] = 256
    """Steps of the walk (IRN: 2^8). 0 = none: only the power and the edges act."""
    sharpness: Positive = 10.0
    """Exponent of the affinities, β (IRN); larger = edges hold back more."""
    heat_power: Positive = 1.5
    """Exponent of the heatmaps before the walk (AdvCAM; IRN 1)."""
    background: Share = 0.25
    """Evidence of the background, as a share of the image's strongest evidence after the walk (IRN)."""

    @model_validator(mode="after")
    def _in_order(self) -> Walk:
        if self.background_below > self.foreground_above:
            raise ValueError("background_below has to be at most foreground_above")
        if self.scale[0] > self.scale[1]:
            raise ValueError("scale is (smallest, largest)")
        return self


class Retrain(Frozen):
    """A segmentation network in between (recursive training, Khoreva et al., CVPR 2017)."""

    rounds: Annotated[int, Field(ge=1)] = 1
    """How often a network is trained on what the one before saw (Khoreva: until nothing changes, at most 10)."""
    margin: Share = 0.0
    """Pixels whose two strongest classes are closer than this are not learned from (in evidence, whose maximum is 1; Khoreva: none)."""
    scales: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1.0,)
    """Factors on the image when it is looked at; probabilities are averaged."""
    flip: bool = True
    """Average with the prediction of the mirrored image."""
