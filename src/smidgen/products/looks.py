"""What looks at images and volumes: the protocol behind which networks in torch and in onnxruntime are one thing. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32

from smidgen.core.errors import ShapeError
from smidgen.products.sample import Classes
from smidgen.products.scores import Scores

MAX_PIXELS = 2_000_000
"""Pixels that a network sees at once unless told otherwise."""


@runtime_checkable
class Looks(Protocol):
    """Gives class probabilities."""

    @property
    def classes(self) -> Classes:
        """What the channels of the probabilities mean."""
        ...

    @property
    def channels(self) -> int:
        """Channels of its images."""
        ...

    @property
    def dims(self) -> int:
        """Spatial axes of what it sees at once: 2 or 3."""
        ...

    @property
    def zscored(self) -> bool:
        """It takes volumes, or slices of them, z-scored over the case; else images in [0, 1]."""
        ...

    @property
    def patch(self) -> int | tuple[int, ...]:
        """Side or sides of the training views; 0 = unknown."""
        ...

    def calibrated(self) -> Looks:
        """The same network with its class biases in effect."""
        ...

    def zoom(self, size: Sequence[int]) -> float:
        """Factor in (0, 1] that an image of this size is shrunk by."""
        ...

    def window(self, size: Sequence[int], window: int = 0, max_pixels: int = MAX_PIXELS, scale: float = 1.0) -> int:
        """Side of the sliding window, in pixels as the network sees it; 0 = the image is looked at whole."""
        ...

    def look(self, image: Float[np.ndarray, "c h w"], scales: Sequence[float], flip: bool, zoom: float) -> Float32[np.ndarray, "k h w"]:
        """Class probabilities of one window or small image at its size, averaged over scales and mirroring."""
        ...

    def look_together(
        self, images: Float[np.ndarray, "b c *space"], scales: Sequence[float], flip: bool, zoom: float
    ) -> Float32[np.ndarray, "b k *space"]:
        """The same of several windows, slices or parts of a volume, equal in size."""
        ...

    def scored(self, probs: Float[np.ndarray, "k *space"], tags: Sequence[int] | None, keep_probs: bool) -> Scores:
        """Class and confidence of every pixel."""
        ...


def odds(biases: Sequence[float], ndim: int) -> Float32[np.ndarray, "k *ones"]:
    """What class biases on log-probabilities multiply probabilities by, before these sum to 1 again.

    Args:
        biases: Of each class.
        ndim: Axes of the probabilities, that of the classes included.
    """
    return np.exp(np.asarray(biases, np.float32)).reshape(-1, *(1,) * (ndim - 1))


def check_channels(image: Any, channels: int, dims: int = 2, zscored: bool = False) -> None:
    """Refuse what is no image or volume with the channels of a network.

    Raises:
        ShapeError: With the remedy.
    """
    axes = {3} if dims == 2 and not zscored else {4} if dims == 3 else {3, 4}
    alike = (channels,) if zscored else (1, channels)  # gray pictures are repeated for networks of color; channels of volumes are not
    if image.ndim not in axes or image.shape[0] not in alike:
        found, shape = tuple(image.shape), "(c, h, w)" if 3 in axes else "(c, d, h, w)"
        shape = shape.replace("c", str(channels))
        raise ShapeError(f"image: expected shape {shape}, found {found}; this model takes {channels} channels: convert it")
