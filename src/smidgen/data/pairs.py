"""Pairs: training images with their labels, be they people's or made ones, read when asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from smidgen.core.errors import NeedError, ShapeError
from smidgen.data.dataset import Dataset
from smidgen.products.labels import LabelMap
from smidgen.products.sample import IGNORED, Sample


@dataclass(frozen=True)
class Pair:
    """An image with its label, read when asked for.

    Args:
        sample: The image, and the label where `labels` is None.
        labels: Made labels by image id.
    """

    sample: Sample
    labels: Mapping[str, LabelMap] | None = None

    @property
    def id(self) -> str:
        """Names the image in messages."""
        return self.sample.id

    @property
    def path(self) -> str:
        """Names the image in messages."""
        return self.sample.path

    def read(self) -> tuple[Float[np.ndarray, "c *space"], LabelMap]:
        """Image, in [0, 1] or z-scored, and label, of one size.

        Raises:
            ShapeError: They differ in size.
        """
        image = self.sample.image()
        if self.labels is None:
            label = self.sample.label()
            found = LabelMap(np.full(image.shape[1:], IGNORED, np.uint8) if label is None else label)
        else:
            found = self.labels[self.id]
        if found.label.shape != image.shape[1:]:
            sizes = f"the image has size {image.shape[1:]} and its label {found.label.shape}"
            raise ShapeError(f"{self.path or self.id}: {sizes}: give both the same size")
        return image, found


def labeled(data: Dataset, labels: Mapping[str, LabelMap] | None) -> list[Pair]:
    """The train images that have a label, by id.

    Raises:
        NeedError: There are none.
    """
    samples = data.labeled if labels is None else {id: sample for id, sample in data.train.items() if id in labels}
    if not samples:
        raise NeedError("no image of train has a label: add masks or scribbles, or choose a recipe that makes labels from tags")
    return [Pair(samples[id], labels) for id in sorted(samples)]
