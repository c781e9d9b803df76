"""Views of images with and without labels, as learners of few labels take them: one weak view, and strong views of the very same part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from smidgen.core.errors import NeedError, SettingsError
from smidgen.data.dataset import Dataset
from smidgen.data.pairs import Pair
from smidgen.data.strong import Strong, Values, values_of
from smidgen.data.transforms import Augmentation, View
from smidgen.data.volume_transforms import VolumeAugmentation
from smidgen.parts.imaging.channels import as_channels
from smidgen.products.sample import Sample


@runtime_checkable
class Seen(Protocol):
    """Settings of whoever looks at weak views."""

    size: int
    crop: int
    scale: tuple[float, float]
    flip: bool
    color: float
    patch: tuple[int, ...]
    degrees: float
    foreground: float
    flips: tuple[bool, ...]


@runtime_checkable
class Lasting(Protocol):
    """Settings of whoever trains for a while."""

    steps: int
    epochs: float
    batch_unlabeled: int


def weak(settings: Seen, data: Dataset) -> Augmentation | VolumeAugmentation:
    """What draws weak views of these data: it moves and scales, and takes image, label and confidence along.

    Raises:
        SettingsError: The sides of a view, or the axes that are mirrored, are not as many as the axes of an image.
    """
    if data.zscored:
        for name, given in (("patch", settings.patch), ("flips", settings.flips)):
            if given and len(given) != data.dims:
                what = f"{name} has {len(given)} values, and {'volumes' if data.dims == 3 else 'slices'} have {data.dims} axes"
                raise SettingsError(f"{what}: give {data.dims}")
        patch = settings.patch or (settings.crop,) * data.dims
        return VolumeAugmentation(patch, settings.foreground, data.classes.background, settings.degrees, settings.scale, settings.flips)
    return Augmentation(settings.crop, settings.size, settings.scale, settings.flip, settings.color)


def unlabeled(data: Dataset) -> list[Sample]:
    """The train images without a dense mask, by id; those with scribbles or points are among them, with their labels out of reach.

    Raises:
        NeedError: There are none.
    """
    found = [sample.without_label() for sample in data.train.values() if sample.read_label is None or sample.sparse]
    if not found:
        raise NeedError("every image of train has a dense mask, so there is nothing to learn beside them: choose --recipe masks")
    return found


@dataclass(frozen=True)
class Views:
    """Prepares samples for a learner; runs in loader workers.

    Args:
        weak: Draws the part of an image that is seen (`weak`).
        channels: What the network takes; gray images are repeated.
        strong: Draws strong views of it; None: there are none.
        count: How many strong views of each unlabeled image; a labeled one has one.
    """

    weak: Augmentation | VolumeAugmentation
    channels: int
    strong: Strong | None = None
    count: int = 1

    def labeled(self, pair: Pair) -> dict[str, Tensor]:
        """`image`, `label`, `low`, `high` and `spread` of its values, and its `strong` view (1, c, *space)."""
        image, known = pair.read()
        return self.batch(self.seen(image, known.label, pair.sample), values_of(pair.sample), 1)

    def unlabeled(self, sample: Sample) -> dict[str, Tensor]:
        """The same of an image without label, with `count` strong views; `label` says only where the image is: 0, and 255 beyond."""
        image = sample.image()
        return self.batch(self.seen(image, np.zeros(image.shape[1:], np.uint8), sample), values_of(sample))

    def seen(
        self,
        image: Float[np.ndarray, "c *space"],
        label: UInt8[np.ndarray, "*space"],
        sample: Sample,
        confidence: Float[np.ndarray, "*space"] | None = None,
    ) -> View:
        """A weak view of a sample's image, with a label and its confidence moved along."""
        image = as_channels(image, self.channels, sample.path or sample.id, len(sample.size))
        augment = self.weak
        if isinstance(augment, VolumeAugmentation):
            augment = replace(augment, spacing_mm=sample.spacing_mm)
        return augment(image, label, confidence)

    def batch(self, view: View, values: Values, count: int = 0) -> dict[str, Tensor]:
        """What a learner gets of a weak view; with so many strong ones, 0 = as many as an unlabeled image has."""
        told = {name: torch.tensor(getattr(values, name), dtype=torch.float32) for name in ("low", "high", "spread")}
        found = {"image": view.image, "label": view.label, **told}
        if self.strong is None:
            return found
        return found | {"strong": torch.stack([self.strong(view.image, values) for _ in range(count or self.count)])}


def steps_of(settings: Lasting, samples: Sequence[object]) -> int:
    """Training steps: `epochs` rounds over the samples, or `steps` where `epochs` is 0."""
    return max(1, math.ceil(settings.epochs * len(samples) / settings.batch_unlabeled)) if settings.epochs else settings.steps
