"""How a trained network looks at a volume: window by window in 3D, or slice by slice in 2D, block by block out of core. Torch-free.

A network of volumes sees windows of the size it was trained with, never whole volumes: its statistics and its borders would be others.
What is finished is handed on, so that neither volume nor probabilities have to fit in memory: strips along z, and where planes are large
several bands of rows one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float32

from smidgen.core.errors import SettingsError
from smidgen.products.looks import MAX_PIXELS, Looks, check_channels
from smidgen.products.resizing import enlarged_probs, resized
from smidgen.products.scores import Scores
from smidgen.products.windows import sliding, whole

TOGETHER = 4
"""Windows in a forward pass. One alone takes the slow way through torch's convolutions in 3D."""
SLICES = 16
"""Slices in a forward pass at most."""
MOST = 400_000_000
"""Bytes that a strip takes unless told otherwise."""
LEAST_ROWS = 64
"""Of a band: narrower ones would see most windows twice."""
USUAL_SIDE = 64
"""Of a window in 3D where the trained size is not known."""


def blocks(
    model: Looks,
    volume: Any,
    tags: Sequence[int] | None = None,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    *,
    window: int = 0,
    overlap: float = 0.5,
    max_pixels: int = MAX_PIXELS,
    keep_probs: bool = False,
    most: int = MOST,
) -> Iterator[tuple[slice, slice, Scores]]:
    """Class and confidence of a volume of any size, as blocks of whole columns: which slices, which rows, and what is there.

    Args:
        model: Looks.
        volume: z-scored: an array, or anything with a shape (c, d, h, w) that is cut by slices.
        tags: As in `looking.Predicts.predict`, like all that follow.
        scales: Factors on slices; volumes are looked at at one scale.
        flip: Average with the mirrored view (left and right).
        window: Side of the window; 0 = the trained size in 3D, and as large as it takes in 2D.
        overlap: Share of a window that the next one covers again.
        max_pixels: Pixels of slices that the network sees at once.
        keep_probs: Return the probabilities of all classes too.
        most: Bytes that the blended windows may take; 0 = any number, and every block has all rows.

    Raises:
        ShapeError: Not a volume with the channels of this network.
        SettingsError: Several scales for a network of volumes.
    """
    check_channels(volume, model.channels, model.dims, model.zscored)
    look = _windows if model.dims == 3 else _slices
    way: dict[str, Any] = {"window": window, "overlap": overlap, "max_pixels": max_pixels, "most": most}
    for planes, rows, probs in look(model, volume, scales, flip, **way):
        yield planes, rows, model.scored(probs, tags, keep_probs)


def predicted(model: Looks, volume: Any, tags: Sequence[int] | None, scales: Sequence[float], flip: bool, **way: Any) -> Scores:
    """The blocks of a volume whose label fits in memory, in one.

    Args:
        model: Looks.
        volume: As in `blocks`, like all that follow.
        tags: Classes that can be there.
        scales: Factors on slices.
        flip: Average with the mirrored view.
        way: The rest of what `blocks` takes.
    """
    size = volume.shape[1:]
    label, confidence = np.empty(size, np.uint8), np.empty(size, np.float32)
    probs: np.ndarray | None = None
    for planes, rows, part in blocks(model, volume, tags, scales, flip, **way):
        label[planes, rows], confidence[planes, rows] = part.label, part.confidence
        if part.probs is not None:
            probs = np.empty((len(part.probs), *size), part.probs.dtype) if probs is None else probs
            probs[:, planes, rows] = part.probs
    return Scores(label, confidence, probs)


Parts = Iterator[tuple[slice, slice, Float32[np.ndarray, "k s r w"]]]


def _windows(
    model: Looks, volume: Any, scales: Sequence[float], flip: bool, *, window: int, overlap: float, max_pixels: int, most: int
) -> Parts:
    if tuple(scales) != (1.0,):
        raise SettingsError(f"scales {tuple(scales)}: a network of volumes looks at one scale: use scales 1.0")
    sides = sides_of(model.patch, window)
    height = volume.shape[2]
    count = bands(len(model.classes), volume.shape, sides, most)
    cuts = [*(n * height // count // LEAST_ROWS * LEAST_ROWS for n in range(count)), height]
    for low, high in pairwise(cuts):
        rows = slice(low, high)
        seen = volume if isinstance(volume, np.ndarray) else Slab(volume, slice(max(0, low - sides[1]), high + sides[1]))
        done = 0
        for probs in sliding(
            lambda stack: model.look_together(stack, scales, flip, 1.0), seen, sides, overlap, TOGETHER, None if count == 1 else rows
        ):
            yield slice(done, done + probs.shape[1]), rows, probs
            done += probs.shape[1]


def sides_of(patch: int | tuple[int, ...], window: int = 0) -> tuple[int, ...]:
    """Sides of the windows that a network of volumes sees.

    Args:
        patch: Sides of the training views; 0 = unknown.
        window: One side that is wished instead; 0 = none.
    """
    patch = (window,) * 3 if window else patch or USUAL_SIDE
    return (patch,) * 3 if isinstance(patch, int) else patch


def bands(classes: int, shape: Sequence[int], sides: Sequence[int], most: int) -> int:
    """In how many bands of rows a volume is predicted, so that the strip of each takes at most so many bytes.

    Args:
        classes: Number of classes.
        shape: (c, d, h, w).
        sides: Of a window.
        most: Bytes; 0 = any number.
    """
    channels, _, height, width = shape
    # Blended and handed-on probabilities, weights, and the slab of the volume, 4 bytes each.
    row = 4 * min(sides[0], shape[1]) * width * (2 * classes + 1 + channels)
    return min(math.ceil(height * row / most), max(1, height // LEAST_ROWS)) if most else 1


class Slab:
    """A volume that is cut by slices, read plane by plane: what windows side by side need again is kept.

    Args:
        volume: Shape (c, d, h, w).
        rows: The part of the third axis that is read.
    """

    ndim = 4

    def __init__(self, volume: Any, rows: slice):
        self.shape = tuple(volume.shape)
        self._volume, self._rows = volume, slice(*rows.indices(self.shape[2])[:2])
        self._planes: np.ndarray | None = None
        self._first = 0

    def __getitem__(self, place: tuple[slice, ...]) -> Float32[np.ndarray, "c s r w"]:
        _, planes, rows, columns = place
        start, stop, _ = planes.indices(self.shape[1])
        held = self._held(start, stop)
        top, bottom, _ = rows.indices(self.shape[2])
        return held[:, :, top - self._rows.start : bottom - self._rows.start, columns]

    def _held(self, start: int, stop: int) -> np.ndarray:
        """The planes from `start` to `stop`; those that are known are not read again."""
        known = self._planes
        if known is not None and self._first <= start and stop <= self._first + known.shape[1]:
            return known[:, start - self._first : stop - self._first]
        again = known is not None and self._first <= start < self._first + known.shape[1]
        kept = known[:, start - self._first :] if known is not None and again else None
        first = start if kept is None else start + kept.shape[1]
        new = np.asarray(self._volume[:, first:stop, self._rows, :])
        self._planes = new if kept is None else np.concatenate([kept, new], axis=1)
        self._first = start
        return self._planes


def _slices(
    model: Looks, volume: Any, scales: Sequence[float], flip: bool, *, window: int, overlap: float, max_pixels: int, most: int
) -> Parts:
    """A network of images sees slices: several together, or each window by window where they are large."""
    _, depth, height, width = volume.shape
    size, zoom = (height, width), model.zoom((height, width))
    side = model.window(size, window, max_pixels, max(scales))
    area = height * width * (zoom * max(1.0, *scales)) ** 2
    count = 1 if side else min(SLICES, max(1, int(max_pixels / area)))
    for start in range(0, depth, count):
        planes = np.asarray(volume[:, start : start + count, :, :]).swapaxes(0, 1)
        if side:
            probs = _large(model, planes[0], scales, flip, side, overlap)[:, None]
        else:
            probs = model.look_together(planes, scales, flip, zoom).swapaxes(0, 1)
        yield slice(start, start + len(planes)), slice(0, height), probs


def _large(model: Looks, image: np.ndarray, scales: Sequence[float], flip: bool, side: int, overlap: float) -> np.ndarray:
    """A slice that is too large to be seen whole, as `looking.strips` does it with an image."""
    size = image.shape[1:]
    zoom = model.zoom(size)
    seen = image if zoom == 1 else resized(image, [max(1, round(n * zoom)) for n in size])
    probs = whole(lambda part: model.look(part, scales, flip, 1.0), seen, side, overlap)
    return probs if zoom == 1 else np.concatenate(list(enlarged_probs(probs, size)), axis=1)
