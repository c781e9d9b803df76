"""Colors of classes: evenly spread hues in three lightnesses, so that neighbors in the list are easy to tell apart, also on gray.

(Pascal VOC's customary palette has a gray and several near-black classes, which vanish when laid over a gray picture.)
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

GOLDEN_ANGLE_RAD = np.pi * (3 - np.sqrt(5))
FIRST_HUE_RAD = np.deg2rad(15)
LIGHTNESS_AND_CHROMA = ((0.66, 0.20), (0.80, 0.16), (0.52, 0.19))


def class_colors() -> UInt8[np.ndarray, "256 3"]:
    """Color of each label value: 0 is black, 255 (ignored) a pale gray, the rest walk the hue circle by the golden angle."""
    index = np.arange(255)
    hue = FIRST_HUE_RAD + GOLDEN_ANGLE_RAD * (index - 1)
    lightness, chroma = np.array(LIGHTNESS_AND_CHROMA)[(index - 1) % len(LIGHTNESS_AND_CHROMA)].T
    colors = np.zeros((256, 3), np.uint8)
    colors[:255] = _srgb(lightness, chroma * np.cos(hue), chroma * np.sin(hue))
    colors[0], colors[255] = (0, 0, 0), (224, 224, 224)
    return colors


def _srgb(lightness: Float[np.ndarray, " n"], a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> UInt8[np.ndarray, "n 3"]:
    """From OKLab (Ottosson 2020) to 8-bit sRGB, clipped to what a screen can show."""
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = np.stack(
        [
            4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
        ],
        axis=-1,
    ).clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * encoded).astype(np.uint8)


PALETTE = class_colors()
"""Color of each label value in masks, overlays and reports; 0 is black, 255 (ignored) a pale gray."""
