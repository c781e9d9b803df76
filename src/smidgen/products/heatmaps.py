"""Heatmaps: how much each class that may be present speaks for itself at each place of one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from smidgen.products import pictures


@dataclass(frozen=True)
class Heatmaps:
    """Evidence of one image, one map per class that may be present. Maps may be coarser than the image (`size`).

    Args:
        maps: Evidence in [0, 1].
        ids: Label value of each map.
        background: Evidence for "none of them", in the same scale; each localizer and refiner fills it. None only where
            the classes know no background.
        peak: Largest raw value of each map before it was scaled.
        size: Spatial size of the image.
        ignore: Places that shall not become labels, at the maps' size.
    """

    maps: Float[np.ndarray, "k *space"]
    ids: tuple[int, ...]
    background: Float[np.ndarray, "*space"] | None
    peak: Float[np.ndarray, " k"]
    size: tuple[int, ...]
    ignore: Bool[np.ndarray, "*space"] | None = None

    def candidates(self, background: int | None) -> tuple[Float[np.ndarray, "k1 *space"], tuple[int, ...]]:
        """Evidence of all that may win a place, the background first, and the label value of each.

        Args:
            background: Label value of the background; None where there is none.
        """
        if self.background is None or background is None:
            return self.maps, self.ids
        return np.concatenate([self.background[None], self.maps]), (background, *self.ids)

    def _repr_png_(self) -> bytes | None:
        """The evidence of each class, bright where it is strong, for notebooks; nothing where no class speaks."""
        maps = [pictures.of_evidence(one) for one in self.maps]
        return pictures.png(pictures.side_by_side(maps)) if maps else None
