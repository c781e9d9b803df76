"""Readers that other formats need: labels whose values or colors are looked up in a table, and images that lie in one file per channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from smidgen.core.conventions import ValueRange
from smidgen.data.images import WHOLE_RANGE, Broken, pixels, repeated, scaled, stored_values
from smidgen.data.labels import check_size, looked_up, packed


@dataclass(frozen=True)
class MappedLabelFile:
    """Reads one label file whose values are looked up.

    Args:
        path: The file.
        size: Height and width of its image.
        table: Stored value, or color as `color_key` gives it -> class index, 255 = unlabeled.
        colors: A palette picture means its colors; else its indices.
        known: What the values that are allowed come from, for messages.
    """

    path: str
    size: tuple[int, int]
    table: tuple[tuple[int, int], ...]
    colors: bool = False
    known: str = ""

    @property
    def meaning(self) -> tuple[Any, ...]:
        """All that decides what is made of the file's bytes."""
        return ("mapped label", *self.size, self.colors, *(number for pair in self.table for number in pair))

    def __call__(self) -> UInt8[np.ndarray, "h w"]:
        """Class indices, 255 = unlabeled.

        Raises:
            DataError: The file is broken, has another size than its image, or holds values that are not in the table.
        """
        try:
            return self.read()
        except Broken as broken:
            raise broken.error(self.path) from broken

    def read(self) -> UInt8[np.ndarray, "h w"]:
        """Class indices; raises `Broken`."""
        stored = packed(pixels(self.path) if self.colors else stored_values(self.path))
        check_size(stored, self.size)
        return looked_up(stored, dict(self.table), f"; {self.known}")


@dataclass(frozen=True)
class ChannelFiles:
    """Reads an image that lies in one file per channel.

    Args:
        paths: The files in the order of their channels, at least two.
        mode: Pixel format of the first one, for messages.
        channels: How many channels to return.
        value_range: Values that become 0 and 1, of images with more than 8 bits.
    """

    paths: tuple[str, ...]
    mode: str = "L"
    channels: int = 2
    value_range: ValueRange = WHOLE_RANGE

    @property
    def meaning(self) -> tuple[Any, ...]:
        """All that decides what is made of the files' bytes."""
        return ("channels", len(self.paths), self.channels, *self.value_range)

    @property
    def where(self) -> str:
        """How messages call it."""
        return self.paths[0]

    def __call__(self) -> Float32[np.ndarray, "c h w"]:
        """The image in [0, 1].

        Raises:
            DataError: A file is broken, or the files do not fit each other.
        """
        try:
            return self.read()
        except Broken as broken:
            raise broken.error(self.where) from broken

    def read(self) -> Float32[np.ndarray, "c h w"]:
        """The image in [0, 1]; raises `Broken`."""
        return repeated(scaled(self.stored()[0], self.value_range), self.channels)

    def stored(self) -> tuple[Shaped[np.ndarray, "h w c"], None]:
        """The pixels as stored, channels last; every one has data. Raises `Broken`."""
        planes = [pixels(path) for path in self.paths]
        check_alike(self.paths, [(plane.shape, plane.dtype) for plane in planes], planes[0].ndim == 2)
        return np.stack(planes, axis=-1), None


def check_alike(paths: Sequence[str], forms: Sequence[tuple[Any, ...]], gray: bool) -> None:
    """The channels of an image have one form.

    Args:
        paths: A file per channel.
        forms: Size and type of each, in words or numbers that can be shown.
        gray: The first one has a single channel.

    Raises:
        Broken: One has another form than the first, or none of them is gray.
    """
    for path, form in zip(paths, forms, strict=True):
        if form != forms[0] or not gray:
            told = [" of ".join(map(str, one)) for one in (form, forms[0])]
            what = f"channel {Path(path).name} is {told[0]}, the first is {told[1]}"
            raise Broken(what, "save all channels of an image as gray files of one size and type")
