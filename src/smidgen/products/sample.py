"""Sample: one image or volume with whatever labels it has; arrays are read when asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Integer, UInt8

from smidgen.core.conventions import IGNORED
from smidgen.products import pictures

__all__ = ["IGNORED", "Classes", "Sample"]


@dataclass(frozen=True)
class Classes:
    """Names of the classes; the position of a name is its label value.

    Args:
        names: One per class, background included where there is one.
        background: Label value of the background (0), or None where every pixel belongs to a real class.
    """

    names: tuple[str, ...]
    background: int | None = 0

    @property
    def foreground(self) -> tuple[int, ...]:
        """Label values that can be image tags, ascending. A classifier's logit j speaks of `foreground[j]`."""
        return tuple(i for i in range(len(self.names)) if i != self.background)

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Sample:
    """One image or volume. Reading functions pickle, so samples travel to loader workers.

    Args:
        id: Path below the images folder without suffix; unique within the dataset.
        read_image: Returns the image in [0, 1].
        size: Spatial size, known without decoding: (h, w) or (d, h, w).
        channels: Number of channels as stored (1 gray, 3 color, more).
        tags: Label values of the classes that are present, ascending; () = known to hold none; None = unknown.
        read_label: Returns class indices with 255 = unlabeled; None where there is no mask.
        sparse: The label covers only few pixels (scribbles, points).
        read_instances: Returns instance ids, 0 = none and 65535 = ignored; None where there are none.
        split: "train", "val" or "test".
        group: Items of one group (a patient, a video) stay in one split.
        spacing_mm: Distance between samples per axis; None = unknown.
        path: Where the image came from, for messages; "" for arrays.
    """

    id: str
    read_image: Callable[[], Float32[np.ndarray, "c *space"]]
    size: tuple[int, ...]
    channels: int = 3
    tags: tuple[int, ...] | None = None
    read_label: Callable[[], UInt8[np.ndarray, "*space"]] | None = None
    sparse: bool = False
    read_instances: Callable[[], Integer[np.ndarray, "*space"]] | None = None
    split: str = "train"
    group: str | None = None
    spacing_mm: tuple[float, ...] | None = None
    path: str = ""

    def image(self) -> Float32[np.ndarray, "c *space"]:
        """The image, float32 in [0, 1]."""
        return self.read_image()

    def label(self) -> UInt8[np.ndarray, "*space"] | None:
        """Class indices, 255 = unlabeled; None where there is no mask."""
        return None if self.read_label is None else self.read_label()

    def instances(self) -> Integer[np.ndarray, "*space"] | None:
        """Instance ids, 0 = none, 65535 = ignored; None where there are none."""
        return None if self.read_instances is None else self.read_instances()

    def without_label(self) -> Sample:
        """The same sample with its dense labels out of reach."""
        return replace(self, read_label=None, read_instances=None, sparse=False)

    def _repr_png_(self) -> bytes:
        """The image, and beside it its label where there is one, for notebooks."""
        label = self.label()
        shown = [pictures.of_image(self.image())] + ([] if label is None else [pictures.of_label(label)])
        return pictures.png(pictures.side_by_side(shown))
