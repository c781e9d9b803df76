"""The frame of a volume: how its voxels lie in the file and in space, and how they are turned into (z, y, x) and back exactly.

Inside, the axes of every volume are z, y, x with x to the right, y to the front and z to the head, as far as the file says where these are
(RAS+, in the order that arrays have elsewhere). TIFF stacks and Zarr arrays say nothing of the kind and stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from jaxtyping import Float, Shaped

from smidgen.data.broken import Broken

Kind = Literal["nifti", "tiff", "zarr", "dicom", "array"]
KINDS = {"nifti": "NIfTI", "tiff": "TIFF", "zarr": "OME-Zarr", "dicom": "DICOM", "array": "array"}
"""What people call them."""
SUFFIXES = {"nifti": ".nii.gz", "tiff": ".tif", "zarr": ".ome.zarr", "dicom": ".nii.gz", "array": ".nii.gz"}
"""What files that are written for such a volume end in; a series of DICOM slices gets NIfTI labels."""
TOLERANCE = 0.01
"""Frames whose corners differ by less than this share of a voxel's shortest side are the same: programs round."""
MM = {
    "nm": 1e-6,
    "nanometer": 1e-6,
    "µm": 1e-3,
    "μm": 1e-3,
    "um": 1e-3,
    "\\u00b5m": 1e-3,
    "micron": 1e-3,
    "microns": 1e-3,
    "micrometer": 1e-3,
    "mm": 1.0,
    "millimeter": 1.0,
    "cm": 10.0,
    "centimeter": 10.0,
    "m": 1e3,
    "meter": 1e3,
    "inch": 25.4,
    "angstrom": 1e-7,
}
"""Millimeters in a unit, as formats call it."""

Number = TypeVar("Number", int, float)
Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Frame:
    """How a volume lies in its file and in space; travels to loader workers, and to what is written for the volume.

    Args:
        kind: Format of the file.
        size: Planes, rows and columns inside: (d, h, w).
        spacing_mm: Distance between voxels along z, y and x; None where the file says nothing.
        trusted: The file states the spacing, with its unit.
        affine: Rows of the matrix that takes voxel indices in the file's order (x, y, z) to millimeters to the right, front and head; None
            where the file has none.
        header: NIfTI header of the file, from which that of a label is made.
        zarr_format: Of a Zarr array that is written beside this one.
    """

    kind: Kind
    size: tuple[int, int, int]
    spacing_mm: tuple[float, float, float] | None = None
    trusted: bool = False
    affine: Rows | None = None
    header: bytes = b""
    zarr_format: int = 2

    @property
    def suffix(self) -> str:
        """What a file that is written for this volume ends in."""
        return SUFFIXES[self.kind]

    @property
    def orientation(self) -> str:
        """Where the axes of the file point, in its order, like "LPS"; "" where the file does not say."""
        if self.affine is None:
            return ""
        import nibabel

        return "".join(nibabel.aff2axcodes(np.array(self.affine)))  # pyright: ignore[reportPrivateImportUsage]

    def canonical(self, stored: Shaped[np.ndarray, "x y z"]) -> Shaped[np.ndarray, "d h w"]:
        """Voxels in the file's order as (z, y, x); a view."""
        if self.affine is None:
            return stored.transpose(2, 1, 0)
        turned = stored.transpose([axis for axis, _ in self._places])
        return turned[tuple(slice(None, None, sign) for _, sign in self._places)].transpose(2, 1, 0)

    def stored(self, canonical: Shaped[np.ndarray, "d h w"]) -> Shaped[np.ndarray, "x y z"]:
        """Voxels as (z, y, x) in the order of the file: `canonical` backwards, exactly; a view."""
        turned = canonical.transpose(2, 1, 0)
        if self.affine is None:
            return turned
        turned = turned[tuple(slice(None, None, sign) for _, sign in self._places)]
        return turned.transpose(np.argsort([axis for axis, _ in self._places]))

    @property
    def canonical_affine(self) -> Float[np.ndarray, "4 4"] | None:
        """Takes indices (x, y, z) of the turned voxels to millimeters; None where the file has no frame."""
        if self.affine is None:
            return None
        affine, found = np.array(self.affine), np.eye(4)
        sizes = [self.size[2 - axis] for axis in range(3)]
        found[:3, 3] = affine[:3, 3]
        for new, (axis, sign) in enumerate(self._places):
            found[:3, new] = sign * affine[:3, axis]
            found[:3, 3] += affine[:3, axis] * (sizes[new] - 1) * (sign < 0)
        return found

    @property
    def _places(self) -> list[tuple[int, int]]:
        """For right, front and head: the axis of the file, and 1 or -1."""
        return places_of(np.array(self.affine))


def places_of(affine: Float[np.ndarray, "4 4"]) -> list[tuple[int, int]]:
    """Which axis of the file runs nearest to right, front and head, and whether it runs that way (1) or the other (-1).

    Raises:
        Broken: The matrix is singular.
    """
    import nibabel

    found = nibabel.io_orientation(affine)  # pyright: ignore[reportPrivateImportUsage]
    if not np.isfinite(affine).all() or np.isnan(found).any() or abs(np.linalg.det(affine[:3, :3])) == 0:
        raise Broken("its affine has no volume, so nobody knows where its axes point", "write it anew with a whole affine")
    order = np.argsort(found[:, 0])
    return [(int(axis), int(found[axis, 1])) for axis in order]


def three(values: Iterable[Number]) -> tuple[Number, Number, Number]:
    """Three values, along z, y and x."""
    z, y, x = values
    return z, y, x


def rows_of(affine: Float[np.ndarray, "4 4"]) -> Rows:
    """A matrix as plain numbers, which compare and travel."""
    return tuple(tuple(float(value) for value in row) for row in affine)


def mismatch(label: Frame, image: Frame) -> tuple[str, str] | None:
    """What is wrong, and what to do, where a label does not lie on its image voxel by voxel; None where it does.

    A label of another kind than a DICOM series is compared in space, any other one also in the order of the file.
    """
    if label.size != image.size:
        sizes = [" x ".join(map(str, one.size)) for one in (label, image)]
        return f"{sizes[0]} voxels (z, y, x), its image has {sizes[1]}", "export it on the grid of the image; nothing is resampled here"
    if label.kind != image.kind and (label.kind, image.kind) != ("nifti", "dicom"):
        what = f"is {KINDS[label.kind]}, its image is {KINDS[image.kind]}: nobody knows whether their axes point the same way"
        return what, f"save the label as {KINDS[image.kind]}, too" if image.kind != "dicom" else "save the label as NIfTI"
    if wrong := _spacing_mismatch(label, image):
        return wrong
    if label.affine is None or image.affine is None:
        return None
    across = label.kind != image.kind
    if not across and label.orientation != image.orientation:
        what = f"its axes point {label.orientation}, those of its image {image.orientation}"
        return what, "save it again with the orientation and affine of its image"
    mine, other = (one.canonical_affine if across else np.array(one.affine) for one in (label, image))
    assert mine is not None and other is not None
    off = _farthest(mine, other, image.size)
    if off <= TOLERANCE * float(np.linalg.norm(other[:3, :3], axis=0).min()):
        return None
    what = f"its affine puts voxels up to {off:.3g} mm beside those of its image"
    return what, "resample it to the grid of the image, or copy the image's affine if only the header is wrong"


def _spacing_mismatch(label: Frame, image: Frame) -> tuple[str, str] | None:
    """Spacings differ, where both are stated."""
    if label.spacing_mm is None or image.spacing_mm is None or np.allclose(label.spacing_mm, image.spacing_mm, rtol=1e-3, atol=0):
        return None
    if label.affine is None and not (label.trusted and image.trusted):
        return None
    told = [told_spacing(one.spacing_mm) for one in (label, image)]
    return f"spacing {told[0]} (z, y, x), its image has {told[1]}", "export it on the grid of the image; nothing is resampled here"


def _farthest(mine: Float[np.ndarray, "4 4"], other: Float[np.ndarray, "4 4"], size: tuple[int, int, int]) -> float:
    """By how much the same corner of two grids differs at most, mm."""
    corners = np.array([[x, y, z, 1] for x in (0, size[2] - 1) for y in (0, size[1] - 1) for z in (0, size[0] - 1)])
    return float(np.linalg.norm((corners @ (mine - other).T)[:, :3], axis=1).max())


def told_spacing(spacing_mm: tuple[float, ...] | None) -> str:
    """A spacing for people: along z, y, x."""
    return "unknown" if spacing_mm is None else " x ".join(f"{one:.4g}" for one in spacing_mm) + " mm"
