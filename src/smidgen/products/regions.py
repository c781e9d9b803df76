"""Object regions: what a network that reasons by regions looked at in one image, for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float32

from smidgen.products import pictures
from smidgen.products.heatmaps import Heatmaps
from smidgen.products.looking import MAX_PIXELS

if TYPE_CHECKING:
    from smidgen.products.segmenter import Segmenter  # brings torch


@dataclass(frozen=True)
class Regions:
    """Where the region of each class is, and which regions each place draws from; at the stride of the head.

    Args:
        soft: Weight of each place in the summary of each class, as a share of the largest; in [0, 1].
        relation: Weight of each class's summary at each place; sums to 1 over classes.
        peak: The largest weight of each class before it was scaled; weights sum to 1 over places.
        size: Spatial size of the image.
    """

    soft: Float32[np.ndarray, "k *space"]
    relation: Float32[np.ndarray, "k *space"]
    peak: Float32[np.ndarray, " k"]
    size: tuple[int, ...]

    def heatmaps(self, ids: Sequence[int], background: int | None = None) -> Heatmaps:
        """The regions of some classes as evidence, to be shown where heatmaps are.

        Args:
            ids: Label values, such as those that the prediction holds.
            background: Label value of the background, whose region becomes the background's evidence; None = there is none.
        """
        chosen = [id for id in ids if id != background]
        nothing = None if background is None else self.soft[background]
        return Heatmaps(self.soft[chosen], tuple(chosen), nothing, self.peak[chosen], self.size)

    def _repr_png_(self) -> bytes:
        """The region of each class, bright where it is, for notebooks."""
        return pictures.png(pictures.side_by_side([pictures.of_evidence(one) for one in self.soft]))


def object_regions(segmenter: Segmenter, image: Float[np.ndarray, "c h w"]) -> Regions | None:
    """The regions of one image, seen whole (where it is larger than a network sees at once: shrunk); None where its head has no regions.

    Args:
        segmenter: A trained network.
        image: Values in [0, 1].

    Raises:
        ShapeError: Not an image with the channels of this network.
    """
    import torch
    from torch.nn.functional import interpolate

    size = image.shape[1:]
    factor = min(segmenter.zoom(size), (MAX_PIXELS / (size[0] * size[1])) ** 0.5)
    seen = segmenter.prepare(image)[None]
    with torch.no_grad():
        if factor < 1:
            seen = interpolate(seen, [max(1, round(n * factor)) for n in size], mode="bilinear", align_corners=False, antialias=True)
        found = segmenter.network.regions(seen)
    if found is None:
        return None
    soft, relation = (one[0].float().cpu().numpy() for one in found)
    peak = soft.max(axis=(1, 2))
    return Regions(soft / np.maximum(peak, np.finfo(np.float32).tiny)[:, None, None], relation, peak, size)
