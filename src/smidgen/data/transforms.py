"""Augmentation of one training image: scale, crop, flip and color, the label and its confidence moving along.

Random numbers come from torch's global generator, which the core seeds before every sample; so nothing here takes a generator.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as moved

from smidgen.core.errors import SettingsError
from smidgen.products.sample import IGNORED

TRIES = 5
"""How often a crop without any labeled pixel is drawn again; what is sparse would be trained on empty crops otherwise."""


@dataclass(frozen=True)
class View:
    """One image's part that is trained on, of a fixed size.

    Args:
        image: Values in [0, 1], or z-scored ones.
        label: Class index per pixel, 255 = ignored (also where the image ended).
        confidence: In [0, 1], how sure each label is; 0 where the image ended. None where none was given.
    """

    image: Float[Tensor, "c *space"]
    label: UInt8[Tensor, "*space"]
    confidence: Float[Tensor, "*space"] | None = None


@dataclass(frozen=True)
class Augmentation:
    """Draws a random square view of an image; called once per sample and step, in loader workers.

    Args:
        crop: Side of the view, pixels.
        size: Longest side in pixels that an image is first shrunk to; 0 = no shrinking. Smaller images keep their size.
        scale: Smallest and largest random factor on the (shrunk) image.
        flip: Mirror half of the views left to right.
        color: Strength of random brightness, contrast and saturation: factors lie in 1 ± color. 0 = none; images with other than three
            channels are never changed. Hue is left alone, it costs more than all the rest.
    """

    crop: int
    size: int = 0
    scale: tuple[float, float] = (1.0, 1.0)
    flip: bool = False
    color: float = 0.0

    def __post_init__(self) -> None:
        if self.crop < 1 or self.size < 0 or not 0 < self.scale[0] <= self.scale[1] or not 0 <= self.color <= 1:
            wanted = "crop > 0, size >= 0, 0 < scale[0] <= scale[1] and 0 <= color <= 1"
            raise SettingsError(f"augmentation: expected {wanted}, found {self}: change these settings")

    def __call__(
        self, image: Float[np.ndarray, "c h w"], label: UInt8[np.ndarray, "h w"], confidence: Float[np.ndarray, "h w"] | None = None
    ) -> View:
        """One random view.

        Args:
            image: Values in [0, 1].
            label: Class index per pixel, 255 = ignored.
            confidence: How sure each label is, in [0, 1].
        """
        factor = float(torch.empty(()).uniform_(*self.scale)) * shrinking(label.shape, self.size)
        box, target, before = self._place(label, factor)
        planes = [tv_tensors.Image(_tensor(image, box)), tv_tensors.Mask(_tensor(label[None], box))]
        planes += [] if confidence is None else [tv_tensors.Mask(_tensor(confidence[None].astype(np.float32, copy=False), box))]
        planes = [_resized(plane, target) for plane in planes]
        if self.flip and float(torch.rand(())) < 0.5:
            planes = [moved.horizontal_flip(plane) for plane in planes]
        if self.color > 0 and len(image) == 3:
            planes[0] = colored(planes[0], self.color)
        after = [self.crop - n - b for n, b in zip(target, before, strict=True)]
        padding = [before[1], before[0], after[1], after[0]]
        fills = (planes[0].mean(dim=(1, 2)).tolist(), IGNORED, 0)
        planes = [_padded(plane, padding, fill) for plane, fill in zip(planes, fills, strict=False)]
        return View(planes[0], planes[1][0], planes[2][0] if len(planes) > 2 else None)

    def _place(self, label: UInt8[np.ndarray, "h w"], factor: float) -> tuple[tuple[slice, slice], list[int], list[int]]:
        """Which part of the image is seen, the size it gets, and how much padding comes before it (rows, columns)."""
        target = [min(self.crop, max(1, round(n * factor))) for n in label.shape]
        sides = [n if t < self.crop else min(n, max(1, round(self.crop / factor))) for n, t in zip(label.shape, target, strict=True)]
        before = [_below(self.crop - t + 1) for t in target]
        box = _box(label.shape, sides)
        for _ in range(TRIES - 1):
            if (label[box] != IGNORED).any():
                break
            box = _box(label.shape, sides)
        return box, target, before


def shrinking(shape: tuple[int, ...], size: int) -> float:
    """Factor in (0, 1] that brings the longest side of an image down to `size` pixels; 1 where size is 0 or the image is smaller."""
    return min(1.0, size / max(shape)) if size > 0 else 1.0


def colored(image: Float[Tensor, "3 h w"], strength: float) -> Float[Tensor, "3 h w"]:
    """Random brightness, contrast and saturation, each by a factor in 1 ± strength; the result stays in [0, 1]."""
    changes = (moved.adjust_brightness, moved.adjust_contrast, moved.adjust_saturation)
    for change, factor in zip(changes, torch.empty(3).uniform_(1 - strength, 1 + strength).tolist(), strict=True):
        image = change(image, factor)
    return image


def _box(shape: tuple[int, ...], sides: list[int]) -> tuple[slice, slice]:
    """Where a part of these sides may lie in an image."""
    y, x = (_below(n - side + 1) for n, side in zip(shape, sides, strict=True))
    return slice(y, y + sides[0]), slice(x, x + sides[1])


def _below(n: int) -> int:
    return int(torch.randint(n, ()))


def _tensor(planes: np.ndarray, box: tuple[slice, slice]) -> Tensor:
    return torch.from_numpy(np.array(planes[(slice(None), *box)], order="C"))


def _resized(plane: Tensor, size: list[int]) -> Tensor:
    # plain "nearest" reads up to half a pixel beside the image's bilinear grid; the exact kind stays on it
    how = InterpolationMode.NEAREST_EXACT if isinstance(plane, tv_tensors.Mask) else InterpolationMode.BILINEAR
    return moved.resize(plane, size, interpolation=how, antialias=True)


def _padded(plane: Tensor, padding: list[int], fill: list[float] | int) -> Tensor:
    if any(padding):
        plane = moved.pad(plane, padding, fill=fill)
    return plane.as_subclass(Tensor)
