"""Channels of an image: as many as a network takes, and what their values are like."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from smidgen.core.errors import ShapeError

FLAT = 1e-5
"""A channel whose values deviate less holds nothing; it is only shifted, not stretched."""


@dataclass(frozen=True)
class ChannelStatistics:
    """What the values of each channel are like.

    Args:
        mean: In the units of the images, [0, 1].
        deviation: Standard deviation likewise; 1 where a channel is constant.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]


def statistics_of(images: Iterable[Float32[np.ndarray, "c ..."]]) -> ChannelStatistics | None:
    """Mean and standard deviation of each channel over all pixels, every image weighing the same; None of no image.

    Args:
        images: All with the same number of channels, values in [0, 1].

    Example:
        >>> import numpy as np
        >>> statistics_of([np.array([[0.0, 1.0], [0.5, 0.5]], np.float32)])
        ChannelStatistics(mean=(0.5, 0.5), deviation=(0.5, 1.0))
    """
    # Sums in 64 bits, image by image; values lie in [0, 1], so the difference of two squares loses nothing that counts.
    moments = [
        (one.mean(axis=1), (one * one).mean(axis=1)) for one in (image.reshape(len(image), -1).astype(np.float64) for image in images)
    ]
    if not moments:
        return None
    mean, square = np.mean(moments, axis=0)
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    return ChannelStatistics(_plain(mean), _plain(np.where(deviation < FLAT, 1.0, deviation)))


def _plain(values: Float64[np.ndarray, " c"]) -> tuple[float, ...]:
    """Six digits: sums differ in their last ones from machine to machine, and networks shall not."""
    return tuple(float(f"{value:.6g}") for value in values)


def as_channels(image: Float32[np.ndarray, "c *space"], channels: int, where: str, dims: int = 2) -> Float32[np.ndarray, "n *space"]:
    """An image with this number of channels; gray is repeated.

    Args:
        image: Channels first.
        channels: What the network takes.
        where: How messages call the image.
        dims: Spatial axes of what the network takes.

    Raises:
        ShapeError: It has another number of spatial axes, or of channels.
    """
    if image.ndim != dims + 1:
        what = f"expected a {dims}D image, found {image.ndim - 1} dimensions"
        raise ShapeError(f"{where}: {what}: {'export the slices as images' if dims == 2 else 'give whole volumes'}")
    if len(image) not in (1, channels):
        raise ShapeError(f"{where}: {len(image)} channels, the network takes {channels}: convert this image")
    return image if len(image) == channels else np.repeat(image, channels, axis=0)
