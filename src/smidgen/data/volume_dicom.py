"""Series of DICOM slices, one folder per volume, sorted by where they lie: headers by pydicom, pixels by SimpleITK's series reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from smidgen.data.broken import COPY_AGAIN, Broken
from smidgen.data.volume_files import Stored, VolumeHeader, reading
from smidgen.data.volume_frames import Frame, places_of, rows_of, three

MARK, MARK_AT = b"DICM", 128
"""What stands in a DICOM file, and where."""
TAGS = (
    "SeriesInstanceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "NumberOfFrames",
    "PixelRepresentation",
    "BitsAllocated",
)
UNEVEN = 0.01
"""Distances between slices that differ by more than this share mean that slices are missing."""
TURN = np.diag([-1.0, -1.0, 1.0, 1.0])
"""DICOM counts to the left and to the back, NIfTI to the right and to the front."""


def is_dicom(path: Path) -> bool:
    """The file has DICOM's mark."""
    try:
        with path.open("rb") as file:
            return file.read(MARK_AT + len(MARK))[MARK_AT:] == MARK
    except OSError:
        return False


def is_series(folder: Path) -> bool:
    """The folder holds DICOM files: its first file that is not hidden is one."""
    first = next((path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")), None)
    return first is not None and is_dicom(first)


def stored_series(path: str) -> Stored:
    """Open a folder of slices."""
    import pydicom

    files = [file for file in sorted(Path(path).iterdir()) if is_dicom(file)]
    if not files:
        raise Broken("holds no DICOM slices", "put the .dcm files of one series into it")
    slices = [(str(file), pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(TAGS))) for file in files]
    _refuse(slices)
    first = slices[0][1]
    across, down = (np.array(first.ImageOrientationPatient[i : i + 3], np.float64) for i in (0, 3))
    normal = np.cross(across, down)
    slices.sort(key=lambda one: float(np.dot(normal, np.array(one[1].ImagePositionPatient, np.float64))))
    places = np.array([one.ImagePositionPatient for _, one in slices], np.float64)
    step = _step(places, normal)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = across * float(first.PixelSpacing[1]), down * float(first.PixelSpacing[0])
    affine[:3, 2], affine[:3, 3] = step, places[0]
    affine = TURN @ affine
    turned = places_of(affine)
    shape = (int(first.Columns), int(first.Rows), len(slices))
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    size = three(shape[axis] for axis, _ in turned[::-1])
    spacing = three(float(round(sides[axis], 6)) for axis, _ in turned[::-1])
    frame = Frame("dicom", size, spacing, len(slices) > 1, rows_of(affine))
    names = [file for file, _ in slices]
    kind = f"{'' if getattr(first, 'PixelRepresentation', 0) else 'u'}int{getattr(first, 'BitsAllocated', 16)}"
    return Stored(VolumeHeader(frame, 1, kind), lambda: _voxels(path, names, frame))


def _voxels(path: str, names: list[str], frame: Frame) -> np.ndarray:
    import SimpleITK as sitk  # noqa: N813 (what everybody calls it)

    with reading(path):
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(names)
        array = sitk.GetArrayFromImage(reader.Execute())
        return frame.canonical(array.transpose(2, 1, 0))[None]


def _refuse(slices: list[tuple[str, Any]]) -> None:
    """Raises `Broken` where the files are not one series of plain gray slices."""
    name, first = slices[0]
    missing = [tag for tag in TAGS[1:6] if any(tag not in one for _, one in slices)]
    if missing:
        raise Broken(
            f"slices without {', '.join(missing)}, so nobody knows where they lie", "export the series again, or convert it to NIfTI"
        )
    series = {str(getattr(one, "SeriesInstanceUID", "")) for _, one in slices}
    if len(series) > 1:
        raise Broken(f"holds {len(series)} DICOM series, one expected", "put each series into a folder of its own")
    grids = {(int(one.Rows), int(one.Columns), *np.round([*one.ImageOrientationPatient, *one.PixelSpacing], 4)) for _, one in slices}
    if len(grids) > 1:
        raise Broken("its slices differ in size, spacing or direction", "leave out localizers, or convert it to NIfTI")
    if int(getattr(first, "NumberOfFrames", 1) or 1) > 1 or int(getattr(first, "SamplesPerPixel", 1)) > 1:
        raise Broken(f"{Path(name).name} holds several frames or colors", "convert it to NIfTI")


def _step(places: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """From one slice to the next."""
    if len(places) == 1:
        return normal
    steps = np.diff(places, axis=0)
    along = steps @ normal
    if along.min() <= 1e-6:
        raise Broken("two slices lie at the same place", "leave out repeated slices, or give each point in time a folder")
    if along.max() - along.min() > UNEVEN * float(np.median(along)):
        gap = int(along.argmax()) + 1
        what = f"its slices are not evenly spaced ({along.min():.3g} to {along.max():.3g} mm, the largest gap after slice {gap})"
        raise Broken(what, f"{COPY_AGAIN}; slices are missing")
    return steps.mean(axis=0)
