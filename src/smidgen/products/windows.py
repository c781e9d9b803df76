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


def sliding(
    predict: Callable[[Float[np.ndarray, "c *window"]], Float[np.ndarray, "k *window"]],
    image: Any,
    window: int | tuple[int, ...],
    overlap: float = 0.5,
) -> Iterator[Float32[np.ndarray, "k *strip"]]:
    """Predict window by window and yield finished strips, first to last along the first spatial axis.

    Args:
        predict: From one window of exactly the given size to its class probabilities.
        image: (c, *space): an array, or anything with a shape that is cut by slices, read window by window.
        window: Side or sides, pixels. Where the image is smaller it is mirrored up to the window, and the result is cut.
        overlap: Share of a window that the next one covers again, in [0, 1).

    Yields:
        Blended probabilities; joined along axis 1 they have the image's size.
    """
    space = tuple(image.shape[1:])
    sides = _sides(window, space, overlap)
    starts = [_starts(n, side, overlap) for n, side in zip(space, sides, strict=True)]
    weight = gaussian(sides)
    mean: np.ndarray | None = None
    total = np.zeros((sides[0], *(max(n, side) for n, side in zip(space[1:], sides[1:], strict=True))), np.float32)
    for at, upto in zip(starts[0], [*starts[0][1:], max(space[0], sides[0])], strict=True):
        for rest in np.ndindex(*map(len, starts[1:])):
            corner = (at, *(axis[i] for axis, i in zip(starts[1:], rest, strict=True)))
            probs = _checked(predict(_cut(image, corner, sides)), sides)
            if mean is None:
                mean = np.zeros((len(probs), *total.shape), np.float32)
            place = (slice(None), *(slice(c, c + side) for c, side in zip(corner[1:], sides[1:], strict=True)))
            total[place] += weight
            # a running mean and not sum / weight: windows that agree give exactly what they agree on
            mean[(slice(None), *place)] += weight / total[place] * (probs - mean[(slice(None), *place)])
        assert mean is not None
        done = upto - at
        yield mean[(slice(None), slice(min(done, space[0] - at)), *(slice(n) for n in space[1:]))].copy()
        for plane in (*mean, total):
            _shift(plane, done)


def whole(
    predict: Callable[[Float[np.ndarray, "c *window"]], Float[np.ndarray, "k *window"]],
    image: Any,
    window: int | tuple[int, ...],
    overlap: float = 0.5,
) -> Float32[np.ndarray, "k *space"]:
    """The strips of `sliding` in one array, for images whose probabilities fit in memory."""
    return np.concatenate(list(sliding(predict, image, window, overlap)), axis=1)


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
    """Where windows begin along one axis: evenly spaced, the last one moved inwards so that it ends with the image."""
    if n <= side:
        return [0]
    step = max(1, int(side * (1 - overlap)))
    return [min(i * step, n - side) for i in range(math.ceil((n - side) / step) + 1)]


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
