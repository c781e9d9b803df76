"""Scores of predictions against the masks there are: one dataset-level confusion matrix, and one per image for pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from smidgen.core.errors import ShapeError
from smidgen.core.screen import Bar
from smidgen.data.dataset import Dataset
from smidgen.parts.metrics.confusion import IGNORED, Confusion


@dataclass(frozen=True)
class Scored:
    """What came out.

    Args:
        total: Over all images.
        images: mIoU of each image over the classes that are in it or were predicted.
        counts: Confusion counts of each image.
    """

    total: Confusion
    images: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, Any] = field(default_factory=dict)


def score(data: Dataset, predictions: Mapping[str, Any], bar: Bar | None = None) -> Scored | None:
    """Compare label maps with masks.

    Args:
        data: Whose masks are the truth.
        predictions: id -> value with a `label` at the image's size; 255 in it counts as a miss of whatever is there.
        bar: Hears of each image that has both.

    Returns:
        None where no image has both.

    Raises:
        ShapeError: A prediction has another size than the mask, or values that are no classes (naming the image).
    """
    total, images, counts = Confusion(data.classes.names, data.classes.background), {}, {}
    for id, sample in data.samples.items():
        truth = sample.label() if id in predictions else None
        if truth is None or (truth == IGNORED).all():
            continue
        one = Confusion(data.classes.names, data.classes.background)
        try:
            one.add(truth, predictions[id].label)
        except ShapeError as error:
            raise ShapeError(f"image {id}: {error}") from error
        total.merge(one)
        if bar is not None:
            bar.advance()
        images[id], counts[id] = one.miou, one.counts
    return Scored(total, images, counts) if images else None


def facts(scored: Scored) -> dict[str, Any]:
    """All figures as plain values, shares of 1; classes that neither side has stand as None and are named."""
    worst_first = dict(sorted(scored.images.items(), key=lambda item: item[1]))
    return {"images": len(scored.images), **scored.total.record(), "per_image_miou": worst_first}
