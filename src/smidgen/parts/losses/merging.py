"""Windows of pixels in which those of one class are merged: sums over shifted views, forwards and backwards.

For each step from a window's center to one of its places, the whole map is multiplied by "has the center's class" and added, in place, to
a sum. Nothing is unfolded, and the way back recomputes which pixels were chosen: what is kept for it is one map per class and one of
weights, however large the window is. Rows that fit into a processor's cache take all steps before the next ones begin; a GPU takes
everything at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int16, Integer
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK = 2**20
"""Values that one block holds on a CPU: 4 MiB."""
UNLABELED, NOBODY = -1, -2
"""Codes of a pixel without a label and of a center without a class; they differ, so neither is ever chosen."""

Index = tuple[Any, ...]


class Tap(NamedTuple):
    """One place of all windows of a block."""

    gain: float
    centers: Index
    pixels: Index


@dataclass(frozen=True)
class Windows:
    """Where windows stand and how much their pixels weigh.

    Args:
        radius: Chessboard distance from the center to the rim, in pixels.
        stride: Distance of neighboring centers, in pixels.
        gains: Weight of a pixel by its chessboard distance from the center, `radius + 1` of them.
        by_count: Sums are divided by the number of chosen pixels; else by the sum of their weights.
    """

    radius: int
    stride: int
    gains: tuple[float, ...]
    by_count: bool = False

    @classmethod
    def gaussian(cls, radius: int, stride: int, width: float, by_count: bool) -> Windows:
        """Weights exp(-d² / 2 width²)."""
        return cls(radius, stride, tuple(math.exp(-((d / width) ** 2) / 2) for d in range(radius + 1)), by_count)

    def centers(self, size: Sequence[int]) -> tuple[int, ...]:
        """Size of the map of centers."""
        return tuple(-(-n // self.stride) for n in size)

    def taps(self, size: Sequence[int], low: int, high: int) -> Iterator[Tap]:
        """The places of the windows whose centers lie in rows `low` to `high` of the map of centers, their centers first.

        Args:
            size: Of the map of pixels.
            low: First row of centers.
            high: Behind the last one.

        Returns:
            For each place its weight, the centers whose window has it inside of the map (counted from `low`), and the pixels there.
        """
        reach, stride, many = range(-self.radius, self.radius + 1), self.stride, self.centers(size)
        for step in sorted(product(reach, repeat=len(size)), key=lambda step: max(map(abs, step))):
            centers: list[Any] = [...]
            pixels: list[Any] = [...]
            for axis, (shift, n) in enumerate(zip(step, size, strict=True)):
                first, last = (low, high) if axis == 0 else (0, many[axis])
                begin = max(first, -(shift // stride))
                end = min(last, (n - 1 - shift) // stride + 1)
                if begin >= end:
                    break
                centers.append(slice(begin - first, end - first))
                pixels.append(slice(begin * stride + shift, (end - 1) * stride + shift + 1, stride))
            else:
                yield Tap(self.gains[max(map(abs, step))], tuple(centers), tuple(pixels))


class Block(NamedTuple):
    """Some images, some rows of centers, and the places of their windows."""

    images: slice
    rows: slice
    taps: tuple[Tap, ...]


def blocks(windows: Windows, values: Float[Tensor, "b c *h"]) -> Iterator[Block]:
    """What is worked on at once."""
    b, channels, *size = values.shape
    many = windows.centers(size)
    row = channels * max(1, math.prod(many[1:]))
    rows = many[0] if values.device.type != "cpu" else min(many[0], max(1, BLOCK // row))
    images = b if values.device.type != "cpu" else max(1, BLOCK // (row * rows))
    for low in range(0, many[0], rows):
        high = min(many[0], low + rows)
        places = tuple(windows.taps(size, low, high))
        for first in range(0, b, images):
            yield Block(slice(first, first + images), slice(low, high), places)


def gather(
    block: Block,
    windows: Windows,
    values: Float[Tensor, "b c *h"],
    label: Int16[Tensor, "b *h"],
    target: Int16[Tensor, "b *n"],
    out: Float[Tensor, "b c *n"],
) -> Float[Tensor, "i *m"]:
    """Merge the values of one block's windows into `out`.

    Args:
        block: Which windows.
        windows: Their weights.
        values: One vector per pixel.
        label: Class of each pixel.
        target: Class that each center asks for.
        out: Is written.

    Returns:
        What the block's sums were multiplied by: one over the sum of the weights (or over their number), 0 where nothing was chosen.
    """
    images, rows, places = block
    pixels, known, asked, merged = values[images], label[images], target[images, rows], out[images, :, rows]
    total = torch.zeros_like(asked, dtype=values.dtype)
    for n, (gain, there, place) in enumerate(places):
        chosen = (known[place] == asked[there]).to(values.dtype)
        total[there].add_(chosen, alpha=1 if windows.by_count else gain)
        if n == 0:  # the centers themselves, whose weight is 1: all are inside
            torch.mul(pixels[place], chosen[:, None], out=merged)
        else:
            merged[there].addcmul_(pixels[place], chosen[:, None], value=gain)
    scale = torch.where(total > 0, 1 / total, 0.0)
    merged.mul_(scale[:, None])
    return scale


def spread(
    windows: Windows,
    values: Float[Tensor, "b c *n"],
    weight: Float[Tensor, "b *n"],
    label: Int16[Tensor, "b *h"],
    target: Int16[Tensor, "b *n"],
) -> Float[Tensor, "b c *h"]:
    """The transpose of `gather`: each center gives its values, times its weight, to the pixels that it had chosen."""
    size = label.shape[1:]
    found = values.new_zeros(*values.shape[:2], *size)
    for images, rows, places in blocks(windows, found):
        asked, known, given = target[images, rows], label[images], found[images]
        shared, factor = values[images, :, rows], weight[images, rows]
        for gain, there, place in places:
            chosen = (known[place] == asked[there]) * factor[there]
            given[place].addcmul_(shared[there], chosen[:, None], value=gain)
    return found


class Merged(torch.autograd.Function):
    """Values of each window's chosen pixels, averaged."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, label: Tensor, target: Tensor, windows: Windows) -> Tensor:
        """Shapes as in `merged`."""
        out = values.new_empty(*values.shape[:2], *target.shape[1:])
        scale = torch.empty_like(target, dtype=values.dtype)
        for block in blocks(windows, values):
            scale[block.images, block.rows] = gather(block, windows, values, label, target, out)
        ctx.save_for_backward(scale, label, target)
        ctx.windows = windows
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Each pixel hears from the windows that chose it."""
        scale, label, target = ctx.saved_tensors
        return spread(ctx.windows, gradients[0], scale, label, target), None, None, None


class MergedSurprise(torch.autograd.Function):
    """Cross entropy of each window's merged logits with the class that was asked for, in one go.

    What the softmax leaves behind is kept in the place of the merged logits and is all that the way back needs.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, label: Tensor, target: Tensor, windows: Windows) -> Tensor:
        """Shapes as in `merged_surprise`."""
        rest = logits.new_empty(*logits.shape[:2], *target.shape[1:])
        surprise, weight = (torch.empty_like(target, dtype=logits.dtype) for _ in range(2))
        for block in blocks(windows, logits):
            scale = gather(block, windows, logits, label, target, rest)
            power = rest[block.images, :, block.rows]
            power.sub_(power.amax(dim=1, keepdim=True))
            asked = target[block.images, block.rows].clamp(min=0).long()[:, None]
            said = power.gather(1, asked)
            total = power.exp_().sum(dim=1, keepdim=True)
            surprise[block.images, block.rows] = (total.log() - said)[:, 0]
            power.scatter_add_(1, asked, -total)  # residual of the softmax, times `total`
            weight[block.images, block.rows] = scale / total[:, 0]
        ctx.save_for_backward(rest, weight, label, target)
        ctx.windows = windows
        return surprise

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Residuals (s - e), averaged over the windows that chose a pixel (eq. 6 of the method's page)."""
        rest, weight, label, target = ctx.saved_tensors
        return spread(ctx.windows, rest, weight * gradients[0], label, target), None, None, None


def coded(label: Integer[Tensor, "b *h"], ignored: int, code: int) -> Int16[Tensor, "b *h"]:
    """Class indices in 16 bits, with another code for the ignored ones."""
    return torch.where(label == ignored, code, label).to(torch.int16)


def merged(
    values: Float[Tensor, "b c *h"], label: Int16[Tensor, "b *h"], target: Int16[Tensor, "b *n"], windows: Windows
) -> Float[Tensor, "b c *n"]:
    """Per window, the weighted mean over the pixels of the class that is asked for; 0 where there are none.

    Args:
        values: One vector per pixel.
        label: Class of each pixel; UNLABELED = none.
        target: Class that each center asks for; NOBODY = none.
        windows: Where, and with which weights.
    """
    return Merged.apply(values, label, target, windows)  # pyright: ignore[reportReturnType] (apply is untyped)


def merged_surprise(
    logits: Float[Tensor, "b k *h"], label: Int16[Tensor, "b *h"], target: Int16[Tensor, "b *n"], windows: Windows
) -> Float[Tensor, "b *n"]:
    """Cross entropy of `merged` logits with the class that is asked for.

    Args:
        logits: Per pixel.
        label: Class of each pixel; UNLABELED = none.
        target: Class that each center asks for; NOBODY = none, and the value there means nothing.
        windows: Where, and with which weights.
    """
    return MergedSurprise.apply(logits.contiguous(), label, target, windows)  # pyright: ignore[reportReturnType] (apply is untyped)
