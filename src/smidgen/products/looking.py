"""How a trained network looks at an image of any size: shrunk as in training, whole, or window by window. Torch-free. Volumes: `volumes`.

What looks is behind a protocol: a network in torch (`segmenter`) or in onnxruntime (`onnx`) is led over the image by the same lines. What
is finished is handed on row by row, so that neither image nor result has to fit in memory.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float

from smidgen.core.conventions import ValueRange
from smidgen.core.errors import UsageError
from smidgen.products import volumes
from smidgen.products.largest import only_largest
from smidgen.products.looks import MAX_PIXELS, Looks, check_channels
from smidgen.products.resizing import enlarged_probs, resized
from smidgen.products.scores import Scores
from smidgen.products.windows import sliding, whole

__all__ = ["MAX_PIXELS", "Looks", "Predicts", "Usage", "check_channels", "in_one_look", "joined", "strips"]


def in_one_look(model: Looks, size: Sequence[int], scales: Sequence[float], window: int, max_pixels: int) -> bool:
    """Whether an image of this size is looked at whole, and its probabilities fit in memory at its own size."""
    return size[0] * size[1] <= max_pixels and model.window(size, window, max_pixels, max(scales)) == 0


def strips(
    model: Looks,
    image: Any,
    tags: Sequence[int] | None = None,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    *,
    window: int = 0,
    overlap: float = 0.5,
    max_pixels: int = MAX_PIXELS,
    keep_probs: bool = False,
) -> Iterator[Scores]:
    """Class and confidence of an image of any size, as strips of rows from top to bottom.

    Args:
        model: Looks.
        image: Values in [0, 1], or z-scored: an array, or anything with a shape (c, h, w) that is cut by slices; or a volume (c, d, h, w),
            which comes as slices from first to last.
        tags: As in `Predicts.predict`, like all that follow.
        scales: Factors on the image.
        flip: Average with the mirrored image.
        window: Side of the sliding window; 0 = as large as it takes.
        overlap: Share of a window that the next one covers again.
        max_pixels: Pixels that the network sees at once.
        keep_probs: Return the probabilities of all classes too.

    Raises:
        ShapeError: Not an image with the channels of this network.
    """
    check_channels(image, model.channels, model.dims, model.zscored)
    if image.ndim == 4:
        way: dict[str, Any] = {"window": window, "overlap": overlap, "max_pixels": max_pixels, "keep_probs": keep_probs, "most": 0}
        yield from (part for _, _, part in volumes.blocks(model, image, tags, scales, flip, **way))
        return
    size, zoom = tuple(image.shape[1:]), model.zoom(image.shape[1:])
    if in_one_look(model, size, scales, window, max_pixels):
        yield model.scored(model.look(np.asarray(image[:, :, :]), scales, flip, zoom), tags, keep_probs)
        return

    def look(part: np.ndarray) -> np.ndarray:
        return model.look(part, scales, flip, 1.0)

    sides = model.window(size, window, max_pixels, max(scales))
    if zoom < 1:
        seen = resized(image, [max(1, round(n * zoom)) for n in size])
        probs = whole(look, seen, sides, overlap) if sides else look(seen)
        parts = enlarged_probs(probs, size)
    else:
        parts = sliding(look, image, sides, overlap)
    for part in parts:
        yield model.scored(part, tags, keep_probs)


def joined(parts: Sequence[Scores]) -> Scores:
    """Strips as the scores of one image."""
    if len(parts) == 1:
        return parts[0]
    kept = [part.probs for part in parts if part.probs is not None]
    probs = np.concatenate(kept, axis=1) if kept else None
    return Scores(np.concatenate([part.label for part in parts]), np.concatenate([part.confidence for part in parts]), probs)


@runtime_checkable
class Usage(Protocol):
    """How a network was used in training, and so how it has to be used."""

    @property
    def channels(self) -> int:
        """Channels of its images."""
        ...

    @property
    def value_range(self) -> ValueRange:
        """Stored values that become 0 and 1."""
        ...

    @property
    def mask_values(self) -> tuple[int, ...]:
        """What masks hold for each class; () = its label value."""
        ...

    @property
    def size(self) -> int:
        """Longest side that larger images are shrunk to; 0 = none are."""
        ...

    @property
    def patch(self) -> int | tuple[int, ...]:
        """Side or sides of the training views; 0 = unknown."""
        ...

    @property
    def dims(self) -> int:
        """Spatial axes of what it sees at once: 2 or 3."""
        ...

    @property
    def zscored(self) -> bool:
        """Whether it takes z-scored values."""
        ...

    @property
    def spacing_mm(self) -> tuple[float, ...] | None:
        """Distance between voxels in training; None = unknown or of no matter."""
        ...

    @property
    def biases(self) -> tuple[float, ...]:
        """What is added to the log-probability of each class where that is wished; () = nothing was measured."""
        ...


P = TypeVar("P", bound="Predicts")


class Predicts:
    """Whatever looks predicts so, as it was used in training.

    Args:
        usage: How that was.
    """

    task: Literal["semantic"] = "semantic"

    def __init__(self, usage: Usage):
        self._usage = usage
        self.in_effect: tuple[float, ...] = ()

    @property
    def channels(self) -> int:
        """Channels of its images."""
        return self._usage.channels

    @property
    def value_range(self) -> ValueRange:
        """Stored values that become 0 and 1."""
        return self._usage.value_range

    @property
    def mask_values(self) -> tuple[int, ...]:
        """What masks hold for each class; () = its label value."""
        return self._usage.mask_values

    @property
    def dims(self) -> int:
        """Spatial axes of what it sees at once: 2 or 3."""
        return self._usage.dims

    @property
    def zscored(self) -> bool:
        """It takes volumes, or slices of them, z-scored over the case; else images in [0, 1]."""
        return self._usage.zscored

    @property
    def patch(self) -> int | tuple[int, ...]:
        """Side or sides of the training views; 0 = unknown."""
        return self._usage.patch

    @property
    def spacing_mm(self) -> tuple[float, ...] | None:
        """Distance between voxels in training; None = unknown or of no matter."""
        return self._usage.spacing_mm

    @property
    def biases(self) -> tuple[float, ...]:
        """What `calibrated` adds to the log-probability of each class; () = nothing was measured."""
        return self._usage.biases

    def calibrated(self: P) -> P:
        """The same network with its class biases in effect.

        Raises:
            UsageError: It has none.
        """
        if not self.biases:
            raise UsageError("this model has no class biases: train it with --calibrate 2, or use it as it is")
        found = copy.copy(self)
        found.in_effect = self.biases
        return found

    def zoom(self, size: Sequence[int]) -> float:
        """Factor in (0, 1] that an image of this size is shrunk by before the network sees it, as in training."""
        return min(1.0, self._usage.size / max(size)) if self._usage.size else 1.0

    def window(self, size: Sequence[int], window: int = 0, max_pixels: int = MAX_PIXELS, scale: float = 1.0) -> int:
        """Side of the sliding window for an image of this size, in pixels as the network sees it; 0 = the image is looked at whole.

        Args:
            size: Spatial size of the image.
            window: The side that is wished; 0 = as large as it takes.
            max_pixels: Pixels that the network may see at once.
            scale: Largest factor on the image.
        """
        zoom, larger = self.zoom(size), max(1.0, scale)
        seen = [n * zoom for n in size]
        largest = max(1, int(max_pixels**0.5 / larger))
        if window and max(seen) > window:
            return min(window, largest)
        if seen[0] * seen[1] * larger**2 <= max_pixels:
            return 0
        patch = self._usage.patch
        return min((patch if isinstance(patch, int) else max(patch)) or largest, largest)

    def predict(
        self: Looks,
        image: Float[np.ndarray, "c *space"],
        tags: Sequence[int] | None = None,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        *,
        window: int = 0,
        overlap: float = 0.5,
        max_pixels: int = MAX_PIXELS,
        keep_probs: bool = False,
        calibrated: bool = False,
        largest_component: bool = False,
    ) -> Scores:
        """Class and confidence of every pixel, for an image or volume of any size.

        Args:
            image: Values in [0, 1], or z-scored over the case.
            tags: Label values of the classes that can be there besides background; None = any.
            scales: Factors on the image.
            flip: Average with the mirrored image.
            window: Side of the sliding window, pixels of the image as the network sees it; 0 = the whole image up to `max_pixels`, else
                windows of the trained size.
            overlap: Share of a window that the next one covers again.
            max_pixels: Pixels that the network sees at once.
            keep_probs: Return the probabilities of all classes too.
            calibrated: With the model's class biases.
            largest_component: Keep only the largest piece of each class but the background.

        Raises:
            ShapeError: Not an image with the channels of this network.
            UsageError: Class biases are wished and the model has none, or largest pieces and it has no background.
        """
        model = self.calibrated() if calibrated else self
        way: dict[str, Any] = {"window": window, "overlap": overlap, "max_pixels": max_pixels, "keep_probs": keep_probs}
        if image.ndim == 4:
            scores = volumes.predicted(model, image, tags, scales, flip, **way)
        else:
            scores = joined(list(strips(model, image, tags, scales, flip, **way)))
        return only_largest(scores, self.classes) if largest_component else scores
