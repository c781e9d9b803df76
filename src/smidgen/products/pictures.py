"""Values as small pictures, for notebooks: PNG data of a few kilobytes, and pages of them. Torch-free."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from smidgen.products.colors import PALETTE

LONGEST = 192
"""Longer side of a picture in pixels."""
COLORS = 96
"""Colors of a picture: few enough for about ten kilobytes, many enough for a photo of this size."""
SHADE = 0.55
"""Share of the class color over an image."""
SEEN = 512
"""Rows and columns of a channel whose range is looked at."""
GAP = 4
"""Pixels between pictures that stand side by side."""


def flat(values: np.ndarray) -> np.ndarray:
    """The last two axes; of a volume its middle slice."""
    while values.ndim > 2:
        values = values[len(values) // 2]
    return values


def of_image(image: Float[np.ndarray, "c *space"]) -> UInt8[np.ndarray, "h w 3"]:
    """Red, green, blue of an image in [0, 1].

    Gray and color images as they are. Of others the first three channels are shown as red, green and blue, and two as green and magenta
    (which the color-blind can tell apart), each from its own 1st to its 99th percentile: their values mean no brightness.
    """
    planes = [flat(one) for one in image[:3]]
    if len(image) not in (1, 3):
        planes = [_stretched(plane) for plane in planes]
    red, green, blue = {1: (0, 0, 0), 2: (1, 0, 1)}.get(len(planes), (0, 1, 2))
    shown = np.stack([planes[red], planes[green], planes[blue]], axis=-1)
    return np.rint(255 * np.clip(np.nan_to_num(shown), 0, 1)).astype(np.uint8)


def channels_shown(channels: int) -> str:
    """How pictures show images of so many channels, in words; "" where there is nothing to say."""
    if channels in (1, 3):
        return ""
    return "the first is green, the second magenta" if channels == 2 else "the first three are red, green, blue"


def _stretched(plane: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    some = plane[tuple(slice(None, None, max(1, side // SEEN)) for side in plane.shape)]
    low, high = np.nanpercentile(some, (1, 99))
    if not high > low:  # something small in a flat channel, or nothing
        low, high = np.nanmin(plane), np.nanmax(plane)
    return (plane - low) / (high - low) if high > low else np.zeros_like(plane)


def of_label(label: UInt8[np.ndarray, "*space"]) -> UInt8[np.ndarray, "h w 3"]:
    """The palette's colors: 0 black, 255 (ignored) a pale gray."""
    return PALETTE[flat(label)]


def laid_over(
    image: Float[np.ndarray, "c *space"], label: UInt8[np.ndarray, "*space"], background: int | None = 0, opacity: float = SHADE
) -> UInt8[np.ndarray, "h w 3"]:
    """An image with its classes over it; background and ignored pixels stay uncolored.

    Args:
        image: Values in [0, 1]; shown as `of_image` does.
        label: Class index per pixel, 255 = ignored.
        background: Label value that is left uncolored; None colors every class.
        opacity: Share of the class color, in [0, 1].
    """
    base, classes = of_image(image), flat(label)
    clear = (classes == 255) if background is None else (classes == 255) | (classes == background)
    share = np.where(clear, 0.0, opacity)[..., None]
    return np.rint(base * (1 - share) + PALETTE[classes] * share).astype(np.uint8)


def of_evidence(evidence: Float[np.ndarray, "*space"]) -> UInt8[np.ndarray, "h w 3"]:
    """Values in [0, 1] in the perceptually even colors of "inferno"."""
    from matplotlib import colormaps

    return np.asarray(255 * colormaps["inferno"](np.clip(flat(evidence), 0, 1))[..., :3], np.uint8)


def small(drawn: UInt8[np.ndarray, "h w 3"], longest: int = LONGEST) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Shrunk or enlarged to a longer side."""
    factor = longest / max(drawn.shape[:2])
    size = max(1, round(drawn.shape[1] * factor)), max(1, round(drawn.shape[0] * factor))
    return np.asarray(Image.fromarray(drawn).resize(size, Image.Resampling.LANCZOS if factor < 1 else Image.Resampling.NEAREST))


def side_by_side(pictures: Iterable[UInt8[np.ndarray, "h w 3"]], longest: int = LONGEST) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Pictures of one value in a row, with white between them."""
    shown = [small(picture, longest) for picture in pictures]
    height = max(len(one) for one in shown)
    parts: list[np.ndarray] = []
    for one in shown:
        filled = np.pad(one, ((0, height - len(one)), (0, 0), (0, 0)), constant_values=255)
        parts += [filled, np.full((height, GAP, 3), 255, np.uint8)]
    return np.concatenate(parts[:-1], axis=1)


def png(drawn: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """PNG data with few colors."""
    file = io.BytesIO()
    Image.fromarray(drawn).quantize(COLORS, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


def uri(data: bytes) -> str:
    """PNG data as an address that a page carries in itself."""
    return "data:image/png;base64," + base64.b64encode(data).decode("ascii")


def gallery(heading: str, pictures: Iterable[tuple[UInt8[np.ndarray, "h w 3"], str]], lines: Sequence[str] = ()) -> str:
    """HTML: a heading, lines of text, and pictures with captions, each of at most `LONGEST` pixels.

    Args:
        heading: Text in bold.
        pictures: Red, green, blue, and a caption.
        lines: Further text.
    """
    shown = "".join(
        '<figure style="display:inline-block;margin:4px;vertical-align:top">'
        f'<img src="{uri(png(small(drawn)))}" alt="{html.escape(caption)}">'
        f'<figcaption style="font-size:small;max-width:{LONGEST}px">{html.escape(caption)}</figcaption></figure>'
        for drawn, caption in pictures
    )
    text = "<br>".join(html.escape(line) for line in lines)
    return f"<div><b>{html.escape(heading)}</b><br>{text}<div>{shown}</div></div>"


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """HTML: rows of text under a heading."""
    head = "".join(f"<th>{html.escape(one)}</th>" for one in heading)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(one)}</td>" for one in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
