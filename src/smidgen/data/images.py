"""Image files: what their headers say, and their pixels as float32 in [0, 1].

Integers are scaled by the range of their type, floats by one range for the whole dataset (`value_range`). The EXIF orientation is applied,
alpha is dropped, CMYK and palette images become RGB, gray stays one channel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from smidgen.core.errors import DataError, Problem

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"})
TIFF = frozenset({".tif", ".tiff"})
MAX_PIXELS = 500_000_000
"""Images with more pixels are refused before they are decoded."""
WHOLE_RANGE = (0.0, 1.0)
EMPTY, COPY_AGAIN = "empty file (0 bytes)", "copy it again from its source, or remove it"
GRAY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"})
MODE_NOTES = {
    "LA": "alpha dropped",
    "La": "alpha dropped",
    "RGBA": "alpha dropped",
    "RGBa": "alpha dropped",
    "PA": "palette and alpha turned into RGB",
    "P": "palette turned into RGB",
    "CMYK": "turned into RGB",
    "YCbCr": "turned into RGB",
    "LAB": "turned into RGB",
    "HSV": "turned into RGB",
}
ALPHA = frozenset({1, 2})
"""TIFF tag ExtraSamples: associated and unassociated alpha."""
TURNED = frozenset({5, 6, 7, 8})
"""EXIF orientations that swap height and width."""

# Pillow's own limit is lower than ours; ours is checked from the header, before anything is decoded.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS


class Broken(Exception):
    """A file that can't be used: what is wrong and what to do about it, without the file's name."""

    def __init__(self, what: str, remedy: str):
        super().__init__(f"{what}: {remedy}")
        self.what, self.remedy = what, remedy

    def error(self, path: str) -> DataError:
        """The same for the user, with the file's name."""
        return DataError([Problem(path, self.what, self.remedy)])


@dataclass(frozen=True)
class Header:
    """What is known about an image file without decoding it.

    Args:
        size: Height and width as one looks at it (orientation applied).
        channels: 1 gray, 3 color, more for TIFF; alpha is not counted.
        mode: Pillow's name of the pixel format, or like "5 x uint16".
        floating: Pixels are floating-point numbers.
        orientation: EXIF orientation, 1 = as stored.
    """

    size: tuple[int, int]
    channels: int
    mode: str
    floating: bool = False
    orientation: int = 1


@dataclass(frozen=True)
class ImageFile:
    """Reads one image file.

    Args:
        path: The file.
        mode: Pixel format of the file, for messages.
        channels: How many channels to return; a gray image among color ones is repeated.
        value_range: Values of floating-point images that become 0 and 1.
    """

    path: str
    mode: str = "RGB"
    channels: int = 3
    value_range: tuple[float | int, float | int] = WHOLE_RANGE

    @property
    def meaning(self) -> tuple[Any, ...]:
        """All that decides what is made of the file's bytes."""
        return ("image", self.channels, *self.value_range)

    def __call__(self) -> Float32[np.ndarray, "c h w"]:
        """The image in [0, 1].

        Raises:
            DataError: The file is broken, or holds NaN.
        """
        try:
            return self.read()
        except Broken as broken:
            raise broken.error(self.path) from broken

    def read(self) -> Float32[np.ndarray, "c h w"]:
        """The image in [0, 1]; raises `Broken`."""
        return repeated(scaled(pixels(self.path), self.value_range), self.channels)


@dataclass(frozen=True)
class ImageArray:
    """Hands out an image that is in memory: (h, w) or (h, w, c); fields as in `ImageFile`."""

    array: Shaped[np.ndarray, "h w *c"]
    channels: int = 3
    value_range: tuple[float | int, float | int] = WHOLE_RANGE
    mode: str = "array"

    @property
    def meaning(self) -> tuple[Any, ...]:
        """All that decides what is made of the array."""
        return ("image", self.channels, *self.value_range)

    def __call__(self) -> Float32[np.ndarray, "c h w"]:
        """The image in [0, 1]."""
        return self.read()

    def read(self) -> Float32[np.ndarray, "c h w"]:
        """The image in [0, 1]; raises `Broken`."""
        return repeated(scaled(self.array, self.value_range), self.channels)


def scaled(array: Shaped[np.ndarray, "h w *c"], value_range: tuple[float | int, float | int] = WHOLE_RANGE) -> Float32[np.ndarray, "c h w"]:
    """Pixels of any type as float32 in [0, 1], channels first.

    Args:
        array: Pixels as stored.
        value_range: For floating-point pixels: what becomes 0 and 1; values outside are clipped.

    Raises:
        Broken: There are NaN or infinite values.
    """
    planes = array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))
    if array.dtype == np.bool_:
        return planes.astype(np.float32)
    if np.issubdtype(array.dtype, np.integer):
        limits = np.iinfo(array.dtype)
        span = np.float32(limits.max - limits.min)
        shifted = planes.astype(np.float32) - np.float32(limits.min) if limits.min else planes.astype(np.float32)
        return shifted / span
    wrong = int(np.count_nonzero(~np.isfinite(array)))
    if wrong:
        raise Broken(f"{wrong} of {array.size} values are NaN or infinite", "fill the holes with a number, or leave the image out")
    low, high = value_range
    return np.clip((planes.astype(np.float32) - np.float32(low)) / np.float32(high - low), 0, 1, dtype=np.float32)


def repeated(image: Float32[np.ndarray, "c h w"], channels: int) -> Float32[np.ndarray, "d h w"]:
    """A gray image as one of so many equal channels; others are left alone."""
    return np.repeat(image, channels, axis=0) if len(image) == 1 and channels > 1 else image


def value_range_of(arrays: Iterable[np.ndarray]) -> tuple[float, float]:
    """Which values of floating-point images shall become 0 and 1.

    Values that lie in [0, 1] already are kept; else the range is that of the 1st and 99th percentile of all finite values together.
    """
    finite = [array[np.isfinite(array)].ravel()[:: max(1, array.size // 100_000)] for array in arrays]
    values = np.concatenate(finite) if finite else np.zeros(0)
    if not values.size or (values.min() >= 0 and values.max() <= 1):
        return WHOLE_RANGE
    low, high = (float(value) for value in np.percentile(values, (1, 99)))
    return (low, high) if high > low else (float(values.min()), float(max(values.max(), values.min() + 1)))


# ---------------------------------------------------------------- files


def header(path: str) -> Header:
    """What an image file's header says.

    Raises:
        Broken: No image, a stack of several pages, or too large.
    """
    return _opened(path, _header_of, _deep_header)


def pixels(path: str) -> Shaped[np.ndarray, "h w *c"]:
    """Decode an image file as `ImageFile` wants it: orientation applied, no alpha, no palette.

    Raises:
        Broken: It can't be decoded.
    """
    return _opened(path, _pixels_of, _deep_pixels)


def stored_values(path: str) -> Shaped[np.ndarray, "h w *c"]:
    """Decode a label file: like `pixels`, but the values as stored: a palette image gives its indices.

    Raises:
        Broken: It can't be decoded.
    """
    return _opened(path, _values_of, _deep_pixels)


def _opened(path: str, with_pillow: Callable[[Image.Image], Any], with_tifffile: Callable[[str], Any]) -> Any:
    """Let Pillow read the file, or tifffile where Pillow would drop bits or channels; say what is wrong in words."""
    try:
        # Given a file and not its name, Pillow does not map it into memory: mapped TIFFs that are turned by 90 degrees come out scrambled
        # (Pillow 13.0.0).
        with Path(path).open("rb") as file, Image.open(file) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Broken(f"{image.width * image.height} pixels, more than {MAX_PIXELS}", "cut it into tiles")
            if not isinstance(image, TiffImagePlugin.TiffImageFile) or not _is_deep(image):
                return with_pillow(image)
    except UnidentifiedImageError as error:
        if Path(path).suffix.lower() not in TIFF:
            raise Broken(*_no_image(path)) from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Broken(f"can't be read ({_first_line(error)})", COPY_AGAIN) from error
    return with_tifffile(path)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _no_image(path: str) -> tuple[str, str]:
    return (EMPTY if Path(path).stat().st_size == 0 else "not an image", COPY_AGAIN)


def _is_deep(image: TiffImagePlugin.TiffImageFile) -> bool:
    """A TIFF with more than 8 bits in several channels, or with more channels than color and alpha."""
    pages = getattr(image, "n_frames", 1)
    if pages > 1:
        raise Broken(f"a stack of {pages} pages, one image expected", "save one file per page")
    bits, samples = image.tag_v2.get(258, (8,)), image.tag_v2.get(277, 1)
    if max(bits) > 8 and samples > 1:
        return True
    extra = image.tag_v2.get(338, ())
    return samples > 3 and image.tag_v2.get(262) == 2 and not ALPHA.issuperset(extra if isinstance(extra, tuple) else (extra,))


def _header_of(image: Image.Image) -> Header:
    turn = _orientation(image)
    height, width = image.height, image.width
    size = (width, height) if turn in TURNED else (height, width)
    return Header(size, 1 if image.mode in GRAY_MODES else 3, image.mode, image.mode == "F", turn)


def _orientation(image: Image.Image) -> int:
    # Pillow turns TIFFs by itself, when they are opened.
    if isinstance(image, TiffImagePlugin.TiffImageFile) or not ("exif" in image.info or image.format == "PNG" or image.format == "WEBP"):
        return 1
    turn = image.getexif().get(ExifTags.Base.Orientation, 1) if "exif" in image.info else 1
    return turn if isinstance(turn, int) and 1 <= turn <= 8 else 1


def _upright(image: Image.Image) -> Image.Image:
    return ImageOps.exif_transpose(image) if _orientation(image) != 1 else image


def _pixels_of(image: Image.Image) -> np.ndarray:
    if image.mode in ("LA", "La"):
        image = image.convert("L")
    elif image.mode not in GRAY_MODES and image.mode != "RGB":
        # A palette with transparency goes through RGBA, else Pillow warns and mixes the alpha in.
        image = (image.convert("RGBA") if "transparency" in image.info else image).convert("RGB")
    array = np.asarray(_upright(image))
    # Older versions of Pillow open 16-bit PNGs as 32-bit integers; their range is that of 16 bits all the same.
    return array.astype(np.uint16) if image.mode == "I" and image.format == "PNG" else array


def _values_of(image: Image.Image) -> np.ndarray:
    if image.mode in ("LA", "La", "PA"):
        return np.asarray(_upright(image))[..., 0]
    if image.mode not in GRAY_MODES and image.mode not in ("RGB", "P"):
        image = image.convert("RGB")
    return np.asarray(_upright(image))


def _deep_header(path: str) -> Header:
    array, page = _deep_page(path, decode=False)
    turned = getattr(page.tags.get(274), "value", 1) in TURNED
    height, width, channels = array
    kind = np.dtype(page.dtype)
    size = (width, height) if turned else (height, width)
    return Header(size, channels, f"{channels} x {kind.name}", kind.kind == "f", 1)


def _deep_pixels(path: str) -> np.ndarray:
    array, page = _deep_page(path, decode=True)
    turn = int(getattr(page.tags.get(274), "value", 1))
    return _turned(array, turn)


def _turned(array: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation (TIFF 6.0, tag 274)."""
    flipped = {2: array[:, ::-1], 3: array[::-1, ::-1], 4: array[::-1], 5: array.swapaxes(0, 1)}
    turned = {6: np.rot90(array, -1), 7: array[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(array)}
    return np.ascontiguousarray((flipped | turned).get(orientation, array))


def _deep_page(path: str, decode: bool) -> tuple[Any, Any]:
    """First page of a TIFF by tifffile: (h, w, c) array without alpha, or only its shape; and the page."""
    import tifffile  # costs 0.1 s, and only few TIFFs need it

    try:
        with tifffile.TiffFile(path) as file:
            if len(file.pages) > 1:
                raise Broken(f"a stack of {len(file.pages)} pages, one image expected", "save one file per page")
            page = file.pages.first
            array: Any = page.asarray() if decode else np.empty(page.shape, np.uint8) if np.prod(page.shape) <= MAX_PIXELS else None
    except Broken:
        raise
    except (OSError, ValueError, RuntimeError, IndexError, KeyError) as error:
        raise Broken(*(_unread(path, error))) from error
    if array is None:
        raise Broken(f"{int(np.prod(page.shape))} values, more than {MAX_PIXELS}", "cut it into tiles")
    array = array[..., None] if array.ndim == 2 else np.moveaxis(array, 0, -1) if page.axes.startswith("S") else array
    alpha = len(page.extrasamples) == 1 and int(page.extrasamples[0]) in ALPHA
    array = array[..., :-1] if alpha and array.shape[-1] in (2, 4) else array
    if not decode:
        return array.shape, page
    return (array[..., 0] if array.shape[-1] == 1 else array), page


def _unread(path: str, error: Exception) -> tuple[str, str]:
    if Path(path).stat().st_size == 0:
        return (EMPTY, COPY_AGAIN)
    if "imagecodecs" not in str(error):
        return (f"can't be read ({_first_line(error)})", COPY_AGAIN)
    return ("compressed in a way that needs the package imagecodecs", "install imagecodecs, or save it without compression")
