"""Settings of the methods that check what was found, without masks. Torch-free."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from smidgen.core.settings import Frozen


class Deletion(Frozen):
    """Deletion test (after Petsiuk et al., BMVC 2018): hide what was found and ask the classifier again. The numbers are ours."""

    images: Annotated[int, Field(ge=0)] = 100
    """Tagged training images that are tried, drawn with the seed; 0 = none, the test is off."""
    draws: Annotated[int, Field(ge=1)] = 3
    """Other places where a region of the same size and shape is hidden, per class and image."""
    hide: Literal["surroundings", "mean"] = "surroundings"
    """What takes the region's place: colors that flow in from around it (no outline is left; as infilling in Chang et al., ICLR 2019), or
    the mean color of the rest (as Petsiuk's constant)."""
    size: Annotated[int, Field(ge=0)] = 384
    """Longer side at which the classifier looks, in pixels; 0 = as stored."""
    batch: Annotated[int, Field(ge=1)] = 8
    """Versions of an image that are looked at together. It changes the speed, not the result."""
