"""How many objects are found, by their size: a mean over pixels is decided by the large ones.

An object is an instance where the data have instances, else a connected region of one class in the truth: touching pixels of one class
are one object, diagonals included, also where they touch across unlabeled ones, for the bands that annotators leave along outlines cut
off splinters that nobody would call an object. Sizes are COCO's (Lin et al., ECCV 2014: 32² and 96² pixels), as shares of its usual image
of 640 x 480 pixels, so that they mean the same in any image: small is below 0.33 % of the image, large from 3 % on. An object counts as
found where at least half of its pixels have its class.

Example:
    >>> import numpy as np
    >>> truth = np.zeros((100, 100), np.uint8)
    >>> truth[0:5, 0:5], truth[50:90, 50:90] = 1, 1
    >>> found_by_size(truth, np.where(truth * (np.indices((100, 100))[1] > 9), 1, 0), background=0).tolist()
    [[1, 0, 25, 0], [0, 0, 0, 0], [1, 1, 1600, 1600]]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64, Integer
from scipy import ndimage

from smidgen.core.conventions import IGNORED
from smidgen.parts.metrics.confusion import plain, ratio

SIZES = ("small", "medium", "large")
LIMITS = (32**2 / (640 * 480), 96**2 / (640 * 480))
"""Shares of the image at which an object begins to be medium, and large."""
FOUND = 0.5
"""Share of an object's pixels from which on it counts as found."""
IGNORED_INSTANCE = 65535
"""Instance of pixels that nobody told apart."""


def found_by_size(
    label: Integer[np.ndarray, "..."],
    prediction: Integer[np.ndarray, "..."],
    background: int | None,
    instances: Integer[np.ndarray, "..."] | None = None,
) -> Int64[np.ndarray, "3 4"]:
    """Objects, found objects, their pixels and found pixels of one image; a row per size.

    Args:
        label: True class per pixel, 255 = unlabeled.
        prediction: Predicted class per pixel; same shape.
        background: Label value that is no object; None = there is none.
        instances: Instance per pixel, 0 = none, 65535 = ignored; None = not known. Pixels of none of them are told apart as regions.
    """
    counts = np.zeros((len(SIZES), 4), np.int64)
    for value in np.unique(label):
        if value in (IGNORED, background):
            continue
        own = label == value
        objects = _regions(own, label) if instances is None else _instances(own, label, instances)
        pixels, hits = (np.bincount(objects[where]) for where in (own, own & (prediction == value)))
        hits = np.pad(hits, (0, len(pixels) - len(hits)))
        pixels, hits = pixels[pixels > 0], hits[pixels > 0]
        size = np.searchsorted(LIMITS, pixels / label.size, side="right")
        np.add.at(counts, size, np.stack([np.ones_like(pixels), hits >= FOUND * pixels, pixels, hits], axis=1))
    return counts


def _regions(own: Bool[np.ndarray, "*space"], label: Integer[np.ndarray, "*space"]) -> Int64[np.ndarray, "*space"]:
    """Number of the region of each pixel of one class."""
    regions: np.ndarray
    regions, _ = ndimage.label(own | (label == IGNORED), np.ones((3,) * own.ndim, bool))  # pyright: ignore[reportGeneralTypeIssues] (it returns a pair here)
    return regions.astype(np.int64)


def _instances(
    own: Bool[np.ndarray, "*space"], label: Integer[np.ndarray, "*space"], instances: Integer[np.ndarray, "*space"]
) -> Int64[np.ndarray, "*space"]:
    """Number of the instance of each pixel of one class; further numbers for regions of no instance."""
    known = (instances > 0) & (instances != IGNORED_INSTANCE)
    loose = own & ~known
    if not loose.any():
        return instances.astype(np.int64)
    return np.where(known, instances, IGNORED_INSTANCE + _regions(loose, label)).astype(np.int64)


def record(counts: Int64[np.ndarray, "3 4"]) -> Mapping[str, Any]:
    """Found objects and found pixels by size, as plain values for a JSON file; shares in [0, 1], None where there are no such objects.

    Args:
        counts: As `found_by_size` gives them, summed over images.
    """
    low, high = LIMITS
    bounds = dict(zip(SIZES, ((0.0, low), (low, high), (high, 1.0)), strict=True))
    return {
        "what": f"instances, else connected regions of one class; found: at least {100 * FOUND:.0f} % of the pixels have the class",
        **{
            size: {
                "share_of_image": list(bounds[size]),
                "objects": int(objects),
                "found": int(found),
                "share_found": plain(float(ratio(found, objects))),
                "pixels": int(pixels),
                "share_of_pixels_found": plain(float(ratio(hits, pixels))),
            }
            for size, (objects, found, pixels, hits) in zip(SIZES, counts, strict=True)
        },
    }
