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
        read_image: Returns the image in [0, 1]; that of a volume, and of a slice of one, z-scored over the case.
        size: Spatial size, known without decoding: (h, w) or (d, h, w).
        channels: Number of channels as stored (1 gray, 3 color, more).
        tags: Label values of the classes that are present, ascending; () = known to hold none; None = unknown.
        read_label: Returns class indices with 255 = unlabeled; None where there is no mask.
        sparse: The label covers only few pixels (scribbles, points).
        read_instances: Returns instance ids, 0 = none and 65535 = ignored; None where there are none.
        split: "train", "val" or "test".
        group: Items of one group (a patient, a video) stay in one split.
        spacing_mm: Distance between samples per axis, in the order of `size`; None = unknown. Millimeters that can be reported only where
            `spacing_trusted`; else nominal ones, which tell no more than how unlike the axes are.
        path: Where the image came from, for messages; "" for arrays.
        zscored: Values have mean 0 and deviation 1 over the whole case; else they lie in [0, 1].
        spacing_trusted: `spacing_mm` is true.
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
    zscored: bool = False
    spacing_trusted: bool = False

    def image(self) -> Float32[np.ndarray, "c *space"]:
        """The image, float32: in [0, 1], or z-scored over the case."""
        return self.read_image()

    def limits(self) -> tuple[float, float]:
        """Smallest and largest value that an image of this sample may take: (0, 1), or those of the whole z-scored case."""
        if not self.zscored:
            return 0.0, 1.0
        known = getattr(self.read_image, "limits", None)
        if known is not None:
            return known()
        image = self.image()
        return float(image.min()), float(image.max())

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
        image, label = self.shown()
        return pictures.png(pictures.side_by_side([pictures.of_image(image)] + ([] if label is None else [pictures.of_label(label)])))

    def shown(self) -> tuple[Float32[np.ndarray, "c h w"], UInt8[np.ndarray, "h w"] | None]:
        """What stands for the sample in a picture: the image in [0, 1] and its label; of a volume the slice in its middle."""
        image, label = self.image(), self.label()
        if len(self.size) == 3:
            middle = self.size[0] // 2
            image, label = image[:, middle], None if label is None else label[middle]
        if self.zscored:
            low, high = self.limits()
            image = (image - np.float32(low)) / np.float32(max(high - low, 1e-6))
        return image, label
