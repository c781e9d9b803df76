"""Settings of the methods that make labels from heatmaps."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from smidgen.core.settings import Frozen


class Argmax(Frozen):
    """The strongest evidence wins (IRN, Ahn et al., CVPR 2019)."""

    margin: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Pixels whose strongest evidence exceeds the second by less than this are ignored, in units of the evidence (IRN: none)."""
