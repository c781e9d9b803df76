"""Images with as many channels as a network takes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from smidgen.core.errors import ShapeError


def as_channels(image: Float32[np.ndarray, "c *space"], channels: int, where: str) -> Float32[np.ndarray, "n h w"]:
    """A 2D image with this number of channels; gray is repeated.

    Args:
        image: Channels first.
        channels: What the network takes.
        where: How messages call the image.

    Raises:
        ShapeError: It is no 2D image, or has another number of channels.
    """
    if image.ndim != 3:
        raise ShapeError(f"{where}: expected a 2D image, found {image.ndim - 1} dimensions: export the slices as images")
    if len(image) not in (1, channels):
        raise ShapeError(f"{where}: {len(image)} channels, the network takes {channels}: convert this image")
    return image if len(image) == channels else np.repeat(image, channels, axis=0)
