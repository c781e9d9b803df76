"""Image files: what their headers say, and their pixels as float32 in [0, 1].

The EXIF orientation is applied, alpha is dropped, CMYK and palette images become RGB, gray stays one channel. Where every channel counts
(`channels: all` in dataset.yaml), alpha is one, and so is each page of a TIFF. How values are scaled stands in `data.scaling`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Shaped
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from smidgen.core.conventions import ValueRange
from smidgen.data.broken import COPY_AGAIN, EMPTY, Broken, unread
from smidgen.data.scaling import WHOLE_RANGE, nodata_of, repeated, scaled, value_range_of, without_data
from smidgen.data.tiff import (
    ALPHA,
    DEPTH,
    DESCRIPTION,
    GDAL_NODATA,
    NO_FURTHER_IMAGE,
    READING,
    channels_said,
    page_of,
    planes_said,
    refuse_stack,
    upright,
)

__all__ = [
    "WHOLE_RANGE",
    "Broken",
    "Header",
    "ImageArray",
    "ImageFile",
    "header",
    "pixels",
    "reader",
    "repeated",
    "scaled",
    "stored_values",
    "value_range_of",
]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"})
TIFF = frozenset({".tif", ".tiff"})
MAX_PIXELS = 500_000_000
"""Images with more pixels are refused before they are decoded."""
GRAY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"})
WITH_ALPHA = frozenset({"LA", "La", "RGBA", "RGBa"})
WIDE_MODES = frozenset({"I", "F", "I;16", "I;16B", "I;16L", "I;16N"})
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
TURNED = frozenset({5, 6, 7, 8})
"""EXIF orientations that swap height and width."""

# Pillow's own limit is lower than ours; ours is checked from the header, before anything is decoded. Up to twice as many it only warns.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


@dataclass(frozen=True)
class Header:
    """What is known about an image file without decoding it.

    Args:
        size: Height and width as one looks at it (orientation applied).
        channels: 1 gray, 3 color, more for TIFF; alpha is not counted.
        mode: Pillow's name of the pixel format, or like "5 x uint16".
        floating: Pixels are floating-point numbers.
        orientation: EXIF orientation, 1 = as stored.
        nodata: Value of pixels without data, as a geographic TIFF names it; None = not named.
    """

    size: tuple[int, int]
    channels: int
    mode: str
    floating: bool = False
    orientation: int = 1
    nodata: float | None = None

    @property
    def wide(self) -> bool:
        """Values may lie in any range: floats, and integers of 16 bits and more."""
        return self.floating or self.mode in WIDE_MODES or any(bits in self.mode for bits in ("int16", "int32", "int64"))


@dataclass(frozen=True)
class ImageFile:
    """Reads one image file.

    Args:
        path: The file.
        mode: Pixel format of the file, for messages.
        channels: How many channels to return; a gray image among color ones is repeated.
        value_range: Values that become 0 and 1, of images with more than 8 bits.
        nodata: Value of pixels without data (NaN among them); None: what the file says itself.
        every: Alpha and pages are channels like others.
    """

    path: str
    mode: str = "RGB"
    channels: int = 3
    value_range: ValueRange = WHOLE_RANGE
    nodata: float | None = None
    every: bool = False

    @property
    def meaning(self) -> tuple[Any, ...]:
        """All that decides what is made of the file's bytes."""
        # As text: NaN equals nothing, not even itself.
        said = ([] if self.nodata is None else [f"nodata {self.nodata:g}"]) + (["every channel"] if self.every else [])
        return ("image", self.channels, *self.value_range, *said)

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
        array, nodata = self.stored()
        return repeated(scaled(array, self.value_range, nodata), self.channels)

    def stored(self) -> tuple[Shaped[np.ndarray, "h w *c"], float | None]:
        """Pixels as stored, and the value of those without data; raises `Broken`."""
        array, said = decoded(self.path, self.every)
        return array, said if self.nodata is None else self.nodata

    def missing(self) -> Bool[np.ndarray, "h w"] | None:
        """Which pixels have no data; None where there are none. Raises `Broken`."""
        return without_data(*self.stored())


@dataclass(frozen=True)
class ImageArray:
    """Hands out an image that is in memory: (h, w) or (h, w, c); fields as in `ImageFile`."""

    array: Shaped[np.ndarray, "h w *c"]
    channels: int = 3
    value_range: ValueRange = WHOLE_RANGE
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


# ---------------------------------------------------------------- files


def header(path: str, every: bool = False) -> Header:
    """What an image file's header says.

    Args:
        path: The file.
        every: Alpha and pages are channels like others.

    Raises:
        Broken: No image, a stack of several pages, or too large.
    """
    return _opened(path, lambda image: _header_of(image, every), lambda path: _deep_header(path, every), every)


def reader(path: str, channels: int, value_range: ValueRange = WHOLE_RANGE, nodata: float | None = None) -> tuple[ImageFile, Header]:
    """A reader of a new image for a network of so many channels, and what its header then says.

    Alpha and pages are channels where their number then fits.

    Raises:
        Broken: No image, or too large.
    """
    try:
        head = header(path, every=True)
        if head.channels == channels:
            return ImageFile(path, channels=channels, value_range=value_range, nodata=nodata, every=True), head
    except Broken:
        pass  # as an image without further channels it may be whole
    head = header(path)
    return ImageFile(path, channels=head.channels, value_range=value_range, nodata=nodata), head


def pixels(path: str) -> Shaped[np.ndarray, "h w *c"]:
    """Decode an image file as `ImageFile` wants it: orientation applied, no alpha, no palette.

    Raises:
        Broken: It can't be decoded.
    """
    return decoded(path)[0]


def decoded(path: str, every: bool = False) -> tuple[Shaped[np.ndarray, "h w *c"], float | None]:
    """The same, and the value of pixels without data where the file names one.

    Args:
        path: The file.
        every: Alpha and pages are channels like others.

    Raises:
        Broken: It can't be decoded.
    """
    return _opened(path, lambda image: (_pixels_of(image, every), _nodata(image)), lambda path: _deep_pixels(path, every), every)


def stored_values(path: str) -> Shaped[np.ndarray, "h w *c"]:
    """Decode a label file: like `pixels`, but the values as stored: a palette image gives its indices.

    Raises:
        Broken: It can't be decoded.
    """
    return _opened(path, _values_of, lambda path: _deep_pixels(path)[0])


def _opened(path: str, with_pillow: Callable[[Image.Image], Any], with_tifffile: Callable[[str], Any], every: bool = False) -> Any:
    """Let Pillow read the file, or tifffile where Pillow would drop bits or channels; say what is wrong in words."""
    try:
        # Given a file and not its name, Pillow does not map it into memory: mapped TIFFs that are turned by 90 degrees come out scrambled
        # (Pillow 13.0.0).
        with Path(path).open("rb") as file, Image.open(file) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Broken(f"{image.width * image.height} pixels, more than {MAX_PIXELS}", "cut it into tiles")
            pages = _only_one(image, every)
            if not isinstance(image, TiffImagePlugin.TiffImageFile) or (pages == 1 and not _is_deep(image)):
                return with_pillow(image)
    except UnidentifiedImageError as error:
        if Path(path).suffix.lower() not in TIFF:
            raise Broken(*_no_image(path)) from error
    except READING as error:
        raise Broken(*unread(error)) from error
    return with_tifffile(path)


def _only_one(image: Image.Image, every: bool = False) -> int:
    """Number of pages that make one image; refuses stacks and animations, of which only the first would be read.

    A second page with less resolution, or with a mask, is no further image: geographic TIFFs have such. Neither is a camera's preview
    (MPO). Pages are channels of one image where that is declared, or where ImageJ or OME says so in the file.
    """
    frames = getattr(image, "n_frames", 1)
    if frames == 1 and isinstance(image, TiffImagePlugin.TiffImageFile):
        tags = image.tag_v2
        shape = (image.height, image.width, int(tags.get(277, 1)))
        refuse_stack(planes_said(str(tags.get(DESCRIPTION, "")), shape, int(tags.get(DEPTH, 1))), channels=False)
    if frames == 1 or image.format not in ("TIFF", "PNG", "WEBP"):
        return 1
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        raise Broken(f"an animation of {frames} pictures, one image expected", "save one file per picture")
    pages = 0
    for page in range(frames):
        image.seek(page)
        pages += not image.tag_v2.get(254, 0) & NO_FURTHER_IMAGE
    image.seek(0)
    refuse_stack(pages, every or channels_said(str(image.tag_v2.get(DESCRIPTION, ""))) == pages)
    return pages


def _no_image(path: str) -> tuple[str, str]:
    return (EMPTY if Path(path).stat().st_size == 0 else "not an image", COPY_AGAIN)


def _is_deep(image: TiffImagePlugin.TiffImageFile) -> bool:
    """A TIFF with more than 8 bits in several channels, with signed bytes, or with more channels than color and alpha."""
    bits, samples = image.tag_v2.get(258, (8,)), image.tag_v2.get(277, 1)
    if (max(bits) > 8 and samples > 1) or (max(bits) == 8 and 2 in image.tag_v2.get(339, (1,))):
        return True
    extra = image.tag_v2.get(338, ())
    named = {0: 1, 1: 1, 2: 3}.get(image.tag_v2.get(262, -1), samples)  # gray has one channel that is no extra one, color three
    return samples > named and not ALPHA.issuperset(extra if isinstance(extra, tuple) else (extra,))


def _header_of(image: Image.Image, every: bool = False) -> Header:
    turn = _orientation(image)
    height, width = image.height, image.width
    size = (width, height) if turn in TURNED else (height, width)
    if every and image.mode in WITH_ALPHA:
        return Header(size, len(image.getbands()), f"{image.mode} as data", False, turn, _nodata(image))
    return Header(size, 1 if image.mode in GRAY_MODES else 3, image.mode, image.mode == "F", turn, _nodata(image))


def _nodata(image: Image.Image) -> float | None:
    return nodata_of(str(image.tag_v2.get(GDAL_NODATA, ""))) if isinstance(image, TiffImagePlugin.TiffImageFile) else None


def _orientation(image: Image.Image) -> int:
    # Pillow turns TIFFs by itself, when they are opened.
    if isinstance(image, TiffImagePlugin.TiffImageFile) or not ("exif" in image.info or image.format == "PNG" or image.format == "WEBP"):
        return 1
    turn = image.getexif().get(ExifTags.Base.Orientation, 1) if "exif" in image.info else 1
    return turn if isinstance(turn, int) and 1 <= turn <= 8 else 1


def _upright(image: Image.Image) -> Image.Image:
    return ImageOps.exif_transpose(image) if _orientation(image) != 1 else image


def _pixels_of(image: Image.Image, every: bool = False) -> np.ndarray:
    if every and image.mode in WITH_ALPHA:
        return np.asarray(_upright(image))
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


def _deep_header(path: str, every: bool = False) -> Header:
    array, page = page_of(path, every, decode=False, most=MAX_PIXELS)
    turned = getattr(page.tags.get(274), "value", 1) in TURNED
    height, width, channels = array
    kind = np.dtype(page.dtype)
    size = (width, height) if turned else (height, width)
    return Header(size, channels, f"{channels} x {kind.name}", kind.kind == "f", 1, nodata_of(_deep_tag(page, GDAL_NODATA)))


def _deep_tag(page: Any, tag: int) -> str:
    return str(getattr(page.tags.get(tag), "value", ""))


def _deep_pixels(path: str, every: bool = False) -> tuple[np.ndarray, float | None]:
    array, page = page_of(path, every, decode=True, most=MAX_PIXELS)
    turn = int(getattr(page.tags.get(274), "value", 1))
    return upright(array, turn), nodata_of(_deep_tag(page, GDAL_NODATA))
