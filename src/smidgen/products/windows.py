"""One sliding window for images and volumes of any size, over any function from a window to class probabilities.

Windows overlap and are blended with a Gaussian that trusts their centers most. What no later window touches is handed on at once, so memory
is bounded by a strip - one window deep along the first axis - and not by the image. numpy only: torch and onnxruntime predictors both fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from smidgen.core.errors import SettingsError, ShapeError

SIGMA = 1 / 8
"""Standard deviation of the blending Gaussian, in window sides."""
FLOOR = 1e-3
"""Least weight of a pixel of a window; corners of a volume's window would else get none at all."""
SLACK = 0.25
"""By this share of their distance two windows may lie farther apart than asked."""
ROUNDING = 1e-6
"""10 * (1 - 0.8) is a little less than 2 in binary fractions, and means 2."""


def sliding(
    predict: Callable[[np.ndarray], np.ndarray],
    image: Any,
    window: int | tuple[int, ...],
    overlap: float = 0.5,
    together: int = 0,
    rows: slice | None = None,
) -> Iterator[Float32[np.ndarray, "k *strip"]]:
    """Predict window by window and yield finished strips, first to last along the first spatial axis.

    Args:
        predict: From one window of exactly the given size (c, *window) to its class probabilities (k, *window); from a stack of them
            to a stack where `together` says so.
        image: (c, *space): an array, or anything with a shape that is cut by slices, read window by window.
        window: Side or sides, pixels. Where the image is smaller it is mirrored up to the window, and the result is cut.
        overlap: Share of a window that the next one covers again, in [0, 1).
        together: Most windows in a stack; 0 = they come one by one, and are no stack.
        rows: Part of the second spatial axis, to which the result is cut; the rest takes no memory, and the numbers are the same.

    Yields:
        Blended probabilities; joined along axis 1 they have the image's size.
    """
    space = tuple(image.shape[1:])
    sides = _sides(window, space, overlap)
    starts = [_starts(n, side, overlap) for n, side in zip(space, sides, strict=True)]
    room = [max(n, side) for n, side in zip(space, sides, strict=True)]
    low = 0
    if rows is not None:
        low, high, _ = rows.indices(space[1])
        starts[1] = [start for start in starts[1] if start < high and start + sides[1] > low]
        room[1] = high - low
    blend = _Blend(sides, (sides[0], *room[1:]), low)
    for at, upto in zip(starts[0], [*starts[0][1:], max(space[0], sides[0])], strict=True):
        corners = [(at, *(axis[i] for axis, i in zip(starts[1:], rest, strict=True))) for rest in np.ndindex(*map(len, starts[1:]))]
        for first in range(0, len(corners), together or 1):
            some = corners[first : first + (together or 1)]
            cuts = [_cut(image, corner, sides) for corner in some]
            found = predict(np.stack(cuts)) if together else [predict(cuts[0])]
            for corner, probs in zip(some, found, strict=True):
                blend.add(corner, _checked(probs, sides))
        done = upto - at
        yield blend.taken(min(done, space[0] - at), space[1:])
        blend.move(done)


class _Blend:
    """A strip of blended probabilities, one window deep.

    A running mean and not a sum that is divided at the end: windows that agree give exactly what they agree on.

    Args:
        sides: Of a window.
        room: Of the strip.
        low: Where it begins along the second axis of the image.
    """

    def __init__(self, sides: tuple[int, ...], room: tuple[int, ...], low: int):
        self.weight, self.low = gaussian(sides), low
        self.total = np.zeros(room, np.float32)
        self.mean: np.ndarray | None = None

    def add(self, corner: tuple[int, ...], probs: Float[np.ndarray, "k *window"]) -> None:
        """Take in a window."""
        if self.mean is None:
            self.mean = np.zeros((len(probs), *self.total.shape), np.float32)
            self._change = np.empty(probs.shape, np.float32)
        shifted = [0, *(c - (self.low if n == 0 else 0) for n, c in enumerate(corner[1:]))]
        place, own = [], []
        for start, side, room in zip(shifted, self.weight.shape, self.total.shape, strict=True):
            place.append(slice(max(start, 0), min(start + side, room)))
            own.append(slice(place[-1].start - start, place[-1].stop - start))
        here, of_window = tuple(place), tuple(own)
        weight, total, mean = self.weight[of_window], self.total[here], self.mean[(slice(None), *here)]
        change = self._change[(slice(None), *of_window)]
        total += weight
        np.subtract(probs[(slice(None), *of_window)], mean, out=change)
        change *= weight / total
        mean += change

    def taken(self, depth: int, space: tuple[int, ...]) -> Float32[np.ndarray, "k *strip"]:
        """What is finished at the beginning of the strip."""
        assert self.mean is not None
        return self.mean[(slice(None), slice(depth), *(slice(n) for n in space))].copy()

    def move(self, by: int) -> None:
        """Move forward along the first axis; in place, for strips are large."""
        assert self.mean is not None
        for plane in (*self.mean, self.total):
            _shift(plane, by)


def whole(
    predict: Callable[[np.ndarray], np.ndarray],
    image: Any,
    window: int | tuple[int, ...],
    overlap: float = 0.5,
    together: int = 0,
) -> Float32[np.ndarray, "k *space"]:
    """The strips of `sliding` in one array, for images whose probabilities fit in memory."""
    return np.concatenate(list(sliding(predict, image, window, overlap, together)), axis=1)


def gaussian(sides: tuple[int, ...]) -> Float32[np.ndarray, "*window"]:
    """Weights of the pixels of a window: near 1 in the center, never below `FLOOR`."""
    weight = np.ones((), np.float64)
    for side in sides:
        distance = np.arange(side) - (side - 1) / 2
        weight = weight[..., None] * np.exp(-0.5 * (distance / (SIGMA * side)) ** 2)
    return np.maximum(weight, FLOOR).astype(np.float32)


def _sides(window: int | tuple[int, ...], space: tuple[int, ...], overlap: float) -> tuple[int, ...]:
    sides = (window,) * len(space) if isinstance(window, int) else tuple(window)
    if len(sides) != len(space):
        raise ShapeError(f"window {window}: the image has {len(space)} spatial axes: give one side, or one per axis")
    if min(sides) < 1 or not 0 <= overlap < 1:
        raise SettingsError(
            f"window = {window}, overlap = {overlap}: expected sides of at least 1 pixel, an overlap in [0, 1): change these"
        )
    if min(space) < 1:
        raise ShapeError(f"an image of size {space} holds nothing: remove it")
    return sides


def _starts(n: int, side: int, overlap: float) -> list[int]:
    """Where windows begin along one axis: evenly spaced, the first and the last one at the borders.

    As many as the overlap asks for, or one less where their distance grows by no more than a quarter: an axis that is a little longer
    than two windows would else be seen by a third that sees nothing new. In 3D that saves a third of the work and more.
    """
    if n <= side:
        return [0]
    step = max(1, int(side * (1 - overlap) + ROUNDING))
    gaps = max(math.ceil((n - side) / step - SLACK), math.ceil((n - side) / side))
    return [round(i * (n - side) / gaps) for i in range(gaps + 1)]


def _cut(image: Any, corner: tuple[int, ...], sides: tuple[int, ...]) -> np.ndarray:
    part = np.asarray(image[(slice(None), *(slice(c, c + side) for c, side in zip(corner, sides, strict=True)))])
    missing = [(0, side - n) for n, side in zip(part.shape[1:], sides, strict=True)]
    return np.pad(part, [(0, 0), *missing], mode="symmetric") if any(after for _, after in missing) else part


def _checked(probs: np.ndarray, sides: tuple[int, ...]) -> np.ndarray:
    if probs.shape[1:] != sides:
        raise ShapeError(f"the predictor was given a window of size {sides} and returned {probs.shape[1:]}: it has to keep the size")
    return probs


def _shift(plane: np.ndarray, by: int) -> None:
    """Move a buffer forward along its first axis, with zeros where new places appear; in place, for strips are large."""
    keep = max(0, len(plane) - by)
    if keep:
        plane[:keep] = plane[by:]
    plane[keep:] = 0
