"""Polygons as COCO understands them: pixel for pixel what its public API makes of them.

Corners are rounded to fifths of a pixel, and the outline is walked in steps of a fifth. Where it passes the middle of a column, the column
changes between outside and inside from there downwards. Only these places are computed here, so a corner far outside the image costs
nothing.

Source: Lin et al., Microsoft COCO, ECCV 2014; the rule is that of its public API, which the tests compare with.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

SCALE = 5
"""Steps of the outline per pixel."""
MIDDLE = 2
"""Columns begin at a multiple of SCALE; the outline passes their middle between the steps 2 and 3."""
FARTHEST = 2.0**40
"""Corners farther away than so many pixels are no corners of anything; numbers stay exact below."""
AT_ONCE = 1 << 22
"""Places computed at once, which bounds the memory."""


def fill(corners: Float[np.ndarray, "n 2"], size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """The pixels of one polygon; what lies outside of the image is cut off.

    Args:
        corners: x and y of each corner in pixels, at least three, all of them finite.
        size: Height and width of the image.
    """
    height, width = size
    points = np.trunc(SCALE * np.clip(np.asarray(corners, np.float64), -FARTHEST, FARTHEST) + 0.5)
    flips = np.zeros(height * width + 1, np.int64)
    edges = np.concatenate([points, np.roll(points, -1, axis=0)], axis=1)
    block = max(1, AT_ONCE // max(1, width))
    for start in range(0, len(edges), block):
        columns, rows = _crossings(edges[start : start + block], height, width)
        flips += np.bincount(columns * height + rows, minlength=len(flips))
    return (np.cumsum(flips[:-1]) % 2 == 1).reshape(width, height).T


def _crossings(edges: Float64[np.ndarray, "n 4"], height: int, width: int) -> tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " m"]]:
    """Column and first row below, for each place where an edge passes the middle of a column."""
    x0, y0, x1, y1 = edges.T
    left, right = np.minimum(x0, x1), np.maximum(x0, x1)
    first = np.clip(np.ceil((left - MIDDLE) / SCALE), 0, width).astype(np.int64)
    last = np.clip(np.floor((right - MIDDLE - 1) / SCALE), -1, width - 1).astype(np.int64)
    counts = np.maximum(last - first + 1, 0)
    edge = np.repeat(np.arange(len(edges)), counts)
    columns = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    steps = SCALE * columns + MIDDLE
    flat = (np.abs(x1 - x0) >= np.abs(y1 - y0))[edge]
    heights = np.where(flat, _of_flat(edges[edge], steps), _of_steep(edges[edge], steps))
    rows = np.ceil(np.clip((heights + 0.5) / SCALE - 0.5, 0, height)).astype(np.int64)
    return columns, rows


def _of_flat(edges: Float64[np.ndarray, "m 4"], steps: Int64[np.ndarray, " m"]) -> Float64[np.ndarray, " m"]:
    """Upper end of the step across the middle, for edges that are wider than high: y is rounded at each x."""
    turned = edges[:, 0] > edges[:, 2]
    x0, y0, x1, y1 = np.where(turned[:, None], edges[:, [2, 3, 0, 1]], edges).T
    slope = (y1 - y0) / np.maximum(x1 - x0, 1)
    before, behind = (np.trunc(y0 + slope * (step - x0) + 0.5) for step in (steps, steps + 1))
    return np.minimum(before, behind)


def _of_steep(edges: Float64[np.ndarray, "m 4"], steps: Int64[np.ndarray, " m"]) -> Float64[np.ndarray, " m"]:
    """The same for edges that are higher than wide: x is rounded at each y, so the y is sought at which it gets across."""
    turned = edges[:, 1] > edges[:, 3]
    x0, y0, x1, y1 = np.where(turned[:, None], edges[:, [2, 3, 0, 1]], edges).T
    length = np.maximum(y1 - y0, 1)
    slope = (x1 - x0) / length
    rising = slope > 0
    safe = np.where(slope == 0, 1, slope)
    # Division tells the place but for rounding; of the three around it the right one is found by the rule itself.
    near = np.floor((steps + 0.5 - x0) / safe)
    found = np.full(len(steps), np.inf)
    for t in (near - 1, near, near + 1, near + 2):
        across = np.trunc(x0 + slope * t + 0.5)
        there = np.where(rising, across > steps, across <= steps) & (t >= 0) & (t <= length)
        found = np.where(there, np.minimum(found, t), found)
    return y0 + found - 1
