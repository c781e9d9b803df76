"""Strong views: random changes of an image's values that leave every pixel where it is, and boxes in which images show parts of others.

For pictures in [0, 1] and for z-scored slices and volumes, with any number of spatial axes. Random numbers come from torch's global
generator, which the core seeds before every sample and every step; so nothing here takes a generator.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor
from torch.nn import functional as F

from smidgen.products.sample import Sample

PICTURE_SPREAD = 0.25
"""Standard deviation of the values of a usual picture in [0, 1]; that of z-scored data is 1."""
CUTOFF = 3.0
"""Where the bell of a blur ends, in standard deviations."""
LONGEST = 0.6
"""Sides of a box differ from a cube's by factors up to exp(± this): aspects up to 3.3 (UniMatch, Yang et al., CVPR 2023)."""


@dataclass(frozen=True)
class Values:
    """What values an image may have.

    Args:
        low: The smallest that is possible.
        high: The largest.
        spread: What is a usual standard deviation; changes are measured in it.
        steps: Distance of neighbors along each axis, where it is known and they differ; a blur is as wide in all directions.
    """

    low: float = 0.0
    high: float = 1.0
    spread: float = PICTURE_SPREAD
    steps: tuple[float, ...] | None = None


def values_of(sample: Sample) -> Values:
    """What values the images of a sample may have."""
    low, high = sample.limits()
    return Values(low, high, 1.0 if sample.zscored else PICTURE_SPREAD, sample.spacing_mm)


@runtime_checkable
class Strengths(Protocol):
    """Settings that say how strong changes are, see `Strong`."""

    chance: float
    gamma: float
    contrast: float
    brightness: float
    blur: float
    noise: float


@dataclass(frozen=True)
class Strong:
    """Draws a strong view: each change happens with the same chance, by a random amount.

    Args:
        chance: Of each change, in [0, 1].
        gamma: Values are raised to a power between 1 / (1 + gamma) and 1 + gamma, within the view's own range.
        contrast: Distances from the mean are multiplied by a factor in 1 ± contrast.
        brightness: Each channel is shifted by up to ± so many spreads.
        blur: Largest standard deviation of the blur, in pixels of the finest axis.
        noise: Largest standard deviation of the noise, in spreads.
    """

    chance: float = 0.8
    gamma: float = 0.5
    contrast: float = 0.5
    brightness: float = 0.5
    blur: float = 1.5
    noise: float = 0.3

    def __call__(self, image: Float[Tensor, "c *space"], values: Values) -> Float[Tensor, "c *space"]:
        """One random strong view; the image itself is left as it is.

        Args:
            image: A weak view.
            values: What values it may have.
        """
        if self._happens(self.gamma):
            image = _raised(image, math.exp(_between(-1.0, 1.0) * math.log1p(self.gamma)))
        if self._happens(self.contrast):
            mean = image.mean()
            image = mean + (image - mean) * (1 + self.contrast * _between(-1.0, 1.0))
        if self._happens(self.brightness):
            shifts = torch.empty(len(image)).uniform_(-1, 1) * (self.brightness * values.spread)
            image = image + shifts.view(-1, *(1,) * (image.ndim - 1))
        if self._happens(self.blur):
            image = blurred(image, self.blur * _between(0.0, 1.0), values.steps)
        if self._happens(self.noise):
            image = image + torch.randn_like(image) * (self.noise * values.spread * _between(0.0, 1.0))
        return image.clamp(values.low, values.high)

    @classmethod
    def of(cls, settings: Strengths) -> Strong:
        """As the settings say."""
        return cls(settings.chance, settings.gamma, settings.contrast, settings.brightness, settings.blur, settings.noise)

    def _happens(self, strength: float) -> bool:
        """Draws always, so that one change switched off leaves the others as they are."""
        return _between(0.0, 1.0) < self.chance and strength > 0


def blurred(image: Float[Tensor, "c *space"], width: float, steps: Sequence[float] | None = None) -> Float[Tensor, "c *space"]:
    """Gaussian blur along every spatial axis; borders are continued.

    Args:
        image: Any values.
        width: Standard deviation in pixels of the finest axis.
        steps: Distance of neighbors along each axis; None: all are equal.
    """
    finest = min(steps) if steps else 1.0
    for axis in range(1, image.ndim):
        own = width * finest / steps[axis - 1] if steps else width
        radius = min(math.ceil(CUTOFF * own), image.shape[axis] - 1)
        if radius < 1 or own < 0.2:  # the neighbors' share is below 10⁻⁵
            continue
        bell = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=image.dtype) / own).square())
        rows = image.movedim(axis, -1)
        flat = F.pad(rows.reshape(-1, 1, rows.shape[-1]), (radius, radius), mode="replicate")
        image = F.conv1d(flat, (bell / bell.sum()).view(1, 1, -1)).view(rows.shape).movedim(-1, axis)
    return image.contiguous()


@dataclass(frozen=True)
class Cut:
    """Boxes in which the images of a batch show other ones (CutMix, Yun et al., ICCV 2019).

    Args:
        inside: Where; all false for images that stay whole.
        partner: Which of the others each image shows.
    """

    inside: Bool[Tensor, "b *space"]
    partner: Int64[Tensor, "b"]

    def to(self, device: torch.device) -> Cut:
        """The same on another device."""
        return Cut(self.inside.to(device), self.partner.to(device))

    def mix(self, own: Shaped[Tensor, "b ..."], other: Shaped[Tensor, "n ..."]) -> Shaped[Tensor, "b ..."]:
        """Images, labels or weights with the boxes filled in.

        Args:
            own: (b, *space), (b, c, *space) or (b, n, c, *space).
            other: What the boxes show, of the same form.
        """
        inside = self.inside.reshape(len(own), *(1,) * (own.ndim - self.inside.ndim), *self.inside.shape[1:])
        return torch.where(inside, other[self.partner], own)


def cut(batch: int, size: Sequence[int], chance: float, share: tuple[float, float], others: int = 0) -> Cut:
    """Draws boxes for a batch, on the CPU.

    Args:
        batch: Images.
        size: Of each.
        chance: That an image gets a box, in [0, 1].
        share: Smallest and largest share of an image that a box covers.
        others: How many others there are to show; 0 = the images of the batch show each other.
    """
    inside = torch.zeros(batch, *size, dtype=torch.bool)
    for n in range(batch):
        if _between(0.0, 1.0) < chance:
            inside[(n, *box(size, share))] = True
    order = torch.randperm(batch)
    partner = torch.randint(others, (batch,)) if others else order[(torch.argsort(order) + 1) % batch]
    return Cut(inside, partner)


def box(size: Sequence[int], share: tuple[float, float]) -> tuple[slice, ...]:
    """A random box within an image: its share is drawn evenly, its sides differ."""
    thick = torch.tensor([n > 1 for n in size])
    stretch = torch.empty(len(size)).uniform_(-LONGEST, LONGEST) * thick
    each = _between(*share) ** (1 / max(1, int(thick.sum())))
    factors = (each * (stretch - stretch.sum() / thick.sum().clamp(min=1)).exp()).tolist()
    sides = [min(n, max(1, round(n * factor))) for n, factor in zip(size, factors, strict=True)]
    starts = [int(torch.randint(n - side + 1, ())) for n, side in zip(size, sides, strict=True)]
    return tuple(slice(start, start + side) for start, side in zip(starts, sides, strict=True))


def _raised(image: Tensor, power: float) -> Tensor:
    low, high = image.aminmax()
    return image if high <= low else ((image - low) / (high - low)).pow(power) * (high - low) + low


def _between(low: float, high: float) -> float:
    return float(torch.empty(()).uniform_(low, high))
