"""Settings of losses."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from smidgen.core.settings import Frozen


class Ce(Frozen):
    """Cross entropy, every labeled pixel alike."""

    smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target spread evenly over all classes (Szegedy et al. 2016, sec. 7: 0.1); 0 = none."""


class Balanced(Frozen):
    """Cross entropy of background and of objects, averaged apart."""

    background: int = Field(default=0, ge=0)
    """Label value of the background."""


class Dice(Frozen):
    """Overlap per class."""

    over: Literal["present", "all"] = "present"
    """Classes whose overlaps are averaged: those in the image's label, or all; an absent class then costs its false alarms."""
    squared: bool = False
    """Probabilities and labels are squared in the denominator (Milletari et al. 2016, sec. 3) or not."""
    smooth: float = Field(default=1.0, gt=0)
    """Added to numerator and denominator, in pixels: keeps empty and tiny objects finite and calm."""


Share = Annotated[float, Field(ge=0, le=1)]


class Lal(Frozen):
    """Cross entropy of merged neighbors of one class, the hardest windows first."""

    radius: int = Field(default=1, ge=0, le=16)
    """Chessboard distance from a window's center to its rim, in places of the map; 0 = no neighbors (a small group; not told)."""
    stride: int = Field(default=1, ge=1)
    """Distance between the centers of windows, in places of the map (stride by stride; not told)."""
    width: float = Field(default=1.0, gt=0)
    """Standard deviation of the Gaussian weights over chessboard distance, in places of the map (not told)."""
    merge: Literal["logit", "prob"] = "logit"
    """What is averaged: logits before the softmax, or probabilities."""
    anchor: Literal["center", "all"] = "center"
    """Whose pixels a window merges: its center's class, or each class in it by itself."""
    norm: Literal["weight", "count"] = "weight"
    """What sums are divided by: the weights of the merged pixels, or their number."""
    exponent: float = Field(default=5.0, ge=1)
    """Minkowski's k: 1 = the mean over windows, large = the worst ones decide (5 was best in the paper)."""
    ramp: tuple[Share, Share] = (1 / 3, 1.0)
    """Shares of the training at which the exponent begins to rise from 1, and has risen; 0 0 = at once, as in the paper."""
    pool: Literal["image", "batch"] = "image"
    """Windows that are pooled: each image's, or those of all images of a batch (of one process)."""
    at: Literal["logits", "label"] = "logits"
    """Where it is computed: at the logits' places, with the label of the nearest pixel, or at the label's pixels, with logits upsampled."""
    class_weights: tuple[Annotated[float, Field(ge=0)], ...] = ()
    """Weight of the windows of each class, background included, in the mean of powers; none = all alike."""

    @field_validator("ramp")
    @classmethod
    def _ordered(cls, ramp: tuple[float, float]) -> tuple[float, float]:
        if ramp[0] > ramp[1]:
            raise ValueError(f"expected a ramp that ends after it begins, came {ramp[0]:g} to {ramp[1]:g}: exchange them")
        return ramp


class Lmp(Frozen):
    """Loss max-pooling: the worst weights that a norm allows."""

    norm: float = Field(default=1.3, gt=1)
    """p of the norm that bounds the weights: 1 = only the worst pixels count, large = all alike."""
    support: float = Field(default=0.25, gt=0, le=1)
    """Least share of the labeled pixels that gets weight: bounds the weight of a single one; 1 = plain cross entropy."""


class Rmi(Frozen):
    """Cross entropy, and how much a region of the prediction tells about the same region of the label."""

    radius: int = Field(default=1, ge=0, le=3)
    """Distance from a region's center to its rim, in places of the pooled map (Zhao et al. 2019, sec. 4: regions of 3 x 3)."""
    pooling: int = Field(default=4, ge=1)
    """Label and probabilities are averaged over squares of so many pixels first; less in images that would hold too few of them."""
    ridge: float = Field(default=5e-4, gt=0)
    """Added to the diagonals of the sums of products, so that they can be inverted."""
    share: float = Field(default=0.5, ge=0, le=1)
    """Weight of the cross entropy; the regions have the rest."""
