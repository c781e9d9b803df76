"""Settings of the localizers. Defaults are the papers'; presets overlay what was measured."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from smidgen.core.settings import Frozen, Length

Share = Annotated[float, Field(ge=0, le=1)]
Scale = Annotated[float, Field(gt=0, le=8)]


class Cam(Frozen):
    """Class activation maps (Zhou et al., CVPR 2016); scales as in IRN and AdvCAM."""

    scales: Annotated[tuple[Scale, ...], Field(min_length=1)] = (0.5, 1.0, 1.5, 2.0)
    """Sizes at which an image is looked at, relative to `size` (AdvCAM's code); each with its mirror image."""
    size: Annotated[int, Field(ge=0)] = 0
    """Longer side of the image at scale 1 in pixels; 0 = as stored (AdvCAM). Small pictures gain from enlarging."""
    threshold: Share = 0.25
    """Evidence of the background, as a share of each class's maximum (AdvCAM tries 0.15 to 0.34 and takes the best)."""
    batch: Annotated[int, Field(ge=1)] = 8
    """Images of equal size looked at together. It changes the speed, not the maps."""


class Advcam(Frozen):
    """AdvCAM (Lee et al., CVPR 2021): class activation maps summed while the image climbs on the class's logit."""

    steps: Annotated[int, Field(ge=1), Length(least=3)] = 27
    """Maps that are summed, T (AdvCAM). 1 = plain CAM. At scale 0.5 fewer, see `scale_weights`."""
    step_size: Annotated[float, Field(gt=0)] = 0.018
    """Largest change of a value in one step, ξ, in `step_unit` (AdvCAM's code: 0.08 in units of the images' deviation, about 0.226)."""
    step_unit: Literal["value", "half-range"] = "value"
    """What `step_size` counts in: values at the point of the climb (pixels: [0, 1]), or half the range of values that the climb
    starts from."""
    point: str = "pixels"
    """Where the climb happens: "pixels" (AdvCAM), or a feature map of the classifier (cheaper; use half-range there)."""
    restraint: Annotated[float, Field(ge=0)] = 7.0
    """Weight of keeping places that are already on as they are, λ (AdvCAM). In the paper's unit for any encoder: docs/methods/advcam.md."""
    restraint_over: Literal["sum", "mean"] = "sum"
    """Whether the restraint adds up over places (AdvCAM: stronger in larger maps), or averages (then 7 means what it does in the paper
    at 500 x 375 pixels and stride 16, at any size and stride)."""
    on_above: Share = 0.5
    """A place is on where the map exceeds this share of its maximum, τ (AdvCAM)."""
    competitors: Literal["all", "absent"] = "all"
    """Which classes are pushed down: all others (AdvCAM's code), or only those that the image does not hold."""
    clip: Literal["current", "original"] = "current"
    """Values are kept in the range of the current image, which can only shrink (AdvCAM's code), or in that of the first one."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the last direction that is kept (AdvCAM: 0)."""
    fold: bool = False
    """Fold batch statistics into the convolutions (no paper): the same function in about a seventh less time, but a climb multiplies what
    rounding changes."""
    views: Literal["even", "weighted"] = "even"
    """How an image's map and its mirror image's are averaged: evenly (the paper), or by their number of places with a positive logit
    (AdvCAM's code, where the map is a Grad-CAM)."""
    scales: Annotated[tuple[Scale, ...], Field(min_length=1)] = (0.5, 1.0, 1.5, 2.0)
    """Sizes at which an image is climbed, relative to `size`, in this order (AdvCAM's code)."""
    scale_weights: Literal["compat", "balanced"] = "compat"
    """Scale 0.5 takes half the steps. compat: it then has half the weight (a slip of AdvCAM's code); balanced: as much as the others."""
    size: Annotated[int, Field(ge=0)] = 0
    """Longer side of the image at scale 1 in pixels; 0 = as stored (AdvCAM)."""
    threshold: Share = 0.25
    """Evidence of the background, as a share of each class's maximum (AdvCAM tries 0.15 to 0.34 and takes the best)."""
    batch: Annotated[int, Field(ge=1)] = 4
    """Climbs (image and class) at once, at scale 1; at other scales as many as take the same memory. It changes the speed, not the maps."""
