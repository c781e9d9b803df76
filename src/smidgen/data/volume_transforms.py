"""Augmentation of one volume or slice: a patch, turned in the plane and scaled; the label and its confidence move along.

Only the voxels under the patch are touched, whatever the size of the volume. Random numbers come from torch's global generator, which the
core seeds before every sample; so nothing here takes a generator.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F

from smidgen.core.errors import SettingsError, ShapeError
from smidgen.data.transforms import View
from smidgen.products.sample import IGNORED

TRIES = 5
"""How often a patch without any labeled voxel is drawn again."""
PROBES = 4096
"""So many voxels of a large label are looked at first, to find one of the foreground."""
LARGE = 4_000_000
"""Voxels from which a label is large."""
ANISOTROPIC = 3.0
"""Planes that lie farther apart than this many pixels are not mixed by scaling (nnU-Net, Isensee et al. 2021)."""


@dataclass(frozen=True)
class VolumeAugmentation:
    """Draws a random patch of a volume (c, d, h, w) or of a slice (c, h, w); called once per sample and step, in loader workers.

    Args:
        patch: Its sides in voxels: (d, h, w), or (h, w) for slices.
        foreground: Share of patches that are centered on a labeled voxel of a class that is not background, where there is one; each such
            class has the same chance. The others lie anywhere. Where there is no label, all do.
        background: Label value of the background; None: every class is foreground.
        degrees: Largest random angle by which rows and columns are turned, either way.
        scale: Smallest and largest random factor on the volume.
        flips: For each axis of the patch, whether half of the patches are mirrored along it; () = none. An organ's left and right
            differ, so nothing is mirrored unless somebody says so.
        gamma: Values are raised to a power between 1 / (1 + gamma) and 1 + gamma, within the patch's own range; 0 = none.
        brightness: Values are shifted by up to ± so many standard deviations of the case; 0 = none.
        spacing_mm: Distance between voxels along the axes of the patch, which turning and scaling respect; None: all are equal.
    """

    patch: tuple[int, ...]
    foreground: float = 0.5
    background: int | None = 0
    degrees: float = 15.0
    scale: tuple[float, float] = (0.85, 1.18)
    flips: tuple[bool, ...] = ()
    gamma: float = 0.0
    brightness: float = 0.0
    spacing_mm: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        axes = len(self.patch)
        sides = axes in (2, 3) and min(self.patch) > 0 and len(self.flips) in (0, axes)
        spacing = self.spacing_mm is None or (len(self.spacing_mm) == axes and min(self.spacing_mm) > 0)
        ranges = 0 <= self.foreground <= 1 and 0 < self.scale[0] <= self.scale[1] and min(self.degrees, self.gamma, self.brightness) >= 0
        if not (sides and spacing and ranges):
            wanted = (
                "two or three sides above 0, a flip and a spacing for each, 0 <= foreground <= 1, 0 < scale[0] <= scale[1], the rest >= 0"
            )
            raise SettingsError(f"augmentation of volumes: expected {wanted}, found {self}: change these settings")

    def __call__(
        self,
        image: Float[np.ndarray, "c *space"],
        label: UInt8[np.ndarray, "*space"] | None = None,
        confidence: Float[np.ndarray, "*space"] | None = None,
    ) -> View:
        """One random patch. Beyond the image's border its values are mirrored, its label is 255 and its confidence 0.

        Args:
            image: Z-scored values.
            label: Class indices, 255 = ignored; None: the view's label is 0 in the image.
            confidence: How sure each label is, in [0, 1].

        Raises:
            ShapeError: The image has not as many axes as the patch.
        """
        if image.ndim != len(self.patch) + 1:
            raise ShapeError(f"a patch of {self.patch} is none of an image of shape {image.shape}: choose as many sides as axes")
        flat = len(self.patch) == 2
        if flat:
            image, label, confidence = (
                image[:, None],
                None if label is None else label[None],
                None if confidence is None else confidence[None],
            )
        places = self._places(image.shape[1:], label)
        view = _values(image, places)
        inside = _inside(image.shape[1:], places)
        labels = torch.where(inside, 0 if label is None else _nearest(label, places), IGNORED).to(torch.uint8)
        sure = None if confidence is None else torch.where(inside, _nearest(confidence, places), 0.0).float()
        axes = [i for i, flip in enumerate(self.flips, 3 - len(self.patch)) if flip and float(torch.rand(())) < 0.5]
        view, labels = self._changed(view).flip([i + 1 for i in axes]), labels.flip(axes)
        sure = None if sure is None else sure.flip(axes)
        if flat:
            return View(view[:, 0], labels[0], None if sure is None else sure[0])
        return View(view, labels, sure)

    def _places(self, size: Sequence[int], label: UInt8[np.ndarray, "d h w"] | None) -> _Places:
        """Where in the image the voxels of the patch lie."""
        sides = (1,) * (3 - len(self.patch)) + self.patch
        steps = np.ones(3) if self.spacing_mm is None else np.array((1.0,) * (3 - len(self.patch)) + self.spacing_mm)
        factor = _between(*self.scale)
        deep = len(self.patch) == 3 and steps[0] < ANISOTROPIC * steps[1:].min()
        factors = np.array([factor if deep else 1.0, factor, factor])
        center = _center(size, np.array(sides) / factors, self._anchor(label), label)
        angle = math.radians(self.degrees) * _between(-1.0, 1.0)
        half = (np.array(sides) - 1) / 2
        kept = (factors == 1) & np.array([True, not angle, not angle])
        center = np.where(kept, np.floor(center - half + 0.5) + half, center)  # what is neither scaled nor turned is not interpolated
        away = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in sides]
        z = float(center[0]) + away[0] / float(factors[0])
        down, across = (away[i] * float(steps[i] / factors[i]) for i in (1, 2))
        sin, cos = math.sin(angle), math.cos(angle)
        y = float(center[1]) + (cos * down[:, None] - sin * across[None]) / float(steps[1])
        x = float(center[2]) + (sin * down[:, None] + cos * across[None]) / float(steps[2])
        return _Places(z, y, x)

    def _anchor(self, label: UInt8[np.ndarray, "d h w"] | None) -> tuple[int, ...] | None:
        """A labeled voxel of the foreground that the patch shall be centered on; None: anywhere. Draws the same numbers with any label."""
        wanted, seed = float(torch.rand(())) < self.foreground, int(torch.randint(1 << 62, ()))
        if label is None or not wanted:
            return None
        return _voxel(label, self.background, torch.Generator().manual_seed(seed))

    def _changed(self, view: Float[Tensor, "c *space"]) -> Float[Tensor, "c *space"]:
        if self.gamma:
            power = math.exp(_between(-1.0, 1.0) * math.log1p(self.gamma))
            low, high = view.aminmax()
            view = ((view - low) / (high - low).clamp_min(1e-6)).pow(power) * (high - low) + low
        return view + self.brightness * _between(-1.0, 1.0) if self.brightness else view


@dataclass(frozen=True)
class _Places:
    """Where in the image the voxels of a patch lie; planes stay planes.

    Args:
        z: Of each plane.
        y: Row of each voxel of a plane.
        x: Its column.
    """

    z: Float[Tensor, "d"]
    y: Float[Tensor, "h w"]
    x: Float[Tensor, "h w"]


def _voxel(label: UInt8[np.ndarray, "d h w"], background: int | None, generator: torch.Generator) -> tuple[int, ...] | None:
    """A random voxel of a random class of the foreground; None where there is none."""
    flat = label.reshape(-1)
    tries = [torch.randint(flat.size, (PROBES,), generator=generator).numpy()] if flat.size > LARGE else []
    for places in (*tries, None):
        values = flat if places is None else flat[places]
        counts = np.bincount(values, minlength=256) if places is not None or values.size <= LARGE else _counted(values)
        classes = [value for value in np.flatnonzero(counts[:IGNORED]) if value != background]
        if classes:
            value = classes[int(torch.randint(len(classes), (), generator=generator))]
            found = np.flatnonzero(values == value)
            one = int(found[int(torch.randint(len(found), (), generator=generator))])
            return tuple(int(i) for i in np.unravel_index(one if places is None else int(places[one]), label.shape))
    return None


def _counted(values: UInt8[np.ndarray, " n"]) -> np.ndarray:
    """How often each value occurs, part by part: counting takes eight bytes of each."""
    return sum(
        (np.bincount(values[start : start + LARGE], minlength=256) for start in range(0, values.size, LARGE)), np.zeros(256, np.int64)
    )


def _center(size: Sequence[int], sides: np.ndarray, anchor: tuple[int, ...] | None, label: np.ndarray | None) -> np.ndarray:
    """Middle of the part of an image that is seen; it does not leave the image where it fits into it.

    Args:
        size: Of the image.
        sides: Of the part, in voxels of the image.
        anchor: Shall be in the middle; None: anywhere, but not where no voxel is labeled, if that can be helped.
        label: Of the image.
    """
    low, high = (np.array([end(0.0, n - side) for n, side in zip(size, sides, strict=True)]) for end in (min, max))
    drawn = torch.rand(TRIES, 3).double().numpy()
    if anchor is not None:
        starts = np.clip(np.array(anchor) - (sides - 1) / 2, low, high)
        return starts + (sides - 1) / 2
    starts = low + drawn * (high - low)
    if label is None:
        return starts[0] + (sides - 1) / 2
    for start in starts:
        box = tuple(slice(max(0, round(at)), max(1, round(at + side))) for at, side in zip(start, sides, strict=True))
        if (label[box] != IGNORED).any():
            return start + (sides - 1) / 2
    return starts[0] + (sides - 1) / 2


def _values(image: Float[np.ndarray, "c z y x"], places: _Places) -> Float[Tensor, "c s r q"]:
    """Linear interpolation: rows and columns of all planes at once, then between planes."""
    depth, height, width = image.shape[1:]
    below = places.z.floor()
    share = (places.z - below).view(1, -1, 1, 1)
    first, second = _mirrored(below, depth), _mirrored(below + 1, depth)
    top, bottom = int(torch.minimum(first, second).min()), int(torch.maximum(first, second).max()) + 1
    rows, columns = _reach(places.y, height), _reach(places.x, width)
    part = torch.from_numpy(np.array(image[:, top:bottom, rows, columns], np.float32, order="C"))
    c, d, h, w = part.shape
    grid = torch.stack([2 * (places.x - columns.start) + 1, 2 * (places.y - rows.start) + 1], -1) / torch.tensor([w, h]) - 1
    seen = F.grid_sample(part.view(1, c * d, h, w), grid[None], padding_mode="reflection", align_corners=False)[0]
    seen = seen.view(c, d, *seen.shape[1:])
    if not bool(share.any()):
        return seen[:, first - top]
    return torch.lerp(seen[:, first - top], seen[:, second - top], share)


def _reach(places: Tensor, n: int) -> slice:
    """The part of an axis that is needed, one voxel wider; beyond its ends the image is mirrored there."""
    low, high = int(places.min().floor()), int(places.max().floor()) + 2
    low, high = min(low, 2 * n - 1 - high), max(high, -low)  # what lies beyond one end shows what lies before it
    return slice(max(0, min(low, n - 1)), max(1, min(high, n)))


def _mirrored(places: Float[Tensor, "d"], n: int) -> Int64[Tensor, "d"]:
    """Indices beyond the ends, counted back into the axis: 0 0 1 2 … n-1 n-1 n-2."""
    folded = places.long() % (2 * n)
    return torch.where(folded < n, folded, 2 * n - 1 - folded)


def _nearest(array: np.ndarray, places: _Places) -> Tensor:
    z, y, x = (torch.round(one).long().clamp(0, n - 1).numpy() for one, n in zip((places.z, places.y, places.x), array.shape, strict=True))
    return torch.from_numpy(array[z[:, None, None], y[None], x[None]])


def _inside(size: Sequence[int], places: _Places) -> Tensor:
    """Which voxels of the patch lie in the image."""
    z, y, x = ((one > -0.5) & (one < n - 0.5) for one, n in zip((places.z, places.y, places.x), size, strict=True))
    return z[:, None, None] & (y & x)[None]


def _between(low: float, high: float) -> float:
    return float(torch.empty(()).uniform_(low, high))
