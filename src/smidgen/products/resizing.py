"""Resizing without torch, with torch's numbers: antialiased shrinking, and bilinear sampling; whole or row by row for large images.

Conventions are those of `torch.nn.functional.interpolate` with `align_corners=False`; the tests compare with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Shaped
from PIL import Image

VALUES = 8_000_000
"""So many values of a large array are in memory at once."""


def bilinear(image: Float[np.ndarray, "c h w"], size: Sequence[int], rows: slice | None = None) -> Float32[np.ndarray, "c H W"]:
    """Bilinear interpolation, without antialiasing where it shrinks.

    Args:
        image: What is resized.
        size: Height and width of the whole result.
        rows: Which rows of it to return; None = all.
    """
    start, stop, _ = (rows or slice(None)).indices(size[0])
    y, y2, part_y = _taps(image.shape[1], size[0], start, stop)
    x, x2, part_x = _taps(image.shape[2], size[1], 0, size[1])
    part_y = part_y[:, None]
    down = image[:, y] * (1 - part_y) + image[:, y2] * part_y
    return down[:, :, x] * (1 - part_x) + down[:, :, x2] * part_x


def _taps(n: int, wanted: int, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two places that each new one lies between, and how far it is from the first."""
    at = np.maximum((np.arange(start, stop, dtype=np.float32) + np.float32(0.5)) * np.float32(n / wanted) - np.float32(0.5), 0)
    first = np.minimum(at.astype(np.intp), n - 1)
    return first, np.minimum(first + 1, n - 1), at - first.astype(np.float32)


def nearest(array: Shaped[np.ndarray, "*c h w"], size: Sequence[int]) -> Shaped[np.ndarray, "*c y x"]:
    """At every place of another size (height and width) the nearest pixel."""
    rows, columns = (((np.arange(new) + 0.5) * old / new).astype(int) for old, new in zip(array.shape[-2:], size, strict=True))
    return array[..., rows[:, None], columns]


def resized(image: Any, size: Sequence[int]) -> Float32[np.ndarray, "c H W"]:
    """The image in another size, antialiased where it shrinks.

    Args:
        image: An array, or anything of three axes that is cut by slices; read by bands of rows where it is large.
        size: New height and width.
    """
    height, width = image.shape[1:]
    scale = max(1.0, height / size[0])
    step = max(1, int(VALUES / (image.shape[0] * width) / scale))
    bands = []
    for start in range(0, size[0], step):
        stop = min(start + step, size[0])
        first = max(0, math.floor(start * height / size[0] - scale) - 1)
        last = min(height, math.ceil(stop * height / size[0] + scale) + 1)
        box = (0.0, start * height / size[0] - first, float(width), stop * height / size[0] - first)
        planes = np.ascontiguousarray(image[:, first:last, :], dtype=np.float32)
        bands.append(np.stack([_by_pillow(plane, (size[1], stop - start), box) for plane in planes]))
    return np.concatenate(bands, axis=1)


def _by_pillow(plane: np.ndarray, size: tuple[int, int], box: tuple[float, float, float, float]) -> np.ndarray:
    # Pillow looks beyond the box as far as there are pixels, so that bands join without a seam.
    return np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR, box=box))


def sampled(image: Any, step: int) -> Float32[np.ndarray, "c H W"]:
    """Every so-manieth pixel, for pictures of large images.

    Args:
        image: An array, or anything that is cut by slices; read by bands of rows.
        step: Distance between the pixels.
    """
    rows = max(1, VALUES // (image.shape[0] * image.shape[2] * step)) * step
    bands = [np.asarray(image[:, y : y + rows, :])[:, ::step, ::step] for y in range(0, image.shape[1], rows)]
    return np.concatenate(bands, axis=1)


def enlarged_probs(probs: Float[np.ndarray, "k h w"], size: Sequence[int]) -> Iterator[Float32[np.ndarray, "k H W"]]:
    """Class probabilities at another size, as bands of rows: softmax of the interpolated logits.

    Logits are the logarithms of the probabilities but for a constant per pixel, which softmax does not see.
    """
    logits = np.log(np.maximum(probs, np.finfo(np.float32).tiny))
    step = max(1, VALUES // (len(probs) * size[1]))
    for start in range(0, size[0], step):
        yield softmax(bilinear(logits, size, slice(start, min(start + step, size[0]))))


def softmax(logits: Float[np.ndarray, "k h w"]) -> Float32[np.ndarray, "k h w"]:
    """Probabilities along the first axis."""
    odds = np.exp(logits - logits.max(axis=0, keepdims=True))
    return odds / odds.sum(axis=0, keepdims=True)
