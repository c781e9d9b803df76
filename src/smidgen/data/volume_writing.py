"""Label volumes on disk: in the format, orientation and affine of their image, whole or strip by strip."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Shaped

from smidgen.core.codec import unwritable, write_atomically
from smidgen.core.errors import ShapeError
from smidgen.data.volume_files import NIFTI, TIFF, ZARR, affine_of, suffix_of
from smidgen.data.volume_frames import Frame

WRITTEN = (*NIFTI, *TIFF, *ZARR)
UM = 1e-3
"""Millimeters in the unit that ImageJ is told."""


def label_path(path: str | Path, frame: Frame) -> Path:
    """Where a label is written: the path itself if it ends in what can be written, else with the suffix of its image's format."""
    path = Path(path)
    return path if suffix_of(path.name).lower().endswith(WRITTEN) else path.with_name(path.name + frame.suffix)


def write_label(path: str | Path, label: Shaped[np.ndarray, "d h w"], frame: Frame) -> Path:
    """Write voxels in the format that the path ends in (.nii, .nii.gz, .tif, .zarr), on the grid of their image.

    A NIfTI file gets the affine and the orientation of its image, exactly, and the first voxel of the image's file is its first one.

    Args:
        path: File to write, or its name without suffix; its folder is made.
        label: Class indices, or other numbers, along z, y, x.
        frame: Of the image.

    Returns:
        The file.

    Raises:
        ShapeError: The label has not the size of the image.
        WriteError: The disk is full, or the place may not be written to.
    """
    with LabelWriter(path, frame, label.dtype) as writer:
        writer.write(label)
    return writer.path


class LabelWriter:
    """Writes a label volume in strips along z, from the first plane to the last; nothing has the final name before all is there.

    Zarr arrays go to the disk strip by strip; other formats are held in memory until the last one.

    Args:
        path: File to write, or its name without suffix; its folder is made.
        frame: Of the image.
        dtype: Of the values.

    Example:
        >>> import tempfile
        >>> frame = Frame("tiff", (4, 5, 6))
        >>> with tempfile.TemporaryDirectory() as folder, LabelWriter(f"{folder}/a", frame) as writer:
        ...     writer.write(np.zeros((3, 5, 6), np.uint8))
        ...     writer.write(np.ones((1, 5, 6), np.uint8))
        >>> writer.path.name
        'a.tif'
    """

    def __init__(self, path: str | Path, frame: Frame, dtype: Any = np.uint8):
        self.path, self.frame, self.dtype = label_path(path, frame), frame, np.dtype(dtype)
        self.done = 0
        self._missing = math.prod(frame.size)
        self._part = self.path.with_name(f".{os.getpid()}.part.{self.path.name}")
        self._target: Any = None

    def __enter__(self) -> LabelWriter:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self._streamed:
                from smidgen.data.volume_zarr import new_array

                self._target = new_array(self._part, self.frame, self.dtype, self.path.name)
            else:
                self._target = np.empty(self.frame.size, self.dtype)
        except OSError as error:
            raise unwritable(self.path, error) from error
        return self

    @property
    def _streamed(self) -> bool:
        return self.path.name.lower().endswith(ZARR)

    def write(self, strip: Shaped[np.ndarray, "s h w"]) -> None:
        """Write the next planes.

        Raises:
            ShapeError: They have another height and width than the image, or are too many.
            WriteError: The disk is full.
        """
        stop = self.done + len(strip)
        if tuple(strip.shape[1:]) != self.frame.size[1:] or stop > self.frame.size[0]:
            raise ShapeError(f"{self.path}: planes {self.done} to {stop} of {strip.shape[1:]} do not fit the image of {self.frame.size}")
        try:
            self._target[self.done : stop] = strip
        except OSError as error:
            raise unwritable(self.path, error) from error
        self.done = stop
        self._missing -= strip.size

    def place(self, block: Shaped[np.ndarray, "s r w"], planes: slice, rows: slice) -> None:
        """Write some rows of some planes, in any order; each once.

        Raises:
            ShapeError: They do not lie in the image.
            WriteError: The disk is full.
        """
        size = (planes.stop - planes.start, rows.stop - rows.start, self.frame.size[2])
        if tuple(block.shape) != size or planes.stop > self.frame.size[0] or rows.stop > self.frame.size[1]:
            raise ShapeError(f"{self.path}: a block of {block.shape} at {planes}, {rows} does not fit the image of {self.frame.size}")
        try:
            self._target[planes, rows] = block
        except OSError as error:
            raise unwritable(self.path, error) from error
        self._missing -= block.size

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is None and self._missing > 0:
                raise ShapeError(f"{self.path}: {self.done} planes were written, the image has {self.frame.size[0]}")
            if error is None:
                self._finish()
        finally:
            self._target = None
            if self._streamed:
                shutil.rmtree(self._part, ignore_errors=True)

    def _finish(self) -> None:
        if not self._streamed:
            fill = _nifti if suffix_of(self.path.name).lower() in NIFTI else _tiff
            write_atomically(self.path, lambda part: fill(part, self._target, self.frame))
            return
        try:
            if self.path.exists():
                shutil.rmtree(self.path)
            self._part.rename(self.path)
        except OSError as error:
            raise unwritable(self.path, error) from error


def _nifti(path: Path, label: Shaped[np.ndarray, "d h w"], frame: Frame) -> None:
    """A NIfTI file with the header of its image as far as that is about where voxels lie."""
    import nibabel

    kinds: Any = nibabel  # its names are re-exported without saying so
    kind = kinds.Nifti2Image if len(frame.header) == kinds.Nifti2Header.sizeof_hdr else kinds.Nifti1Image
    header = kind.header_class(frame.header) if frame.header else kind.header_class()
    if not frame.header:
        header.set_xyzt_units("mm")
    header.set_data_dtype(label.dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0  # the image's window is none for labels
    header["descrip"] = b""
    affine = np.array(frame.affine) if frame.affine is not None else affine_of(frame.spacing_mm or (1.0, 1.0, 1.0))
    image = kind(np.ascontiguousarray(frame.stored(label)), affine, header)
    if not frame.header:
        image.set_qform(affine, code=1)
    kinds.save(image, path)


def _tiff(path: Path, label: Shaped[np.ndarray, "d h w"], frame: Frame) -> None:
    """A TIFF stack that ImageJ opens with its spacing."""
    import tifffile

    spacing = frame.spacing_mm if frame.trusted else None
    about: dict[str, Any] = {"axes": "ZYX"}
    resolution = None
    if spacing:
        about |= {"spacing": spacing[0] / UM, "unit": "um"}
        resolution = (UM / spacing[2], UM / spacing[1])
    imagej = label.dtype.name in ("uint8", "uint16", "float32")
    tifffile.imwrite(path, label, imagej=imagej, resolution=resolution, metadata=about, compression="zlib", photometric="minisblack")
