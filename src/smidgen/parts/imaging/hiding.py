"""Hiding a region of an image: by what surrounds it, or by the image's mean color. Torch-free."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32

from smidgen.parts.imaging.evidence import enlarged

Hide = Literal["surroundings", "mean"]


def hidden(image: Float32[np.ndarray, "c h w"], region: Bool[np.ndarray, "h w"], by: Hide = "surroundings") -> Float32[np.ndarray, "c h w"]:
    """The image with a region replaced.

    Args:
        image: Values in [0, 1].
        region: What is replaced; not all of the image.
        by: surroundings: colors flow in from the border of the region, the smoother the farther inside, so neither the object's colors nor
            its outline are left; mean: the mean color of the rest.
    """
    if not region.any() or region.all():
        return image
    if by == "mean":
        return np.where(region, image[:, ~region].mean(axis=1)[:, None, None], image)
    return _filled(image, (~region).astype(np.float32))


def _filled(image: Float32[np.ndarray, "c h w"], known: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "c h w"]:
    """Pull and push (Gortler et al., SIGGRAPH 1996): what is not known comes from the image at half the size, filled in the same way.

    Args:
        image: Values; meaningless where nothing is known.
        known: In [0, 1], how far each value can be trusted.
    """
    if known.min() >= 1 or max(known.shape) == 1:
        return image
    height, width = known.shape
    even = ((0, height % 2), (0, width % 2))
    trust = np.pad(known, even)
    sums = _blocks(np.pad(image * known, ((0, 0), *even)))
    weight = _blocks(trust[None])[0]
    half = sums / np.maximum(weight, np.finfo(np.float32).tiny)
    whole = enlarged(_filled(half, np.minimum(weight, 1)), trust.shape)[:, :height, :width]
    return (known * image + (1 - known) * whole).astype(np.float32, copy=False)


def _blocks(values: Float32[np.ndarray, "c h w"]) -> Float32[np.ndarray, "c y x"]:
    """Sums over blocks of 2 x 2."""
    channels, height, width = values.shape
    return values.reshape(channels, height // 2, 2, width // 2, 2).sum(axis=(2, 4))
