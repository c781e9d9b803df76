"""Volumes: opened without being decoded, z-scored over the whole case, cut by slices, and labels written back on their grid.

`opened_volume` is the way in for one file; a folder of them is a `Dataset`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped

from smidgen.data.broken import Broken
from smidgen.data.volume_files import SUFFIXES, Stored, VolumeHeader, reading, stored, suffix_of
from smidgen.data.volume_frames import Frame, mismatch
from smidgen.data.volume_writing import LabelWriter, label_path, write_label

__all__ = [
    "SUFFIXES",
    "Broken",
    "Frame",
    "LabelWriter",
    "LazyVolume",
    "Statistics",
    "VolumeHeader",
    "header",
    "label_path",
    "measured",
    "opened_volume",
    "suffix_of",
    "write_label",
    "zscored",
]

TOGETHER = 16_000_000
"""At most so many voxels are decoded at once while a volume is measured, if its format can be read in parts."""
LARGEST = float(np.finfo(np.float32).max)
"""What is larger is infinite once it is z-scored."""


@dataclass(frozen=True)
class Statistics:
    """What z-scoring needs to know of a case, per channel, as stored.

    Args:
        mean: Of all voxels.
        deviation: Standard deviation; 1 where all voxels are the same.
        low: Smallest value.
        high: Largest value.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def limits(self) -> tuple[float, float]:
        """Smallest and largest value after z-scoring, over all channels."""
        ends = [[(end - mean) / by for end, mean, by in zip(one, self.mean, self.deviation, strict=True)] for one in (self.low, self.high)]
        return min(ends[0]), max(ends[1])


class LazyVolume:
    """A volume on disk as float32, z-scored over the whole case, read where it is cut: `volume[:, 3:5, 10:90]`.

    Zarr arrays and uncompressed NIfTI and TIFF files are decoded only there; others as a whole, as they are stored.

    Args:
        opened: The file.
        path: For messages.
    """

    ndim = 4

    def __init__(self, opened: Stored, path: str):
        head = opened.header
        self.path = path
        self.frame: Frame = head.frame
        self.shape: tuple[int, int, int, int] = (head.channels, *head.frame.size)
        self._stored = opened
        self._array: Any = None
        self._statistics: Statistics | None = None

    @property
    def spacing_mm(self) -> tuple[float, float, float] | None:
        """Distance between voxels along z, y, x; None where the file says nothing."""
        return self.frame.spacing_mm

    @property
    def spacing_trusted(self) -> bool:
        """The file states the spacing and its unit."""
        return self.frame.trusted

    @property
    def planes(self) -> int:
        """So many planes lie in one chunk: strips of a multiple of it are read fastest."""
        return self._stored.planes

    @property
    def voxels(self) -> Any:
        """The voxels as stored, (c, z, y, x), cut by slices. Raises `Broken`."""
        if self._array is None:
            self._array = self._stored.voxels()
        return self._array

    @property
    def statistics(self) -> Statistics:
        """Mean and deviation of the case, measured strip by strip when first asked for.

        Raises:
            Broken: It can't be decoded, or holds NaN or infinite values.
        """
        if self._statistics is None:
            with reading(self.path):
                self._statistics = measured(self.voxels, self._stored.planes)
        return self._statistics

    def limits(self) -> tuple[float, float]:
        """Smallest and largest z-scored value."""
        return self.statistics.limits()

    def __getitem__(self, place: slice | tuple[slice, ...]) -> Float32[np.ndarray, "c z y x"]:
        """A part, z-scored; up to four slices along c, z, y, x. Raises `Broken`."""
        cut = place if isinstance(place, tuple) else (place,)
        statistics = self.statistics
        with reading(self.path):
            part = np.asarray(self.voxels[cut])
        return zscored(part, statistics, cut[0] if cut else slice(None))


def opened_volume(path: str | Sequence[str]) -> LazyVolume:
    """Open a NIfTI file, TIFF stack, OME-Zarr folder or folder of DICOM slices; only its header is read.

    Args:
        path: The file or folder; several are one per channel, and lie on the grid of the first.

    Raises:
        Broken: It is none, can't be read, has not three dimensions, or a channel lies on another grid.
    """
    several = [path] if isinstance(path, str | PathLike) else list(path)
    opened = [stored(str(one)) for one in several]
    if len(opened) == 1:
        return LazyVolume(opened[0], str(several[0]))
    first = opened[0].header
    for other, one in zip(several, opened, strict=True):
        if wrong := mismatch(one.header.frame, first.frame):
            raise Broken(f"channel {Path(other).name}: {wrong[0]}", wrong[1])
    head = replace(first, channels=sum(one.header.channels for one in opened))
    return LazyVolume(Stored(head, lambda: _Channels([one.voxels() for one in opened]), max(one.planes for one in opened)), str(several[0]))


class _Channels:
    """Voxels that lie in several files, cut by slices: each file is read where it is cut.

    Args:
        parts: Voxels of each file, (c, z, y, x).
    """

    def __init__(self, parts: Sequence[Any]):
        self._parts = parts
        self.shape = (sum(int(one.shape[0]) for one in parts), *parts[0].shape[1:])

    def __getitem__(self, cut: tuple[slice, ...]) -> Shaped[np.ndarray, "c z y x"]:
        whole = slice(None)
        return np.concatenate([np.asarray(one[whole, *cut[1:]]) for one in self._parts])[cut[0]]


def header(path: str) -> VolumeHeader:
    """What a volume's header says. Raises `Broken`."""
    return stored(path).header


def zscored(part: Shaped[np.ndarray, "c *space"], statistics: Statistics, channels: slice = slice(None)) -> Float32[np.ndarray, "c *space"]:
    """Voxels of a case with mean 0 and deviation 1 over the whole case.

    Args:
        part: As stored.
        statistics: Of the case.
        channels: Which of its channels the part has.
    """
    means, deviations = (np.asarray(one[channels], np.float32) for one in (statistics.mean, statistics.deviation))
    shape = (-1, *[1] * (part.ndim - 1))
    return (part.astype(np.float32) - means.reshape(shape)) / deviations.reshape(shape)


def measured(voxels: Any, planes: int = 1) -> Statistics:
    """Statistics of a case, strip by strip.

    Args:
        voxels: Shape (c, z, y, x), cut by slices.
        planes: So many planes are best read together.

    Raises:
        Broken: There are NaN or infinite values.
    """
    channels = int(voxels.shape[0])
    count, wrong = 0, 0
    mean, spread = np.zeros(channels), np.zeros(channels)
    low, high = np.full(channels, np.inf), np.full(channels, -np.inf)
    for plane in _planes(voxels, planes):
        values = plane.reshape(channels, -1).astype(np.float64)
        bad = ~(np.abs(values) <= LARGEST)
        if bad.any():
            wrong += int(bad.sum())
            continue
        own = values.mean(axis=1)
        off, both = own - mean, count + values.shape[1]
        # Chan, Golub and LeVeque 1983: joins means and squared deviations without cancellation.
        spread += ((values - own[:, None]) ** 2).sum(axis=1) + off**2 * count * values.shape[1] / both
        mean += off * values.shape[1] / both
        count = both
        low, high = np.minimum(low, values.min(axis=1)), np.maximum(high, values.max(axis=1))
    if wrong:
        raise Broken(f"{wrong} of {int(np.prod(voxels.shape))} values are NaN or infinite", "fill the holes with a number")
    deviation = np.sqrt(spread / max(1, count))
    deviation[deviation == 0] = 1
    return Statistics(*(tuple(map(float, one)) for one in (mean, deviation, low, high)))


def _planes(voxels: Any, together: int) -> Iterator[np.ndarray]:
    """Plane after plane, several read at once."""
    _, depth, height, width = voxels.shape
    step = max(1, together, min(depth, TOGETHER // max(1, voxels.shape[0] * height * width)) // together * together)
    for start in range(0, depth, step):
        strip = np.asarray(voxels[:, start : start + step])
        for z in range(strip.shape[1]):
            yield strip[:, z]
