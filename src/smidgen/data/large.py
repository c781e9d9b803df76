"""Images that are too large to be decoded as a whole: read by bands of rows, and cut by slices like an array.

How much of a file has to be in memory depends on its format: of a TIFF (uncompressed, or deflated in strips or tiles) the rows at hand, of
PNG, JPEG and other TIFFs all pixels as they are stored, but never as floating-point numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped
from PIL import Image

from smidgen.core.conventions import ValueRange
from smidgen.data.broken import Broken, unread
from smidgen.data.images import TIFF, Header, ImageFile, header, reader
from smidgen.data.mapped import ChannelFiles, check_alike
from smidgen.data.scaling import repeated, scaled, without_data
from smidgen.data.tiff import DECODING, READING, drops_alpha, pages_of

VALUES = 24_000_000
"""Images with at most so many values are decoded as a whole: 100 MB as floating-point numbers."""
BAND = 256
"""Rows that are read together where nobody says how many."""
PLAIN_MODES = {"L": 1, "RGB": 3, "RGBA": 3, "F": 1, "I;16": 1}
"""Pixel formats of Pillow that are cut out without further ado, and how many channels count."""
ORIENTATION = 274
MIN_IS_BLACK, RGB = 1, 2
"""TIFF tag PhotometricInterpretation."""
PLANES = 2
"""TIFF tag PlanarConfiguration: one plane after the other."""

Rows = Callable[[int, int], Shaped[np.ndarray, "h w *c"]]
"""From the first row and the one after the last to the pixels as stored."""


@contextmanager
def opened(path: str | Sequence[str], channels: int, value_range: ValueRange, nodata: float | None = None) -> Iterator[Any]:
    """A new image for a network: an array (c, h, w) in [0, 1] where it is small, else a `LargeImage`.

    Args:
        path: The file; several are one per channel, and each of their pixels has data.
        channels: Of the network.
        value_range: Values that become 0 and 1, of images with more than 8 bits.
        nodata: Value of pixels without data; None: what the file says itself.

    Raises:
        Broken: No image, too large, or it can't be decoded; also while it is being read.
    """
    if not isinstance(path, str):
        with _opened_channels(tuple(path), channels, value_range) as image:
            yield image
        return
    file, head = reader(path, channels, value_range, nodata)
    if math.prod(head.size) * head.channels <= VALUES:
        yield file.read()
        return
    with ExitStack() as open_files:
        yield LargeImage(file, head, _rows(file, head, open_files))


@contextmanager
def _opened_channels(paths: tuple[str, ...], channels: int, value_range: ValueRange) -> Iterator[Any]:
    """An image that lies in one gray file per channel; raises `Broken`."""
    heads = [header(path) for path in paths]
    files = ChannelFiles(paths, heads[0].mode, channels, value_range)
    if math.prod(heads[0].size) * len(paths) <= VALUES:
        yield files.read()
        return
    check_alike(paths, [(head.size, head.channels, head.mode) for head in heads], heads[0].channels == 1)
    with ExitStack() as open_files:
        rows = [_rows(ImageFile(path, channels=1), head, open_files) for path, head in zip(paths, heads, strict=True)]
        head = replace(heads[0], channels=len(paths), nodata=None)
        file = ImageFile(paths[0], channels=channels, value_range=value_range)
        yield LargeImage(file, head, lambda first, last: np.stack([one(first, last) for one in rows], axis=-1))


class LargeImage:
    """An image on disk as float32 in [0, 1], read where it is cut by slices: `image[:, 100:200, 50:90]`.

    Args:
        file: How values are scaled.
        head: Size and channels.
        rows: Reads.
    """

    ndim = 3

    def __init__(self, file: ImageFile, head: Header, rows: Rows):
        self.shape = (max(head.channels, file.channels), *head.size)
        self._file, self._rows = file, rows
        self._nodata = head.nodata if file.nodata is None else file.nodata
        self._band: tuple[int, int, Any] = (0, 0, None)
        self._means = None if self._nodata is None else self._measured()

    def __getitem__(self, place: tuple[slice, slice, slice]) -> Float32[np.ndarray, "c h w"]:
        """A part; rows are kept for the next part that lies beside it."""
        planes, rows, columns = place
        first, last, _ = rows.indices(self.shape[1])
        return self._scaled(self._read(first, last)[:, columns])[planes, :: rows.step or 1]

    def _read(self, first: int, last: int) -> np.ndarray:
        if self._band[:2] != (first, last):
            self._band = (0, 0, None)  # else two are in memory
            self._band = (first, last, _read(self._rows, first, last))
        return self._band[2]

    def _scaled(self, stored: np.ndarray) -> np.ndarray:
        image = scaled(stored, self._file.value_range, self._nodata)
        missing = None if self._means is None else without_data(stored, self._nodata)
        if missing is not None:
            image[:, missing] = self._means
        return repeated(image, self._file.channels)

    def _measured(self) -> np.ndarray:
        """Mean of each channel over all pixels with data, as a column: what the others are filled with, in every part alike."""
        total, count = np.zeros(1), 0
        for start in range(0, self.shape[1], BAND):
            stored = _read(self._rows, start, min(start + BAND, self.shape[1]))
            missing = without_data(stored, self._nodata)
            there = np.ones(stored.shape[:2], np.bool_) if missing is None else ~missing
            total = total + scaled(stored, self._file.value_range, self._nodata)[:, there].sum(axis=1, dtype=np.float64)
            count += int(there.sum())
        return (total / max(1, count)).astype(np.float32)[:, None]


def _read(rows: Rows, first: int, last: int) -> np.ndarray:
    try:
        return rows(first, last)
    except DECODING as error:
        wrong = unread(error)
    # Not from the error: while masks are being written, what the system says is taken for trouble with writing.
    raise Broken(*wrong)


def _rows(file: ImageFile, head: Header, open_files: ExitStack) -> Rows:
    """The way to read a file that needs the least memory."""
    rows = _by_tifffile(file, head, open_files) if Path(file.path).suffix.lower() in TIFF else None
    rows = rows or _by_pillow(file, head, open_files)
    if rows:
        return rows
    array = file.stored()[0]
    return lambda first, last: array[first:last]


def _by_pillow(file: ImageFile, head: Header, open_files: ExitStack) -> Rows | None:
    """Pillow decodes all and hands out rows; the pixels are not copied as a whole."""
    if head.orientation != 1 or PLAIN_MODES.get(head.mode) != head.channels:
        return None
    try:
        source = open_files.enter_context(Path(file.path).open("rb"))  # noqa: SIM115 (the stack closes it)
        image = open_files.enter_context(Image.open(source))
        image.load()
    except READING as error:
        raise Broken(*unread(error)) from error

    def rows(first: int, last: int) -> np.ndarray:
        part = np.asarray(image.crop((0, first, image.width, last)))
        return part[..., : head.channels] if part.ndim == 3 else part

    return rows if image.size == head.size[::-1] else None


# ---------------------------------------------------------------- TIFF


def _by_tifffile(file: ImageFile, head: Header, open_files: ExitStack) -> Rows | None:
    """Rows from the strips or tiles of a TIFF; None where that is not possible, or the values would not be those that `ImageFile` gives."""
    import tifffile  # costs 0.1 s, and only few images need it

    try:
        source = open_files.enter_context(tifffile.TiffFile(file.path))
        pages = pages_of(source)
        page = pages[0]
        segments = Segments(source, page, file.every)
        fits = (segments.channels, *segments.size) == (head.channels, *head.size) and len(pages) == 1
        if not (fits and _is_plain(page)):
            return None
        segments(0, 1)
    except DECODING:  # Pillow may know its compression; if not, it says so
        return None
    return segments


def _is_plain(page: Any) -> bool:
    """Values are what they mean: no palette, no inversion, no turn, whole bytes."""
    kind = np.dtype(page.dtype) if page.dtype is not None else None
    whole = kind is not None and kind.kind in "uif" and kind.itemsize * 8 == page.bitspersample
    return whole and page.photometric in (MIN_IS_BLACK, RGB) and page.tags.valueof(ORIENTATION, 1) == 1


class Segments:
    """Rows of a TIFF from its strips or tiles, each decoded once while one goes down the image.

    Args:
        source: The open file.
        page: The page in it.
        every: Alpha is a channel like others.
    """

    def __init__(self, source: Any, page: Any, every: bool):
        self.source, self.page = source, page
        self.size = (int(page.imagelength), int(page.imagewidth))
        self.samples = int(page.samplesperpixel)
        self.planes = self.samples if page.planarconfig == PLANES else 1
        self.channels = self.samples - drops_alpha(page, self.samples, every)
        self.dtype = np.dtype(page.dtype).newbyteorder(source.byteorder)
        self.height = int(page.tilelength) if page.is_tiled else min(int(page.rowsperstrip) or self.size[0], self.size[0])
        self.width = int(page.tilewidth) if page.is_tiled else self.size[1]
        self._kept: dict[int, np.ndarray] = {}

    def __call__(self, first: int, last: int) -> Shaped[np.ndarray, "h w *c"]:
        """Rows from the first to the one before the last."""
        found = np.empty((self.planes, last - first, self.size[1], self.samples // self.planes), self.dtype.newbyteorder("="))
        if self.page.is_memmappable:
            self._straight(found, first)
        else:
            self._decoded(found, first, last)
        joined = found[0] if self.planes == 1 else found[..., 0].transpose(1, 2, 0)
        return joined[..., 0] if self.channels == 1 else joined[..., : self.channels]

    def _straight(self, found: np.ndarray, first: int) -> None:
        """Uncompressed pixels lie one after the other; they are read and not mapped, for mapped ones stay in memory."""
        row = found[0, 0].nbytes
        for plane, target in enumerate(found):
            self.source.filehandle.seek(self.page.dataoffsets[0] + (plane * self.size[0] + first) * row)
            target[...] = np.frombuffer(self.source.filehandle.read(target.nbytes), self.dtype).reshape(target.shape)

    def _decoded(self, found: np.ndarray, first: int, last: int) -> None:
        down, across = (math.ceil(n / side) for n, side in zip(self.size, (self.height, self.width), strict=True))
        for plane in range(self.planes):
            for i in range(first // self.height, math.ceil(last / self.height)):
                for j in range(across):
                    part = self._segment((plane * down + i) * across + j)
                    top, left = i * self.height, j * self.width
                    start, stop = max(first, top), min(last, top + self.height, self.size[0])
                    right = min(left + self.width, self.size[1])
                    found[plane, start - first : stop - first, left:right] = part[start - top : stop - top, : right - left]
        above = first // self.height  # what lies above is not asked for again
        self._kept = {n: part for n, part in self._kept.items() if n // across % down >= above and n // across % down * self.height < last}

    def _segment(self, n: int) -> np.ndarray:
        if n not in self._kept:
            self.source.filehandle.seek(self.page.dataoffsets[n])
            part = self.page.decode(self.source.filehandle.read(self.page.databytecounts[n]), n)[0]
            empty = (self.height, self.width, self.samples // self.planes)
            self._kept[n] = np.full(empty, self.page.nodata, self.dtype) if part is None else part[0]
        return self._kept[n]
