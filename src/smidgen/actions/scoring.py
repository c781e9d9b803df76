"""Scores of predictions against the masks there are: counts over the dataset, and of each image for pictures and intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int64

from smidgen.core.errors import ShapeError
from smidgen.core.screen import Bar
from smidgen.data.dataset import Dataset
from smidgen.parts.metrics import bootstrap, objects
from smidgen.parts.metrics.boundary import Boundary
from smidgen.parts.metrics.confusion import IGNORED, Confusion
from smidgen.parts.metrics.presence import false_alarms
from smidgen.report.content import ScoreRow


@dataclass(frozen=True)
class Scored:
    """What came out.

    Args:
        total: Over all images.
        borders: Border pixels over all images.
        sizes: Objects by size over all images, as `objects.found_by_size` counts them.
        images: mIoU of each image over the classes that are in it or were predicted.
        counts: Confusion counts of each image.
        border_counts: Border pixels of each image.
        groups: Group of each image; None = it stands for itself.
    """

    total: Confusion
    borders: Boundary
    sizes: Int64[np.ndarray, "3 4"]
    images: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, Any] = field(default_factory=dict)
    border_counts: Mapping[str, Any] = field(default_factory=dict)
    groups: Mapping[str, str | None] = field(default_factory=dict)

    @cached_property
    def spread(self) -> bootstrap.Spread | None:
        """How far the scores would move with other images; None where there is one image, or one group."""
        counts, borders = (np.stack(list(each.values())) for each in (self.counts, self.border_counts))
        return bootstrap.spread(self.total.names, counts, borders, self.total.background, list(self.groups.values()))


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
    names, background = data.classes.names, data.classes.background
    total, borders = Confusion(names, background), Boundary(names, background)
    sizes = np.zeros((len(objects.SIZES), 4), np.int64)
    images, counts, border_counts, groups = {}, {}, {}, {}
    for id, sample in data.samples.items():
        truth = sample.label() if id in predictions else None
        if truth is None or (truth == IGNORED).all():
            continue
        said = predictions[id].label
        one, around = Confusion(names, background), Boundary(names, background)
        try:
            one.add(truth, said)
        except ShapeError as error:
            raise ShapeError(f"image {id}: {error}") from error
        if not sample.sparse:  # strokes have neither outlines nor sizes
            around.add(truth, said)
            sizes = sizes + objects.found_by_size(truth, said, background, sample.instances())
        total.merge(one)
        borders.merge(around)
        if bar is not None:
            bar.advance()
        images[id], counts[id], border_counts[id], groups[id] = one.miou, one.counts, around.counts, sample.group
    return Scored(total, borders, sizes, images, counts, border_counts, groups) if images else None


def row(name: str, scored: Scored, note: str = "") -> ScoreRow:
    """The same for a report.

    Args:
        name: What was scored.
        scored: How.
        note: What a reader must know about it.
    """
    return ScoreRow(name, scored.total, scored.counts, note, scored.borders, scored.sizes, scored.spread)


def facts(scored: Scored) -> dict[str, Any]:
    """All figures as plain values, shares of 1; classes that neither side has stand as None and are named."""
    worst_first = dict(sorted(scored.images.items(), key=lambda item: item[1]))
    return {
        "images": len(scored.images),
        **scored.total.record(),
        "boundary": scored.borders.record(),
        "by_object_size": objects.record(scored.sizes),
        "images_without_objects": false_alarms(scored.counts.values(), scored.total.background),
        "intervals": None if scored.spread is None else scored.spread.record(),
        "per_image_miou": worst_first,
    }
