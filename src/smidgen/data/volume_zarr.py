"""OME-Zarr: arrays in chunks, read where they are cut and written strip by strip, so that they never have to be in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from smidgen.data.broken import Broken
from smidgen.data.volume_files import Stored, VolumeHeader, refuse_dimensions
from smidgen.data.volume_frames import MM, Frame, three

CHUNK = (16, 256, 256)
"""Voxels in a chunk of what is written (z, y, x): 1 MB of labels."""
DEFAULT_AXES = "tczyx"
"""Of versions of the format that do not name them."""
TABLES = (".zattrs", ".zgroup", ".zarray", "zarr.json")


def stored_zarr(path: str) -> Stored:
    """Open the full resolution of an OME-Zarr image, or a plain array of z, y, x or c, z, y, x."""
    import zarr

    if not any((Path(path) / name).is_file() for name in TABLES):
        raise Broken("is no Zarr array: none of its tables is there", "copy the whole folder again from its source")
    node: Any = zarr.open(path, mode="r")
    axes, spacing, trusted = "", None, False
    if isinstance(node, zarr.Group):
        scales = _multiscales(node)
        node = _array(node, scales)
        axes = _axes(scales, node.ndim)
        spacing, trusted = _spacing(scales, axes)
    shape = tuple(int(n) for n in node.shape)
    axes = axes or ("zyx" if len(shape) == 3 else "czyx" if len(shape) == 4 else DEFAULT_AXES[-len(shape) :])
    if len(axes) != len(shape) or not {"y", "x"} <= set(axes):
        raise Broken(f"its axes are {', '.join(axes)}, its shape is {shape}", "correct the axes in its table (multiscales)")
    moments = [shape[i] for i, axis in enumerate(axes) if axis not in "czyx"]
    size = tuple(shape[axes.index(axis)] for axis in "zyx" if axis in axes)
    refuse_dimensions((*(n for n in moments if n > 1), *size))
    frame = Frame("zarr", three(size), spacing, trusted, zarr_format=int(node.metadata.zarr_format))
    channels = shape[axes.index("c")] if "c" in axes else 1
    chunks = getattr(node, "shards", None) or node.chunks
    return Stored(VolumeHeader(frame, channels, np.dtype(node.dtype).name), lambda: Voxels(node, axes), int(chunks[axes.index("z")]))


class Voxels:
    """An array on disk as (c, z, y, x), cut by slices.

    Args:
        array: The Zarr array.
        axes: A letter for each of its axes.
    """

    ndim = 4

    def __init__(self, array: Any, axes: str):
        self._array, self._axes = array, axes
        self.shape = tuple(int(array.shape[axes.index(letter)]) if letter in axes else 1 for letter in "czyx")
        self.dtype = array.dtype

    def __getitem__(self, place: slice | tuple[slice, ...]) -> np.ndarray:
        """A part, decoded."""
        place = place if isinstance(place, tuple) else (place,)
        cut = dict(zip("czyx", (*place, *[slice(None)] * (4 - len(place))), strict=True))
        part = np.asarray(self._array[tuple(cut.get(letter, 0) for letter in self._axes)])
        order = [letter for letter in self._axes if letter in "czyx"]
        part = part.transpose([order.index(letter) for letter in "czyx" if letter in order])
        return part if "c" in order else part[None][cut["c"]]


def _multiscales(group: Any) -> dict[str, Any]:
    attributes = dict(group.attrs)
    found = attributes.get("ome", attributes).get("multiscales")
    if not isinstance(found, list) or not found or not found[0].get("datasets"):
        raise Broken("is a Zarr group without multiscales, no OME-Zarr image", "write it as OME-Zarr, or give the path of the array in it")
    return found[0]


def _array(group: Any, scales: dict[str, Any]) -> Any:
    name = str(scales["datasets"][0]["path"])
    if ".." in Path(name).parts or Path(name).is_absolute():
        raise Broken(f"names an array outside of itself: {name}", "correct its table (multiscales)")
    try:
        return group[name]
    except KeyError as error:
        raise Broken(f"there is no array {name}, which its table names", "copy the whole folder again from its source") from error


def _axes(scales: dict[str, Any], dimensions: int) -> str:
    axes = scales.get("axes") or list(DEFAULT_AXES[-dimensions:])
    return "".join(str(axis["name"] if isinstance(axis, dict) else axis)[:1].casefold() for axis in axes)


def _spacing(scales: dict[str, Any], axes: str) -> tuple[tuple[float, float, float] | None, bool]:
    """Distances along z, y, x, and whether their unit is stated; in millimeters where it is not."""
    factors = np.ones(len(axes))
    scaled = False
    for change in (*scales["datasets"][0].get("coordinateTransformations", ()), *scales.get("coordinateTransformations", ())):
        if change.get("type") == "scale" and len(change.get("scale", ())) == len(axes):
            factors, scaled = factors * np.asarray(change["scale"], np.float64), True
    named = {str(axis["name"])[:1].casefold(): axis.get("unit") for axis in scales.get("axes", ()) if isinstance(axis, dict)}
    units = [MM.get(str(named.get(axis, "")).casefold()) for axis in "zyx"]
    if not scaled or "z" not in axes or not (factors > 0).all():
        return None, False
    found = [float(factors[axes.index(axis)]) * (unit or 1.0) for axis, unit in zip("zyx", units, strict=True)]
    return (found[0], found[1], found[2]), None not in units


def new_array(path: Path, frame: Frame, dtype: np.dtype, name: str) -> Any:
    """A new OME-Zarr image of one resolution, to be filled by slices along z, y and x.

    Args:
        path: New folder.
        frame: Size, spacing, and version of Zarr.
        dtype: Of the voxels.
        name: Of the image.
    """
    import zarr

    group = zarr.open_group(path, mode="w", zarr_format=2 if frame.zarr_format == 2 else 3)
    chunks = tuple(min(most, n) for most, n in zip(CHUNK, frame.size, strict=True))
    unit = {"unit": "millimeter"} if frame.trusted else {}
    axes = [{"name": axis, "type": "space", **unit} for axis in "zyx"]
    scale = [{"type": "scale", "scale": list(frame.spacing_mm or (1.0, 1.0, 1.0))}]
    scales = {"name": name, "axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    if frame.zarr_format == 2:
        group.attrs["multiscales"] = [scales | {"version": "0.4"}]
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [scales]}
    separator: dict[str, Any] = {"chunk_key_encoding": {"name": "v2", "separator": "/"}} if frame.zarr_format == 2 else {}
    return group.create_array("0", shape=frame.size, chunks=chunks, dtype=dtype, fill_value=0, **separator)
