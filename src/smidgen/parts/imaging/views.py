"""An image seen at several sizes and in a mirror, and what was seen brought back onto the image."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

GRID = 4
"""Pixels of the image per place of a heatmap."""
TINY = 1e-5
"""Added to a map's maximum before dividing by it (IRN, AdvCAM)."""


def working_size(size: tuple[int, ...], longer: int, multiple: int, scale: float = 1.0) -> tuple[int, int]:
    """The size at which an image is looked at.

    Args:
        size: Height and width of the image.
        longer: What its longer side becomes, in pixels; 0 = as it is.
        multiple: Both sides become multiples of this (at least one), so that images of similar size can share a batch.
        scale: Relative to the size at scale 1.
    """
    factor = longer / max(size) if longer else 1.0
    height, width = (max(1, round(side * factor / multiple)) * multiple for side in size)
    if scale == 1:
        return height, width
    return max(1, round(height * scale / multiple)) * multiple, max(1, round(width * scale / multiple)) * multiple


def resized(image: Float[Tensor, "*b c h w"], size: tuple[int, int]) -> Float[Tensor, "*b c H W"]:
    """The image at another size; smaller without moiré, larger without overshoot."""
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    flat = image.reshape(-1, *image.shape[-3:])
    return interpolate(flat, size=size, mode="bilinear", align_corners=False, antialias=True).reshape(*image.shape[:-2], *size)


def with_mirror(images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 2 c h w"]:
    """Each image and its mirror image (left to right) as two views."""
    return torch.stack([images, images.flip(-1)], dim=1)


def unmirrored(maps: Float[Tensor, "b v *k h w"]) -> Float[Tensor, "b v *k h w"]:
    """Maps of two views, the second turned back; one view stays as it is."""
    if maps.shape[1] == 1:
        return maps
    return torch.stack([maps[:, 0], maps[:, 1].flip(-1)], dim=1)


def grid(size: tuple[int, ...]) -> tuple[int, int]:
    """Size of the heatmaps of an image of this size: a quarter, rounded up."""
    height, width = (-(-side // GRID) for side in size)
    return height, width


def onto_grid(maps: Float[Tensor, "k h w"], size: tuple[int, ...]) -> Float[Tensor, "k H W"]:
    """Maps of a whole image of this size, at the resolution of its heatmaps."""
    if not len(maps):
        return maps.new_zeros(0, *grid(size))
    return interpolate(maps[None], size=grid(size), mode="bilinear", align_corners=False)[0]


def normalized(maps: Float[np.ndarray, "k h w"]) -> tuple[Float[np.ndarray, "k h w"], Float[np.ndarray, " k"]]:
    """Non-negative maps divided by their own maxima, and these maxima."""
    peak = maps.max(axis=(1, 2), initial=0.0)
    return maps / (peak + TINY)[:, None, None], peak
