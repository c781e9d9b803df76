"""Label maps as pictures: index PNGs with a palette, so that they are no black rectangles in a viewer, and overlays on the image."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float, Integer, UInt8
from PIL import Image

from smidgen.core.codec import write_atomically
from smidgen.core.conventions import IGNORED
from smidgen.core.errors import ShapeError, UsageError
from smidgen.products import pictures
from smidgen.products.colors import PALETTE


def write_mask(path: Path, label: UInt8[np.ndarray, "*space"]) -> None:
    """Write a PNG that holds the label values themselves, shown in the palette's colors; the file appears whole or not at all.

    Args:
        path: File to write; its folder is made.
        label: Class index per pixel, 255 = ignored.
    """
    if label.ndim != 2 or label.dtype != np.uint8:
        found = f"{label.shape} and {label.dtype}"
        raise ShapeError(f"{path}: expected a label of shape (h, w) and type uint8, found {found}; write volumes as NIfTI or TIFF")
    picture = Image.fromarray(label)
    picture.putpalette(PALETTE.tobytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda part: picture.save(part, format="PNG"))


def write_strips(path: Path, size: tuple[int, int], strips: Iterable[Integer[np.ndarray, "h w"]], wide: bool = False) -> None:
    """Write a mask from strips of rows as they come: the whole mask need not fit in memory.

    The file appears whole or not at all, also where making a strip fails.

    Args:
        path: PNG to write; its folder is made.
        size: Height and width.
        strips: Label values, from top to bottom.
        wide: Values above 255 occur: gray of 16 bits instead of 8-bit indices with a palette.
    """
    path.parent.mkdir(parents=True, exist_ok=True)

    def fill(part: Path) -> None:
        with part.open("wb") as file:
            _fill_png(file, size, strips, wide)

    write_atomically(path, fill)


def _fill_png(file: BinaryIO, size: tuple[int, int], strips: Iterable[np.ndarray], wide: bool) -> None:
    """PNG (W3C, third edition) of one image: header, palette, rows that are each preceded by their filter 0, end."""
    height, width = size
    file.write(b"\x89PNG\r\n\x1a\n")
    _chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 16 if wide else 8, 0 if wide else 3, 0, 0, 0))
    if not wide:
        _chunk(file, b"PLTE", PALETTE.tobytes())
    packed, rows = zlib.compressobj(6), 0
    for strip in strips:
        values = np.ascontiguousarray(strip, dtype=">u2" if wide else np.uint8).view(np.uint8).reshape(len(strip), -1)
        _chunk(file, b"IDAT", packed.compress(np.pad(values, ((0, 0), (1, 0))).tobytes()))
        rows += len(strip)
    assert rows == height, f"{rows} rows of {height}"
    _chunk(file, b"IDAT", packed.flush())
    _chunk(file, b"IEND", b"")


def _chunk(file: BinaryIO, kind: bytes, content: bytes) -> None:
    file.write(struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content)))


def read_mask(path: Path, values: Sequence[int] = ()) -> UInt8[np.ndarray, "h w"]:
    """Read the label values of an index PNG.

    Args:
        path: The file.
        values: What the file holds for each label value, where that is another number; then 16 bits will do as well. 255 that is not
            among them stays.

    Raises:
        UsageError: The file is missing, broken, too large, or not an index picture (naming the remedy).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                mode = picture.mode
                modes = ("P", "L", "1", *(("I;16", "I") if values else ()))
                found = np.array(picture) if mode in modes else None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UsageError(f"{path}: can't be read as a mask ({error}): write it again") from error
    if found is None:
        raise UsageError(f"{path}: expected an 8-bit index picture (one class index per pixel), found mode {mode}; convert it to indices")
    return _looked_up(found, values, path) if values else found.astype(np.uint8)


def _looked_up(found: np.ndarray, values: Sequence[int], path: Path) -> np.ndarray:
    """Label values of the numbers that stand for them."""
    table = {IGNORED: IGNORED} | {value: label for label, value in enumerate(values)}
    numbers, places = np.unique(found, return_inverse=True)
    strange = [int(number) for number in numbers if int(number) not in table]
    if strange:
        known = ", ".join(map(str, sorted(table)))
        raise UsageError(f"{path}: holds {strange[0]}, and the masks of this data hold {known}: write it again with a model of this data")
    return np.array([table[int(number)] for number in numbers], np.uint8)[places].reshape(found.shape)


def write_image(path: Path, image: UInt8[np.ndarray, "h w 3"]) -> None:
    """Write a color picture; the file appears whole or not at all.

    Args:
        path: File to write, .jpg or .png; its folder is made.
        image: Red, green, blue.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(image)
    write_atomically(path, lambda part: picture.save(part, quality=90))


def overlay(
    image: Float[np.ndarray, "c h w"], label: UInt8[np.ndarray, "*space"], opacity: float = 0.5, background: int | None = 0
) -> UInt8[np.ndarray, "h w 3"]:
    """`pictures.laid_over` for an image and its mask, which have one size.

    Raises:
        ShapeError: They have not.
    """
    if image.shape[1:] != label.shape:
        raise ShapeError(f"overlay: the image has size {image.shape[1:]} and the label {label.shape}; give both the same size")
    return pictures.laid_over(image, label, background, opacity)
