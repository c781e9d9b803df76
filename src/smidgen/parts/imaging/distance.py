"""Signed distances (Luo et al., AAAI 2021, eq. 1): how far each place is from the rim of an object, below zero inside.

Reading order: level_sets, signed_distance, then the two distances it is made of. Nothing here needs torch; it runs in loader workers,
after augmentation. Made for one crop, the values speak of that crop only: mix labels first, and measure then.
Differs: an object that is missing gives 1 and one that fills everything gives -1 (the authors' code: 0, and a division by zero).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float16, Float32, UInt8
from scipy.ndimage import binary_dilation, distance_transform_edt

from smidgen.core.conventions import IGNORED

Mode = Literal["paper", "exact"]


def level_sets(
    label: UInt8[np.ndarray, "*space"],
    classes: int,
    spacing: Sequence[float] | None = None,
    mode: Mode = "paper",
    reach: float = 0.0,
) -> Float16[np.ndarray, "k *space"]:
    """One signed distance for each class but the first, which is what lies outside of all others.

    Args:
        label: Class indices, 255 = unknown.
        classes: How many there are, the first included.
        spacing: Distance between neighbors along each axis; only proportions count, see `proportions`. None: all alike.
        mode: See `signed_distance`.
        reach: See `signed_distance`; in sides of a voxel, the shortest one.
    """
    known, apart = label != IGNORED, proportions(spacing, label.ndim)
    return np.stack([signed_distance(label == value, apart, mode, reach, known) for value in range(1, classes)]).astype(np.float16)


def proportions(spacing: Sequence[float] | None, dims: int) -> tuple[float, ...]:
    """Spacing in units of its shortest axis: voxels of a millimeter and of two have the same level sets."""
    if spacing is None:
        return (1.0,) * dims
    return tuple(side / min(spacing) for side in spacing)


def signed_distance(
    mask: Bool[np.ndarray, "*space"],
    spacing: Sequence[float] | None = None,
    mode: Mode = "paper",
    reach: float = 0.0,
    known: Bool[np.ndarray, "*space"] | None = None,
) -> Float32[np.ndarray, "*space"]:
    """Distance to the rim, -1 deepest inside and 1 farthest outside.

    Args:
        mask: The object.
        spacing: Distance between neighbors along each axis; None: 1.
        mode: paper: 0 on the object's inner rim (voxels with a face neighbor outside), distances to the nearest voxel of the other side
            elsewhere; the sign does not tell the rim from its surroundings. exact: distances less half a voxel, so the sign is the mask.
        reach: Distances are divided by this and cut off at 1; 0: they are divided by the largest of the array, inside and outside apart.
        known: Where the mask says anything; what is unknown belongs to no side. None: everywhere.

    Returns:
        Values in [-1, 1]: 1 where there is no object, -1 where there is nothing else.
    """
    other = ~mask if known is None else ~mask & known
    mask = mask if known is None else mask & known
    if not mask.any():
        return np.ones(mask.shape, np.float32)
    if not other.any():
        return np.full(mask.shape, -1, np.float32)
    apart = (1.0,) * mask.ndim if spacing is None else tuple(spacing)
    whole = known is None or bool(known.all())
    inside = _distance(mask, other, apart, reach, whole)
    outside = _distance(other, mask, apart, reach, whole)
    if mode == "exact":
        half = min(apart) / 2
        found = _scaled(outside - half, other, reach) - _scaled(inside - half, mask, reach)
    else:
        found = _scaled(outside, other, reach) - _scaled(inside, mask, reach)
        found[inner_rim(mask, other)] = 0
    if known is not None and not whole:
        found[~known] = 0
    return found


def inner_rim(mask: Bool[np.ndarray, "*space"], other: Bool[np.ndarray, "*space"] | None = None) -> Bool[np.ndarray, "*space"]:
    """Voxels of an object with a neighbor across a face that is not of it; the border of the array is no rim.

    Args:
        mask: The object.
        other: What is known not to be of it; None: all the rest.
    """
    return mask & binary_dilation(~mask if other is None else other)


def _distance(
    within: Bool[np.ndarray, "*space"], to: Bool[np.ndarray, "*space"], spacing: tuple[float, ...], reach: float, whole: bool
) -> Float32[np.ndarray, "*space"]:
    """Distance from each voxel of `within` to the nearest one of `to`; 0 elsewhere. Beyond `reach` (if above 0) only "at least reach".

    The nearest voxel of the other side lies in the box around this one, or just beyond; so only that is looked at. Far from the object
    nothing is measured where `reach` says that it is far enough.
    """
    found = np.zeros(within.shape, np.float32)
    if whole:
        box = _box(within, (1,) * within.ndim)
        if reach > 0:
            near = _box(to, tuple(math.ceil(reach / side) + 1 for side in spacing))
            found[within] = reach + max(spacing)
            box = tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(box, near, strict=True))
    else:
        box = (slice(None),) * within.ndim
    measured = np.asarray(distance_transform_edt(~to[box], sampling=spacing))
    found[box] = np.where(within[box], measured, 0)
    return found


def _box(mask: Bool[np.ndarray, "*space"], margin: Sequence[int]) -> tuple[slice, ...]:
    """The smallest box that holds a mask, grown by a margin, within the array."""
    sides = []
    for axis, more in enumerate(margin):
        there = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        sides.append(slice(max(0, int(there[0]) - more), min(mask.shape[axis], int(there[-1]) + 1 + more)))
    return tuple(sides)


def _scaled(distance: Float32[np.ndarray, "*space"], where: Bool[np.ndarray, "*space"], reach: float) -> Float32[np.ndarray, "*space"]:
    """Distances in [0, 1] where they count, else 0."""
    most = reach if reach > 0 else float(distance[where].max())
    return np.where(where, np.minimum(distance / np.float32(most), 1), 0).astype(np.float32)
