"""Where heatmaps are sure of a class or of the background (IRN, Ahn et al., CVPR 2019): labels that may teach.

Reading order: by_thresholds, by_crf. Nothing is learned here, and nothing needs torch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, UInt8

from smidgen.core.conventions import IGNORED
from smidgen.parts.imaging.crf import DenseCrf, Kernel, energies_of_label

KERNELS = (Kernel(3.0, 3.0), Kernel(10.0, 50.0, 5 / 255))
"""What ties pixels when labels that may teach are made (IRN)."""
CERTAINTY, ITERATIONS = 0.7, 10
"""How sure the CRF is at first of what exceeds a threshold, and its rounds (IRN)."""


def by_thresholds(
    maps: Float[np.ndarray, "k h w"], ids: Sequence[int], above: float, below: float, background: int | None
) -> UInt8[np.ndarray, "h w"]:
    """Label of the places that heatmaps are sure of, 255 elsewhere.

    Args:
        maps: Evidence in [0, 1].
        ids: Label value of each map; at least one.
        above: The strongest class is sure where it exceeds this.
        below: Background is sure where no class exceeds this.
        background: Label value of the background; None where there is none.
    """
    strongest = maps.max(axis=0)
    label = np.where(strongest > above, np.array(ids, np.uint8)[maps.argmax(axis=0)], np.uint8(IGNORED))
    if background is not None:
        label[strongest <= below] = background
    return label


def by_crf(
    image: Float32[np.ndarray, "c h w"],
    maps: Float[np.ndarray, "k h w"],
    ids: Sequence[int],
    above: float,
    below: float,
    background: int | None,
) -> UInt8[np.ndarray, "h w"]:
    """The same, with a CRF that tidies what each threshold cuts out.

    A place is sure of the class that is left at the high threshold, and of the background where nothing is left at either.
    Source: IRN's code for the labels it learns from.

    Args:
        image: In [0, 1], of the maps' size.
        maps: Evidence in [0, 1].
        ids: Label value of each map; at least one.
        above: The high threshold.
        below: The low one.
        background: Label value of the background; None where there is none: then only what exceeds the high threshold is sure of anything.
    """
    crf = DenseCrf.of(image, KERNELS)

    def found(threshold: float) -> np.ndarray:
        """Which map wins; 0 = none."""
        cut = np.where(maps.max(axis=0) > threshold, maps.argmax(axis=0) + 1, 0).astype(np.uint8)
        return crf.marginals(energies_of_label(cut, len(maps) + 1, CERTAINTY), ITERATIONS).argmax(axis=0)

    surely = found(above)
    label = np.array((IGNORED, *ids), np.uint8)[surely]
    if background is not None:
        label[(surely == 0) & (found(below) == 0)] = background
    return label
