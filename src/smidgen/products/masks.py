"""Label maps as pictures: index PNGs with a palette, so that they are no black rectangles in a viewer, and overlays on the image."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from smidgen.core.codec import write_atomically
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


def read_mask(path: Path) -> UInt8[np.ndarray, "h w"]:
    """Read the label values of an index PNG.

    Raises:
        UsageError: The file is missing, broken, too large, or not an index picture (naming the remedy).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                mode = picture.mode
                values = np.array(picture) if mode in ("P", "L", "1") else None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UsageError(f"{path}: can't be read as a mask ({error}): write it again") from error
    if values is None:
        raise UsageError(f"{path}: expected an 8-bit index picture (one class index per pixel), found mode {mode}; convert it to indices")
    return values.astype(np.uint8)


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
