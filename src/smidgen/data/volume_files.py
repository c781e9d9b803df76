"""Files and folders that hold one volume: what their headers say, and their voxels as (c, z, y, x), read where they are cut.

NIfTI by nibabel, TIFF stacks by tifffile; OME-Zarr and series of DICOM slices stand in modules of their own and need the extra `volumes`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from smidgen.data.broken import COPY_AGAIN, EMPTY, Broken, unread
from smidgen.data.tiff import DECODING
from smidgen.data.volume_frames import MM, Frame, places_of, rows_of, three

NIFTI = (".nii", ".nii.gz")
TIFF = (".tif", ".tiff")
ZARR = (".zarr",)
SUFFIXES = (*NIFTI, *TIFF, *ZARR)
"""`.ome.zarr` ends in `.zarr`; folders of DICOM slices have no suffix."""
EXTRA = "install smidgen with the extra volumes: pip install 'smidgen[volumes]'"
GZIP_COUNTS = 1 << 32
"""A gzip file ends with the length of its content, counted so far."""
DEPTH_AXES = "ZITQR"
"""Letters that tifffile gives to an axis of pages."""


@dataclass(frozen=True)
class VolumeHeader:
    """What is known of a volume without decoding it.

    Args:
        frame: Size, spacing, and where its axes point.
        channels: How many values a voxel has.
        dtype: Type of the stored values.
    """

    frame: Frame
    channels: int
    dtype: str


@dataclass(frozen=True)
class Stored:
    """An opened volume.

    Args:
        header: What its header says.
        voxels: Gives the voxels: something of shape (c, z, y, x) that is cut by slices. Decodes what can't be read in parts.
        planes: So many planes are best read together.
    """

    header: VolumeHeader
    voxels: Callable[[], Any]
    planes: int = 1


def suffix_of(name: str) -> str:
    """What a file name ends in: `.nii.gz`, `.ome.zarr`, or what follows the last dot; "" without one."""
    for double in (".nii.gz", ".ome.zarr"):
        if name.lower().endswith(double) and len(name) > len(double):
            return name[-len(double) :]
    return Path(name).suffix


def stored(path: str) -> Stored:
    """Open a volume: its header is read, no voxel is.

    Raises:
        Broken: It is none, can't be read, or has two or four dimensions.
    """
    with reading(path):
        if Path(path).is_dir():
            if path.lower().endswith(ZARR):
                from smidgen.data.volume_zarr import stored_zarr

                return stored_zarr(path)
            from smidgen.data.volume_dicom import stored_series

            return stored_series(path)
        if Path(path).stat().st_size == 0:
            raise Broken(EMPTY, COPY_AGAIN)
        suffix = suffix_of(path).lower()
        if suffix in NIFTI:
            return _stored_nifti(path)
        if suffix in TIFF:
            return _stored_tiff(path)
    raise Broken("not a volume", f"save it as {', '.join(SUFFIXES)}, or as a folder of DICOM slices")


class reading:  # noqa: N801 (used like a function)
    """Says in words what decoders raise while a volume is read.

    Args:
        path: The file or folder.
    """

    def __init__(self, path: str):
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None or isinstance(error, Broken):
            return
        if isinstance(error, EOFError | zlib.error):
            raise Broken("ends too early, or is damaged: not all of it is there", COPY_AGAIN) from error
        if isinstance(error, ImportError):
            raise Broken(f"can't be read without {error.name}", EXTRA) from error
        if isinstance(error, (*DECODING, *_nifti_errors())):
            raise Broken(*unread(error)) from error


def _nifti_errors() -> tuple[type[Exception], ...]:
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    return (ImageFileError, HeaderDataError)


# ---------------------------------------------------------------- NIfTI


def _stored_nifti(path: str) -> Stored:
    import nibabel

    image: Any = nibabel.load(path)  # pyright: ignore[reportPrivateImportUsage]
    shape, kind = tuple(int(n) for n in image.shape), np.dtype(image.get_data_dtype())
    if kind.kind not in "biuf":
        colors = "complex numbers" if kind.kind == "c" else "colors"
        raise Broken(f"holds {colors}, one number per voxel expected", "save the magnitude" if kind.kind == "c" else "save it in gray")
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    refuse_dimensions(shape[::-1])
    affine = np.asarray(image.affine, np.float64)
    places = places_of(affine)
    names = str(image.header.get_xyzt_units()[0])
    unit = {"micron": 1e-3, "meter": 1e3}.get(names, 1.0)
    sides = np.linalg.norm(affine[:3, :3], axis=0) * unit
    spacing = three(float(round(sides[axis], 6 if unit == 1 else 9)) for axis, _ in places[::-1])
    coded = int(image.header["sform_code"]) > 0 or int(image.header["qform_code"]) > 0
    # Programs that know no spacing write 1 x 1 x 1: in voxels, distances are the same then.
    trusted = coded and spacing != (1.0, 1.0, 1.0)
    size = three(shape[axis] for axis, _ in places[::-1])
    frame = Frame("nifti", size, spacing, trusted, rows_of(affine), bytes(image.header.binaryblock))

    def voxels() -> np.ndarray:
        with reading(path):
            proxy = image.dataobj
            scaled = (proxy.slope, proxy.inter) != (1.0, 0.0)
            array = np.asarray(proxy, np.float32) if scaled else np.asanyarray(proxy)
            return frame.canonical(array.reshape(shape))[None]

    return Stored(VolumeHeader(frame, 1, kind.name), voxels)


def is_whole(path: str) -> bool:
    """The file is as long as its NIfTI header says; False where it may not be, True for all other formats. Nothing is decoded.

    Raises:
        Broken: The header can't be read.
    """
    if suffix_of(path).lower() not in NIFTI:
        return True
    import nibabel

    with reading(path):
        image: Any = nibabel.load(path)  # pyright: ignore[reportPrivateImportUsage]
        wanted = int(image.dataobj.offset) + int(np.prod(image.shape)) * np.dtype(image.get_data_dtype()).itemsize
        with Path(path).open("rb") as file:
            length = file.seek(0, 2)
            if not path.lower().endswith(".gz"):
                return length >= wanted
            file.seek(max(0, length - 4))
            return int.from_bytes(file.read(4), "little") == wanted % GZIP_COUNTS
    return False


def refuse_dimensions(shape: tuple[int, ...]) -> None:
    """Raises `Broken` where a volume has not three dimensions; `shape` with the depth first."""
    if len(shape) < 3:
        raise Broken(
            f"is a 2D image of {' x '.join(map(str, shape))} pixels, a volume expected", "put 2D images into images/, not volumes/"
        )
    if len(shape) > 3:
        what = f"has {len(shape)} dimensions ({' x '.join(map(str, shape))}), a volume has three"
        raise Broken(what, "save one file per point in time; one file per channel is read in the form of nnU-Net")
    if 0 in shape:
        raise Broken("has no voxels", COPY_AGAIN)


# ---------------------------------------------------------------- TIFF stacks


def _stored_tiff(path: str) -> Stored:
    import tifffile  # costs 0.1 s

    with tifffile.TiffFile(path) as file:
        if not file.series:
            raise Broken("holds no image", COPY_AGAIN)
        series: Any = file.series[0]
        shape, axes, kind = tuple(int(n) for n in series.shape), str(series.axes), np.dtype(series.dtype).name
        spacing = _tiff_spacing(file)
        apart = len(file.series) > 1 and axes == "YX" and len({(one.shape, one.axes, one.dtype) for one in file.series}) == 1
        if apart:  # planes that were appended one by one
            shape, axes = (len(file.series), *shape), "ZYX"
        whole = series.dataoffset is not None and not apart
    deep = [i for i, letter in enumerate(axes) if letter in DEPTH_AXES]
    colors = [i for i, letter in enumerate(axes) if letter in "CS"]
    if len(deep) != 1 or len(colors) > 1 or len(shape) != 3 + len(colors):
        refuse_dimensions(shape if len(deep) > 1 else tuple(shape[axes.index(letter)] for letter in "YX"))
    order = [*colors, deep[0], axes.index("Y"), axes.index("X")]
    size = three(shape[i] for i in order[-3:])
    frame = Frame("tiff", size, spacing, spacing is not None)

    def voxels() -> np.ndarray:
        with reading(path):
            if apart:
                array = tifffile.imread(path, key=range(shape[0]))
            else:
                array = tifffile.memmap(path, mode="r") if whole else tifffile.imread(path, series=0)
            if array.size != np.prod(shape):
                raise Broken("holds fewer planes than it says", COPY_AGAIN)
            turned = array.reshape(shape).transpose(order)
            return turned if colors else turned[None]

    return Stored(VolumeHeader(frame, shape[colors[0]] if colors else 1, kind), voxels)


def _tiff_spacing(file: Any) -> tuple[float, float, float] | None:
    """Distances that OME or ImageJ wrote, with their unit; plain TIFF knows none between planes."""
    if file.is_ome:
        return _ome_spacing(str(file.ome_metadata or ""))
    known = file.imagej_metadata or {}
    unit = MM.get(str(known.get("unit", "")).casefold())
    tags = file.pages.first.tags
    across, down = (tags.valueof(name) for name in ("XResolution", "YResolution"))
    if unit is None or not known.get("spacing") or not across or not down or 0 in (*across, *down):
        return None
    return (abs(float(known["spacing"])) * unit, down[1] / down[0] * unit, across[1] / across[0] * unit)


def _ome_spacing(text: str) -> tuple[float, float, float] | None:
    import tifffile

    try:
        image = tifffile.xml2dict(text)["OME"]["Image"]
        pixels = (image[0] if isinstance(image, list) else image)["Pixels"]
        found = [float(pixels[f"PhysicalSize{axis}"]) * MM[str(pixels.get(f"PhysicalSize{axis}Unit", "µm")).casefold()] for axis in "ZYX"]
    except (KeyError, TypeError, ValueError, SyntaxError):
        return None
    return (found[0], found[1], found[2]) if min(found) > 0 else None


def affine_of(spacing: tuple[float, ...]) -> Float[np.ndarray, "4 4"]:
    """A matrix that knows nothing but the spacing (z, y, x)."""
    return np.diag([*spacing[::-1], 1.0])
