"""LabelMap: a class per pixel, with how sure it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from smidgen.products import pictures


@dataclass(frozen=True)
class LabelMap:
    """Class indices of one image at its own size.

    Args:
        label: Class index per pixel, 255 = ignored.
        confidence: In [0, 1], how sure each label is; 0 where ignored. None: all are certain.
    """

    label: UInt8[np.ndarray, "*space"]
    confidence: Float[np.ndarray, "*space"] | None = None

    def _repr_png_(self) -> bytes:
        """The classes in the palette's colors, for notebooks."""
        return pictures.png(pictures.small(pictures.of_label(self.label)))
