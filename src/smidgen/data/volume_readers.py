"""What the samples of a dataset of volumes read: images z-scored over the case, labels on their grid, and single slices of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from smidgen.data.broken import Broken
from smidgen.data.labels import Values, indices, looked_up, packed
from smidgen.data.volume_cache import DECODED, now
from smidgen.data.volume_files import reading, stored
from smidgen.data.volume_frames import Frame, mismatch
from smidgen.data.volumes import Statistics, measured, zscored

# ---------------------------------------------------------------- images


@dataclass(frozen=True)
class VolumeFile:
    """Reads one volume, z-scored over the case.

    Args:
        paths: Its file or folder; several are one per channel.
        frame: Of the first one.
        channels: How many channels to return.
    """

    paths: tuple[str, ...]
    frame: Frame
    channels: int = 1

    @property
    def meaning(self) -> tuple[Any, ...]:
        """All that decides what is made of the files' bytes."""
        return ("volume", len(self.paths), self.channels, "z-scored")

    @property
    def path(self) -> str | None:
        """The file or folder, where there is one."""
        return self.paths[0] if len(self.paths) == 1 else None

    @property
    def where(self) -> str:
        """How messages call it."""
        return self.paths[0]

    def __call__(self) -> Float32[np.ndarray, "c d h w"]:
        """The volume, z-scored.

        Raises:
            DataError: A file is broken, or holds NaN.
        """
        return _or_error(self.read, self.where)

    def read(self) -> Float32[np.ndarray, "c d h w"]:
        """The volume, z-scored; raises `Broken`."""
        return self.part((slice(None),))

    def part(self, cut: tuple[slice, ...]) -> Float32[np.ndarray, "c *space"]:
        """A part, cut along c, z, y, x; raises `Broken`."""
        voxels, statistics = self._opened()
        with reading(self.where):
            return zscored(np.asarray(voxels[cut]), statistics, cut[0])

    def stored(self) -> Shaped[np.ndarray, "c d h w"]:
        """The voxels as stored; raises `Broken`."""
        voxels, _ = self._opened()
        with reading(self.where):
            return np.asarray(voxels[:])

    def statistics(self) -> Statistics:
        """Mean, deviation and range as stored; raises `Broken`."""
        return DECODED.get((self, now(self.paths), "statistics"), lambda: (self._opened()[1], 0))

    def limits(self) -> tuple[float, float]:
        """Smallest and largest z-scored value; raises `Broken`."""
        return self.statistics().limits()

    def _opened(self) -> tuple[Any, Statistics]:
        """Voxels and statistics; what is too large to be kept is decoded again, but not measured again."""
        when = now(self.paths)
        voxels, planes = DECODED.get((self, when), self._decode)
        with reading(self.where):
            return voxels, DECODED.get((self, when, "statistics"), lambda: (measured(voxels, planes), 0))

    def _decode(self) -> tuple[tuple[Any, int], int]:
        """Voxels, in memory unless they are too many and can be read in parts; and how many planes are best read together."""
        parts = []
        for path in self.paths:
            opened = stored(path)
            wrong = None if path == self.paths[0] else mismatch(opened.header.frame, self.frame)
            if wrong or opened.header.frame.size != self.frame.size:
                raise Broken(*(wrong or ("has changed its size since the dataset was opened", "start again")))
            parts.append((opened.voxels(), opened.planes))
        voxels = parts[0][0] if len(parts) == 1 else np.concatenate([np.asarray(one[:]) for one, _ in parts])
        if int(voxels.shape[0]) != self.channels:
            raise Broken(f"{voxels.shape[0]} channels, {self.channels} expected", "convert it, or leave it out")
        size = int(np.prod(voxels.shape)) * voxels.dtype.itemsize
        if size <= DECODED.most // 2:
            with reading(self.where):
                return (np.ascontiguousarray(voxels[:]), 1), size
        # What is mapped, or read in parts, takes no memory and may be kept at no cost.
        in_parts = not isinstance(voxels, np.ndarray) or _is_mapped(voxels)
        return (voxels, parts[0][1]), 0 if in_parts else size


def _is_mapped(array: np.ndarray) -> bool:
    """An array, or a view of one, that lies in a file."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base  # pyright: ignore[reportAssignmentType]
    return False


@dataclass(frozen=True)
class VolumeArray:
    """Hands out a volume that is in memory, z-scored."""

    array: Shaped[np.ndarray, "c d h w"]

    @property
    def meaning(self) -> tuple[Any, ...]:
        """All that decides what is made of the array."""
        return ("volume", len(self.array), "z-scored")

    def __call__(self) -> Float32[np.ndarray, "c d h w"]:
        """The volume, z-scored."""
        return self.read()

    def read(self) -> Float32[np.ndarray, "c d h w"]:
        """The volume, z-scored; raises `Broken`."""
        return self.part((slice(None),))

    def part(self, cut: tuple[slice, ...]) -> Float32[np.ndarray, "c *space"]:
        """A part, cut along c, z, y, x; raises `Broken`."""
        return zscored(self.array[cut], self.statistics(), cut[0])

    def stored(self) -> Shaped[np.ndarray, "c d h w"]:
        """The voxels as given."""
        return self.array

    def statistics(self) -> Statistics:
        """Mean, deviation and range; raises `Broken`."""
        return DECODED.get(("statistics", id(self.array)), lambda: (_Held(self.array, measured(self.array)), 0)).statistics

    def limits(self) -> tuple[float, float]:
        """Smallest and largest z-scored value; raises `Broken`."""
        return self.statistics().limits()


@dataclass(frozen=True)
class _Held:
    """Statistics of an array; as long as they are kept, no other array gets its place in memory."""

    array: np.ndarray
    statistics: Statistics


# ---------------------------------------------------------------- labels


@dataclass(frozen=True)
class LabelVolume:
    """Reads one label volume.

    Args:
        path: The file.
        frame: Of its image, on whose grid it has to lie.
        classes: Number of classes, background included.
        values: What the stored values mean.
        table: Stored value and class index, where the format has such; then `values` is not used.
        known: Where the table comes from, for messages.
    """

    path: str
    frame: Frame
    classes: int
    values: Values = field(default_factory=Values)
    table: tuple[tuple[int, int], ...] = ()
    known: str = ""

    @property
    def meaning(self) -> tuple[Any, ...]:
        """All that decides what is made of the file's bytes."""
        return ("label volume", *self.frame.size, self.classes, *self.values.told, *(number for pair in self.table for number in pair))

    def __call__(self) -> UInt8[np.ndarray, "d h w"]:
        """Class indices, 255 = unlabeled.

        Raises:
            DataError: The file is broken, does not lie on its image, or holds values that are no class.
        """
        return _or_error(self.read, self.path)

    def read(self) -> UInt8[np.ndarray, "d h w"]:
        """Class indices; raises `Broken`."""
        return self.part((slice(None),)).copy()

    def part(self, cut: tuple[slice, ...]) -> UInt8[np.ndarray, "*space"]:
        """A part, cut along z, y, x; raises `Broken`."""
        return DECODED.get((self, now((self.path,))), self._decode)[cut]

    def glance(self) -> tuple[str, str] | None:
        """What its header says is wrong with it, and what to do; raises `Broken`."""
        return mismatch(stored(self.path).header.frame, self.frame)

    def _decode(self) -> tuple[UInt8[np.ndarray, "d h w"], int]:
        array = label_values(self.path, self.frame)
        flat = array.reshape(-1, array.shape[-1])
        if self.table:
            found = looked_up(flat, dict(self.table), f"; {self.known}")
        else:
            found = indices(flat, (flat.shape[0], flat.shape[1]), self.classes, self.values)
        found = found.reshape(array.shape)
        return found, found.nbytes


def label_values(path: str, frame: Frame | None) -> Shaped[np.ndarray, "d h w"]:
    """Whole numbers out of a label volume, as stored.

    Raises:
        Broken: It does not lie on its image, has several channels, or holds fractions.
    """
    opened = stored(path)
    wrong = None if frame is None else mismatch(opened.header.frame, frame)
    if wrong:
        raise Broken(*wrong)
    if opened.header.channels != 1:
        raise Broken(f"{opened.header.channels} channels, one expected", "save class indices, one number per voxel")
    with reading(path):
        array = np.asarray(opened.voxels()[:])[0]
    if array.dtype.kind == "f" and not np.array_equal(array, np.rint(array)):
        raise Broken("holds fractions or NaN, class indices expected", "save class indices as 8-bit integers")
    flat = packed(array.reshape(-1, array.shape[-1]))
    return np.ascontiguousarray(flat).reshape(array.shape)


@dataclass(frozen=True)
class LabelVolumeArray:
    """Hands out a label volume that is in memory; fields as in `LabelVolume`."""

    array: Shaped[np.ndarray, "d h w"]
    size: tuple[int, int, int]
    classes: int
    values: Values = field(default_factory=Values)

    @property
    def meaning(self) -> tuple[Any, ...]:
        """All that decides what is made of the array."""
        return ("label volume", *self.size, self.classes, *self.values.told)

    def __call__(self) -> UInt8[np.ndarray, "d h w"]:
        """Class indices, 255 = unlabeled."""
        return self.read()

    def read(self) -> UInt8[np.ndarray, "d h w"]:
        """Class indices; raises `Broken`."""
        return self.part((slice(None),))

    def part(self, cut: tuple[slice, ...]) -> UInt8[np.ndarray, "*space"]:
        """A part, cut along z, y, x; raises `Broken`."""
        if self.array.shape != self.size:
            shapes = f"shape {self.array.shape}, its volume has {self.size}"
            raise Broken(shapes, "give each volume a label of its depth, height and width")
        part = self.array[cut]
        flat = packed(part.reshape(-1, part.shape[-1]))
        return indices(flat, (flat.shape[0], flat.shape[1]), self.classes, self.values).reshape(part.shape)


# ---------------------------------------------------------------- slices


@dataclass(frozen=True)
class Slice:
    """Reads one slice of a volume or of its label, across z.

    Args:
        volume: Reads the volume or label.
        z: Which slice.
        image: It is an image, with channels.
    """

    volume: Any
    z: int
    image: bool

    @property
    def meaning(self) -> tuple[Any, ...]:
        """All that decides what is made of the file's bytes."""
        return (*self.volume.meaning, "slice", self.z)

    @property
    def paths(self) -> tuple[str, ...]:
        """The files of the volume."""
        return getattr(self.volume, "paths", ())

    @property
    def path(self) -> str | None:
        """The file of the label."""
        return getattr(self.volume, "path", None)

    @property
    def where(self) -> str:
        """How messages call it."""
        return getattr(self.volume, "where", "")

    @property
    def array(self) -> np.ndarray:
        """What decides about its content, where the volume is in memory."""
        return self.volume.array if self.image else self.volume.array[self.z]

    def __call__(self) -> Any:
        """The slice: (c, h, w) of an image, (h, w) of a label.

        Raises:
            DataError: The volume is broken.
        """
        return _or_error(self.read, self.path or self.where)

    def read(self) -> Any:
        """The slice; raises `Broken`."""
        here = slice(self.z, self.z + 1)
        if self.image:
            return np.ascontiguousarray(self.volume.part((slice(None), here))[:, 0])
        return self.volume.part((here,))[0].copy()

    def stored(self) -> Shaped[np.ndarray, "c h w"]:
        """The pixels of an image as stored; raises `Broken`."""
        return self.volume.stored()[:, self.z]

    def limits(self) -> tuple[float, float]:
        """Of the whole volume."""
        return self.volume.limits()


def _or_error(read: Callable[[], Any], where: str) -> Any:
    try:
        return read()
    except Broken as broken:
        raise broken.error(where) from broken
