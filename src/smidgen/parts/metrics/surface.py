"""Overlap and surface distances of one structure: Dice, Jaccard, HD95 and ASSD (as in Taha and Hanbury, BMC Medical Imaging 2015).

The surface of a structure is those of its voxels one of whose neighbors along an axis is not in it; beyond the image nothing is.
From each surface every voxel has a distance to the nearest voxel of the other one. HD95 is the larger of the two directed 95th percentiles,
ASSD the mean over both surfaces pooled.

A structure that only one side has has no distance, and leaving it out would reward the worst mistake there is: it counts as the worst case,
Dice 0 and the diagonal of the image, and `Structure.only` says so. What neither side has has no score at all (None).

Unlabeled voxels (255 in the truth) are removed from both sides, and where a structure runs into them it is not known to end: they make
no surface (unless the structure would have none then).

Differs: the papers of the trade pool both directions before they take the percentile, measure one direction only (ASD), or score what was
missed as 0 mm; each of them flatters (docs/decisions/0036).

Example:
    >>> import numpy as np
    >>> square, shifted = np.zeros((8, 8), bool), np.zeros((8, 8), bool)
    >>> square[2:6, 1:5], shifted[2:6, 2:6] = True, True
    >>> compare(square, shifted)
    Structure(dice=0.75, jaccard=0.6, hd95=1.0, assd=0.5, only=None)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Integer
from scipy import ndimage

from smidgen.core.conventions import IGNORED
from smidgen.core.errors import ShapeError

PERCENTILE = 95
"""Of the distances from one surface to the other; the largest distance would be decided by a single voxel."""


@dataclass(frozen=True)
class Structure:
    """One structure of one image, as it was found.

    Args:
        dice: 2 |both| / (|truth| + |prediction|), in [0, 1].
        jaccard: |both| / |either|, in [0, 1].
        hd95: The larger of the two directed 95th percentiles of the surface distances, in the unit of the spacing.
        assd: Mean surface distance, both surfaces pooled, in the unit of the spacing.
        only: The one side that has it; None = both have it.
    """

    dice: float
    jaccard: float
    hd95: float
    assd: float
    only: Literal["truth", "prediction"] | None = None


def structures(
    label: Integer[np.ndarray, "..."],
    prediction: Integer[np.ndarray, "..."],
    values: Iterable[int],
    spacing: Sequence[float | int] | None = None,
) -> tuple[Structure | None, ...]:
    """How each structure of an image was found.

    Args:
        label: True class per voxel, 255 = unlabeled.
        prediction: Predicted class per voxel, 255 = no answer; same shape.
        values: Label values of the structures.
        spacing: Distance between voxels per axis; None = 1, distances are in voxels.

    Returns:
        One per value; None where neither side has it.

    Raises:
        ShapeError: Shapes differ, or there are not as many spacings as axes.
    """
    if label.shape != prediction.shape:
        raise ShapeError(
            f"expected a prediction of the mask's size {label.shape}, found {prediction.shape}; resize it (nearest) before scoring"
        )
    ignored = label == IGNORED
    unlabeled = ignored if ignored.any() else None
    seen = prediction if unlabeled is None else np.where(ignored, IGNORED, prediction)
    return tuple(compare(label == value, seen == value, spacing, unlabeled) for value in values)


def compare(
    truth: Bool[np.ndarray, "*space"],
    prediction: Bool[np.ndarray, "*space"],
    spacing: Sequence[float | int] | None = None,
    unlabeled: Bool[np.ndarray, "*space"] | None = None,
) -> Structure | None:
    """How one structure was found; None where neither side has it.

    Args:
        truth: Where it is.
        prediction: Where it was said to be; same shape.
        spacing: Distance between voxels per axis; None = 1.
        unlabeled: Voxels of which nothing is known; neither side may hold any.

    Raises:
        ShapeError: There are not as many spacings as axes.
    """
    steps = (1.0,) * truth.ndim if spacing is None else tuple(float(step) for step in spacing)
    if len(steps) != truth.ndim:
        raise ShapeError(f"expected a spacing per axis of an image of shape {truth.shape}, found {steps}; give one number per axis")
    there, said = int(truth.sum()), int(prediction.sum())
    if not there or not said:
        far = diagonal(truth.shape, steps)
        return Structure(0.0, 0.0, far, far, "truth" if there else "prediction") if there or said else None
    both = int((truth & prediction).sum())
    to_said, to_true = surface_distances(truth, prediction, steps, unlabeled)
    return Structure(
        dice=2 * both / (there + said),
        jaccard=both / (there + said - both),
        hd95=float(max(np.percentile(to_said, PERCENTILE), np.percentile(to_true, PERCENTILE))),
        assd=float(np.concatenate([to_said, to_true]).mean()),
    )


def diagonal(shape: Sequence[int], spacing: Sequence[float | int]) -> float:
    """Length of the image's diagonal: the distance of what was missed."""
    return float(np.linalg.norm(np.multiply(shape, spacing)))


def surface_distances(
    one: Bool[np.ndarray, "*space"],
    other: Bool[np.ndarray, "*space"],
    spacing: Sequence[float | int],
    unlabeled: Bool[np.ndarray, "*space"] | None = None,
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " m"]]:
    """From each surface voxel of one structure to the nearest of the other, and the other way round.

    Args:
        one: A structure that is not empty.
        other: Another one, of the same shape.
        spacing: Distance between voxels per axis.
        unlabeled: Voxels of which nothing is known, which make no surface.
    """
    box = _box(one | other)
    near = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in box)  # a voxel more: what lies around decides what is surface
    unknown = None if unlabeled is None else unlabeled[near]
    from_one, from_other = surface(one[near], unknown), surface(other[near], unknown)
    if not (from_one.any() and from_other.any()):
        from_one, from_other = surface(one[near]), surface(other[near])
    to_other, to_one = (ndimage.distance_transform_edt(~target, sampling=tuple(spacing)) for target in (from_other, from_one))
    return np.asarray(to_other)[from_one], np.asarray(to_one)[from_other]


def surface(mask: Bool[np.ndarray, "*space"], unlabeled: Bool[np.ndarray, "*space"] | None = None) -> Bool[np.ndarray, "*space"]:
    """Voxels of a structure one of whose neighbors along an axis is not in it; unlabeled neighbors tell nothing.

    Args:
        mask: The structure; nothing of it lies beyond the array.
        unlabeled: Voxels of which nothing is known.
    """
    filled = mask if unlabeled is None else mask | unlabeled
    return mask & ~np.asarray(ndimage.binary_erosion(filled, border_value=0), bool)


def _box(mask: Bool[np.ndarray, "*space"]) -> tuple[slice, ...]:
    """The smallest box that holds all of a mask that is not empty."""
    found = []
    for axis in range(mask.ndim):
        rows = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        found.append(slice(int(rows[0]), int(rows[-1]) + 1))
    return tuple(found)
