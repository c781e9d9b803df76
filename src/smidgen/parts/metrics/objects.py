"""How many objects are found, by their size: a mean over pixels is decided by the large ones.

An object is a connected region of one class in the truth (touching pixels of one class are one object, diagonals included). Sizes are
COCO's (Lin et al., ECCV 2014: 32² and 96² pixels), as shares of its usual image of 640 x 480 pixels, so that they mean the same in any
image: small is below 0.33 % of the image, large from 3 % on. An object counts as found where at least half of its pixels have its class.

Example:
    >>> import numpy as np
    >>> truth = np.zeros((100, 100), np.uint8)
    >>> truth[0:5, 0:5], truth[50:90, 50:90] = 1, 1
    >>> found_by_size(truth, np.where(truth * (np.indices((100, 100))[1] > 9), 1, 0), background=0).tolist()
    [[1, 0, 25, 0], [0, 0, 0, 0], [1, 1, 1600, 1600]]
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64, Integer
from scipy import ndimage

from smidgen.core.conventions import IGNORED

SIZES = ("small", "medium", "large")
LIMITS = (32**2 / (640 * 480), 96**2 / (640 * 480))
"""Shares of the image at which an object begins to be medium, and large."""
FOUND = 0.5
"""Share of an object's pixels from which on it counts as found."""


def found_by_size(
    label: Integer[np.ndarray, "..."], prediction: Integer[np.ndarray, "..."], background: int | None
) -> Int64[np.ndarray, "3 4"]:
    """Objects, found objects, their pixels and found pixels of one image; a row per size.

    Args:
        label: True class per pixel, 255 = unlabeled.
        prediction: Predicted class per pixel; same shape.
        background: Label value that is no object; None = there is none.
    """
    counts = np.zeros((len(SIZES), 4), np.int64)
    touching = np.ones((3,) * label.ndim, bool)
    for value in np.unique(label):
        if value in (IGNORED, background):
            continue
        regions: np.ndarray
        regions, n = ndimage.label(label == value, touching)  # pyright: ignore[reportGeneralTypeIssues] (it returns a pair here)
        inside = regions > 0
        pixels = np.bincount(regions[inside], minlength=n + 1)[1:]
        hits = np.bincount(regions[inside & (prediction == value)], minlength=n + 1)[1:]
        size = np.searchsorted(LIMITS, pixels / label.size, side="right")
        np.add.at(counts, size, np.stack([np.ones_like(pixels), hits >= FOUND * pixels, pixels, hits], axis=1))
    return counts
