"""Scores: what a segmenter says about one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from smidgen.products import pictures


@dataclass(frozen=True)
class Scores:
    """The prediction for one image at its own size.

    Args:
        label: Most probable class per pixel.
        confidence: Its probability in [0, 1].
        probs: All class probabilities, kept on request only (they are large).
    """

    label: UInt8[np.ndarray, "*space"]
    confidence: Float[np.ndarray, "*space"]
    probs: Float[np.ndarray, "k *space"] | None = None

    def _repr_png_(self) -> bytes:
        """The classes in the palette's colors and the confidence, bright where the model is sure, for notebooks."""
        sure = pictures.of_image(np.asarray(self.confidence, np.float32)[None])
        return pictures.png(pictures.side_by_side([pictures.of_label(self.label), sure]))
