"""Pictures of a page: images with their classes or their evidence laid over them, as small WebP data that the page carries in itself.

Everything is drawn at twice the size and then halved, which makes contours smooth.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from scipy import ndimage

from smidgen.core.conventions import IGNORED
from smidgen.products.heatmaps import Heatmaps
from smidgen.products.pictures import of_image

LONGEST = 320
"""Longer side of a picture, in pixels; twelve rows of five stay below 2 MB."""
FILL, CONTOUR = 0.58, 5
"""Share of the class color inside a region; width of its outline at double size, in pixels."""

TINT, TRUE_LINE, SAID_LINE = 0.22, 5, 7
"""Share of the class color inside a true region; width of the filters that make the lines of truth and prediction at double size."""


def picture(image: Float[np.ndarray, "c h w"], longest: int = LONGEST) -> str:
    """The image itself, as a data URI."""
    return _encoded(Image.fromarray(of_image(image)).resize(_size(image.shape[1:], longest), Image.Resampling.LANCZOS))


def with_classes(
    image: Float[np.ndarray, "c h w"],
    label: UInt8[np.ndarray, "h2 w2"],
    colors: UInt8[np.ndarray, "256 3"],
    background: int | None = 0,
    longest: int = LONGEST,
) -> str:
    """The image in pale gray, its classes in color with an outline, ignored pixels hatched; as a data URI.

    Args:
        image: Values in [0, 1].
        label: Class index per pixel, 255 = ignored.
        colors: Color of each label value.
        background: Label value that stays uncolored; None colors every class.
        longest: Longer side of the picture, in pixels.
    """
    width, height = _size(image.shape[1:], longest)
    gray = _gray(image, (2 * width, 2 * height))
    classes = np.asarray(Image.fromarray(label).resize((2 * width, 2 * height), Image.Resampling.NEAREST))
    # Pale, so that colors stand out against it and keep their hue where it shines through.
    pale = 255 * (0.30 + 0.62 * gray)[..., None].repeat(3, axis=2)
    ignored = classes == IGNORED
    colored = ~ignored if background is None else ~ignored & (classes != background)
    tint = colors[classes].astype(np.float32)
    shaded = np.clip(tint * FILL + pale * (1 - FILL), 0, 255)
    drawn = np.where(colored[..., None], shaded, pale)
    outline = colored & (ndimage.maximum_filter(classes, CONTOUR) != ndimage.minimum_filter(classes, CONTOUR))
    drawn = np.where(outline[..., None], tint * 0.9 + 25, drawn)
    diagonal = np.add.outer(np.arange(2 * height), np.arange(2 * width))
    hatch = ignored & (diagonal % 14 < 5)
    drawn = np.where(ignored[..., None], 0.75 * drawn + 60, drawn)
    drawn = np.where(hatch[..., None], 150, drawn)
    return _encoded(Image.fromarray(np.clip(drawn, 0, 255).astype(np.uint8)).reduce(2))


def with_outlines(
    image: Float[np.ndarray, "c h w"],
    truth: UInt8[np.ndarray, "h w"] | None,
    prediction: UInt8[np.ndarray, "h w"] | None,
    colors: UInt8[np.ndarray, "256 3"],
    background: int | None = 0,
    aspect: float = 1.0,
    longest: int = LONGEST,
) -> tuple[str, tuple[int, int]]:
    """The gray image, true regions tinted within white lines, predicted ones as lines in the color of their class; with width and height.

    Args:
        image: Values in [0, 1].
        truth: Class index per pixel, 255 = unlabeled.
        prediction: Class index per pixel.
        colors: Color of each label value.
        background: Label value that has no outline; None outlines every class.
        aspect: Height of a pixel divided by its width.
        longest: Longer side of the picture, in pixels.
    """
    width, height = _size((round(image.shape[1] * aspect * 1000), image.shape[2] * 1000), longest)
    size = (2 * width, 2 * height)
    drawn = 255 * _gray(image, size)[..., None].repeat(3, axis=2)
    for value, region in _regions(truth, background, size):
        drawn = np.where(region[..., None], TINT * _bright(colors[value]) + (1 - TINT) * drawn, drawn)
        drawn = np.where(_outline(region, TRUE_LINE)[..., None], 255, drawn)
    for value, region in _regions(prediction, background, size):
        drawn = np.where(_outline(region, SAID_LINE + 2)[..., None], 0.35 * drawn, drawn)
        drawn = np.where(_outline(region, SAID_LINE)[..., None], _bright(colors[value]), drawn)
    return _encoded(Image.fromarray(np.clip(drawn, 0, 255).astype(np.uint8)).reduce(2)), (width, height)


def _regions(
    label: UInt8[np.ndarray, "h w"] | None, background: int | None, size: tuple[int, int]
) -> Iterator[tuple[int, Bool[np.ndarray, "h2 w2"]]]:
    """Each class at the size of the picture, its outline running between pixels."""
    for value in [] if label is None else np.unique(label).tolist():
        if value not in (IGNORED, background):
            mask = Image.fromarray((255 * (label == value)).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
            yield value, np.asarray(mask) > 127


def _outline(region: Bool[np.ndarray, "h w"], width: int) -> Bool[np.ndarray, "h w"]:
    """The inner rim of a region; what is thinner than it stays whole."""
    return region & ~np.asarray(ndimage.minimum_filter(region, width), bool)


def _bright(color: UInt8[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
    """The hue of a color at its brightest, which is seen on gray."""
    return color.astype(np.float64) * 255 / max(1, int(color.max()))


def with_evidence(image: Float[np.ndarray, "c h w"], heatmaps: Heatmaps, longest: int = LONGEST) -> str:
    """The gray image under the strongest evidence at each place, in the perceptually even colors of "inferno"; as a data URI."""
    return with_values(image, heatmaps.maps.max(axis=0) if len(heatmaps.maps) else np.zeros(heatmaps.maps.shape[1:]), longest)


def with_doubt(image: Float[np.ndarray, "c h w"], sure: Float[np.ndarray, "h2 w2"], longest: int = LONGEST) -> str:
    """The gray image under what is missing to certainty, in the same colors: bright where the model is unsure; as a data URI."""
    return with_values(image, 1 - sure, longest)


def with_values(image: Float[np.ndarray, "c h w"], values: Float[np.ndarray, "h2 w2"], longest: int = LONGEST) -> str:
    """The gray image under values in [0, 1], in the perceptually even colors of "inferno"; as a data URI."""
    from matplotlib import colormaps

    width, height = _size(image.shape[1:], longest)
    gray = _gray(image, (width, height))[..., None]
    smooth = Image.fromarray(np.clip(values, 0, 1).astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    evidence = np.clip(np.asarray(smooth), 0, 1)
    heat = np.asarray(colormaps["inferno"](evidence))[..., :3]
    share = 0.40 + 0.3 * evidence[..., None]
    return _encoded(Image.fromarray((255 * (heat * share + gray * (1 - share))).astype(np.uint8)))


def _size(shape: tuple[int, ...], longest: int) -> tuple[int, int]:
    """Width and height of the picture; small images are enlarged, so that outlines have the same width everywhere."""
    height, width = shape[0], shape[1]
    scale = longest / max(shape)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _gray(image: Float[np.ndarray, "c h w"], size: tuple[int, int]) -> Float[np.ndarray, "h2 w2"]:
    small = Image.fromarray(of_image(image)).convert("L").resize(size, Image.Resampling.BICUBIC)
    return np.asarray(small, np.float32) / 255


def _encoded(drawn: Image.Image) -> str:
    file = io.BytesIO()
    drawn.save(file, "WEBP", quality=80, method=4)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")
