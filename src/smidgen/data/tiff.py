"""TIFF files that Pillow would take bits or channels away from: read by tifffile, pages and planes put together to one image."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from smidgen.data.broken import COPY_AGAIN, EMPTY, Broken, unread

READING = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What decoders raise on broken files."""
DECODING = (*READING, RuntimeError)
"""What those of tifffile raise."""
NO_FURTHER_IMAGE = 1 | 4
"""TIFF tag NewSubfileType (254): the same image with less resolution, or its mask."""
ALPHA = frozenset({1, 2})
"""TIFF tag ExtraSamples: associated and unassociated alpha."""
DESCRIPTION = 270
"""TIFF tag in which ImageJ and OME write how many channels the pages are."""
DEPTH = 32997
"""TIFF tag ImageDepth: planes of a grid of voxels."""
GDAL_NODATA = 42113
"""TIFF tag of geographic data: the value of pixels without data, as text."""


def page_of(path: str, every: bool, decode: bool, most: int) -> tuple[Any, Any]:
    """A TIFF by tifffile.

    Args:
        path: The file.
        every: Alpha and pages are channels like others.
        decode: False: only the shape is wanted.
        most: More values are refused before they are decoded.

    Returns:
        A (h, w, c) array without alpha, or its shape; and the first page.

    Raises:
        Broken: It can't be read, or is a stack.
    """
    import tifffile  # costs 0.1 s, and only few TIFFs need it

    try:
        with tifffile.TiffFile(path) as file:
            pages = pages_of(file)
            page: Any = file.pages.first
            refuse_stack(len(pages), every or channels_said(str(page.description)) == len(pages))
            array: Any = _stacked(pages, decode, most) if len(pages) > 1 else _decoded(page, decode, most)
    except Broken:
        raise
    except DECODING as error:
        raise Broken(*(_deep_unread(path, error))) from error
    if array is None:
        raise Broken(f"{int(np.prod(page.shape))} values, more than {most}", "cut it into tiles")
    array = array[..., None] if array.ndim == 2 else np.moveaxis(array, 0, -1) if page.axes.startswith("S") else array
    array = array[..., :-1] if drops_alpha(page, array.shape[-1], every) else array
    if not decode:
        return array.shape, page
    return (array[..., 0] if array.shape[-1] == 1 else array), page


def pages_of(file: Any) -> list[Any]:
    """The pages of an open file that are images of their own."""
    return [page for page in file.pages if not int(page.tags.valueof(254, 0)) & NO_FURTHER_IMAGE]


def drops_alpha(page: Any, samples: int, every: bool) -> bool:
    """Whether the last of so many channels of a page is alpha that does not count."""
    return not every and samples in (2, 4) and len(page.extrasamples) == 1 and int(page.extrasamples[0]) in ALPHA


def _decoded(page: Any, decode: bool, most: int) -> np.ndarray | None:
    """The pixels, or something of their shape; None of too many."""
    return page.asarray() if decode else np.empty(page.shape, np.uint8) if np.prod(page.shape) <= most else None


def _stacked(pages: Sequence[Any], decode: bool, most: int) -> np.ndarray | None:
    """Pages as the channels of one image."""
    kinds = {(page.shape, str(page.dtype)) for page in pages}
    if len(kinds) > 1 or len(pages[0].shape) != 2:
        shown = " and ".join(f"{shape} of {kind}" for shape, kind in sorted(kinds))
        raise Broken(f"pages of {shown}, gray ones of one size and type expected", "save one file per page")
    planes = [_decoded(page, decode, most) for page in pages] if len(pages) * np.prod(pages[0].shape) <= most else [None]
    return None if any(plane is None for plane in planes) else np.stack(planes, axis=-1)  # pyright: ignore[reportArgumentType, reportCallIssue]


def _deep_unread(path: str, error: Exception) -> tuple[str, str]:
    if Path(path).stat().st_size == 0:
        return (EMPTY, COPY_AGAIN)
    if "imagecodecs" not in str(error):
        return unread(error)
    return ("compressed in a way that needs the package imagecodecs", "install imagecodecs, or save it without compression")


def upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation (TIFF 6.0, tag 274)."""
    flipped = {2: array[:, ::-1], 3: array[::-1, ::-1], 4: array[::-1], 5: array.swapaxes(0, 1)}
    turned = {6: np.rot90(array, -1), 7: array[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(array)}
    return np.ascontiguousarray((flipped | turned).get(orientation, array))


def refuse_stack(pages: int, channels: bool) -> None:
    """Several pages are one image only where they are its channels; raises `Broken`."""
    if pages > 1 and not channels:
        remedy = "save one file per page, or write `channels: all` into dataset.yaml if the pages are channels of one image"
        raise Broken(f"a stack of {pages} pages, one image expected", remedy)


def planes_said(description: str, shape: tuple[int, ...], depth: int) -> int:
    """How many planes one page stands for: tifffile and ImageJ can write a stack without a page for each, others a grid of voxels.

    Args:
        description: What stands in the tag ImageDescription.
        shape: Height, width and channels of the page.
        depth: What stands in the tag ImageDepth (32997).
    """
    said = re.match(r'\{"shape": \[([\d, ]+)\]', description)
    images = re.search(r"^images=(\d+)$", description, re.MULTILINE) if description.startswith("ImageJ=") else None
    values = np.prod([int(n) for n in said[1].split(",")], dtype=object) if said else 0
    return max(1, depth, int(images[1]) if images else 1, int(values // max(1, int(np.prod(shape)))))


def channels_said(description: str) -> int:
    """How many channels the pages are as ImageJ or OME wrote it; 0 where nobody did."""
    pattern = r'SizeC="(\d+)"' if "<OME" in description else r"^channels=(\d+)$" if description.startswith("ImageJ=") else None
    found = re.search(pattern, description, re.MULTILINE) if pattern else None
    return int(found[1]) if found else 0
