"""Settings of losses."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

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
