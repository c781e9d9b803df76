"""Labels that are lists of regions instead of files: polygons, run lengths and boxes, drawn when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, UInt8, UInt16

from smidgen.data.broken import Broken
from smidgen.data.labels import NO_INSTANCE_16
from smidgen.data.polygons import fill
from smidgen.data.rle import decode
from smidgen.products.sample import IGNORED


@dataclass(frozen=True)
class Region:
    """Part of an image that is one object, or is to be left alone.

    Args:
        value: Its class.
        number: Its instance id; 0 = it belongs to no instance.
        rings: Polygons, each as x, y, x, y …; what any of them covers belongs to the region.
        counts: Run lengths as in `rle.decode`; None where there are polygons or a box.
        box: x, y, width, height in pixels, where nothing else is known.
        ignore: Unlabeled: a crowd, or a box in which some pixels, nobody knows which, are the object.
        where: How messages call it.
    """

    value: int
    number: int = 0
    rings: tuple[tuple[float, ...], ...] = ()
    counts: str | tuple[int, ...] | None = None
    box: tuple[float, ...] = ()
    ignore: bool = False
    where: str = ""

    def mask(self, size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
        """The pixels it covers; raises `Broken`."""
        if self.counts is not None:
            try:
                return decode(self.counts, size)
            except Broken as broken:
                raise Broken(f"{self.where}: {broken.what}", broken.remedy) from broken
        covered = np.zeros(size, np.bool_)
        for ring in self.rings or (_corners(self.box),):
            covered |= fill(np.asarray(ring, np.float64).reshape(-1, 2), size)
        return covered


def _corners(box: Sequence[float]) -> tuple[float, ...]:
    x, y, width, height = box
    return (x, y, x + width, y, x + width, y + height, x, y + height)


@dataclass(frozen=True)
class Drawn:
    """All that is drawn on one image.

    Args:
        regions: Objects; where they overlap, the one with fewer pixels lies on top.
        size: Height and width of the image.
        background: What no region covers: the background's class, 255 where there is none.
        cleared: Run lengths of pixels that are background although a region covers them.
        unlabeled: Run lengths of pixels that are unlabeled whatever covers them.
        no_instance: Run lengths of pixels that may or may not belong to an instance.
        where: How messages call it.
    """

    regions: tuple[Region, ...]
    size: tuple[int, int]
    background: int = 0
    cleared: str | None = None
    unlabeled: str | None = None
    no_instance: str | None = None
    where: str = ""

    def paint(self) -> tuple[UInt8[np.ndarray, "h w"], UInt16[np.ndarray, "h w"]]:
        """Class indices (255 = unlabeled) and instance ids (0 = none, 65535 = ignored); raises `Broken`."""
        label = np.full(self.size, self.background, np.uint8)
        instances = np.zeros(self.size, np.uint16)
        # Pixels of what lies on top so far: one map, however many objects there are.
        smallest = np.full(self.size, np.iinfo(np.int64).max)
        for region in self._in_order():
            covered = region.mask(self.size)
            if region.ignore:
                label[covered], instances[covered] = IGNORED, NO_INSTANCE_16
                continue
            pixels = int(covered.sum())
            if region.number:
                covered &= pixels <= smallest
                smallest[covered], instances[covered] = pixels, region.number
            label[covered] = region.value
        for counts, value in ((self.cleared, self.background), (self.unlabeled, IGNORED)):
            if counts is not None:
                label[decode(counts, self.size)] = value
        if self.no_instance is not None:
            instances[decode(self.no_instance, self.size)] = NO_INSTANCE_16
        return label, instances

    def _in_order(self) -> Iterable[Region]:
        """First what is ignored, so that objects lie on it; then objects; then what belongs to no object."""
        return sorted(self.regions, key=lambda region: 0 if region.ignore else 1 if region.number else 2)

    @property
    def array(self) -> UInt8[np.ndarray, " n"]:
        """What stands in the file, for fingerprints."""
        return np.frombuffer(repr((self.regions, self.cleared, self.unlabeled, self.no_instance)).encode(), np.uint8)


@dataclass(frozen=True)
class Painting:
    """Reads what is drawn on an image.

    Args:
        drawn: The regions.
        kind: "label": class indices, 255 = unlabeled; "instances": instance ids, 0 = none, 65535 = ignored.
    """

    drawn: Drawn
    kind: Literal["label", "instances"]

    @property
    def meaning(self) -> tuple[Any, ...]:
        """All that decides what is made of the regions."""
        return (f"drawn {self.kind}", *self.drawn.size, *([self.drawn.background] if self.kind == "label" else []))

    @property
    def array(self) -> UInt8[np.ndarray, " n"]:
        """What stands in the file, for fingerprints."""
        return self.drawn.array

    @property
    def where(self) -> str:
        """How messages call it."""
        return self.drawn.where

    def __call__(self) -> UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]:
        """The values at each pixel.

        Raises:
            DataError: A region can't be drawn.
        """
        try:
            return self.read()
        except Broken as broken:
            raise broken.error(self.where) from broken

    def read(self) -> UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]:
        """The values at each pixel; raises `Broken`."""
        label, instances = self.drawn.paint()
        return label if self.kind == "label" else instances
