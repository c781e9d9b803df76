"""Settings of the refiners of heatmaps. Defaults are the papers'; presets overlay what was measured."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from smidgen.core.settings import Frozen, Length

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Crf(Frozen):
    """Dense CRF (Krähenbühl & Koltun, NIPS 2011); values of DeepLab (Chen et al., TPAMI 2018), as AdvCAM's masks are tidied with."""

    sharpness: Positive = 1.0
    """Exponent of the evidence before its shares are taken as probabilities; larger = heatmaps are trusted more (no paper: 1)."""
    iterations: Annotated[int, Field(ge=0)] = 10
    """Rounds of the mean field (DeepLab)."""
    near_weight: Annotated[float, Field(ge=0)] = 3.0
    """What it costs that near pixels differ in class (DeepLab)."""
    near_width: Positive = 1.0
    """How far near is: standard deviation in pixels (DeepLab)."""
    color_weight: Annotated[float, Field(ge=0)] = 4.0
    """What it costs that pixels of similar color differ in class (DeepLab; IRN 10)."""
    color_width: Positive = 67.0
    """How far from each other such pixels may be: standard deviation in pixels (DeepLab; IRN 50)."""
    color_spread: Positive = 3.0
    """How similar a similar color is: standard deviation in 8-bit steps, 1/255 of the range (DeepLab; IRN 5), over three channels."""
    size: Annotated[int, Field(ge=0)] = 0
    """Longer side in pixels of the image at which the CRF works; 0 = as stored (DeepLab). The widths are pixels of this image."""
    max_pixels: Annotated[int, Field(ge=64)] = 2_000_000
    """Larger images are worked on at this many pixels, which takes up to 1.6 GB (no paper: a bound on memory)."""


class Walk(Frozen):
    """Learned edges and a random walk between them (IRN, Ahn et al., CVPR 2019); values of AdvCAM's code (Lee et al., CVPR 2021)."""

    foreground_above: Share = 0.35
    """Places whose strongest class exceeds this teach that class (AdvCAM; IRN 0.30)."""
    background_below: Share = 0.15
    """Places where no class exceeds this teach background (AdvCAM; IRN 0.05). What lies between teaches nothing."""
    seed_crf: bool = True
    """A dense CRF tidies what exceeds each of the two thresholds before it teaches (IRN); no = thresholds alone."""
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
    epochs: Annotated[Positive, Length(least=0.5, rounds=True, least_steps=10)] = 3.0
    """Passes over the images in which there is something (IRN)."""
    steps: Annotated[int, Field(ge=0), Length(least=10, overrides=True)] = 0
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
    """Evidence of the background, as a share of the strongest evidence after the walk (IRN)."""
    strongest: Literal["image", "class"] = "image"
    """What evidence is divided by after the walk: the image's maximum over all classes (IRN), or each class's own (finds weak ones too)."""

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
