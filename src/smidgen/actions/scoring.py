"""Scores of predictions against the masks there are: counts over the dataset, and of each image for pictures and intervals.

Of volumes there are surface distances in place of outlines and sizes, which are made for pictures: case by case, of the prediction as it is
and of the largest piece of each structure.
"""

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
from smidgen.parts.imaging.components import largest_components
from smidgen.parts.metrics import bootstrap, objects
from smidgen.parts.metrics.boundary import Boundary
from smidgen.parts.metrics.cases import Cases, structures, unit_of
from smidgen.parts.metrics.confusion import IGNORED, Confusion
from smidgen.parts.metrics.presence import false_alarms
from smidgen.products.sample import Classes, Sample
from smidgen.report.content import ScoreRow


@dataclass(frozen=True)
class Scored:
    """What came out.

    Args:
        total: Over all images.
        borders: Border pixels over all images; None for volumes.
        sizes: Objects by size over all images, as `objects.found_by_size` counts them; None for volumes.
        images: mIoU of each image over the classes that are in it or were predicted.
        counts: Confusion counts of each image.
        border_counts: Border pixels of each image.
        groups: Group of each image; None = it stands for itself.
        cases: Structures of volumes with full masks, case by case; None where there is none.
        largest: The same where only the largest piece of each predicted structure is kept.
    """

    total: Confusion
    borders: Boundary | None
    sizes: Int64[np.ndarray, "3 4"] | None
    images: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, Any] = field(default_factory=dict)
    border_counts: Mapping[str, Any] = field(default_factory=dict)
    groups: Mapping[str, str | None] = field(default_factory=dict)
    cases: Cases | None = None
    largest: Cases | None = None

    @property
    def by_image(self) -> Mapping[str, float]:
        """What tells good images from bad ones: mean Dice of volumes where it is known, else mIoU."""
        return self.images if self.cases is None else self.cases.dice

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
    asked = {id: sample for id, sample in data.samples.items() if id in predictions and sample.read_label is not None}
    tally = _Tally(data.classes, asked)
    for id, sample in asked.items():
        truth = sample.label()
        if truth is None or (truth == IGNORED).all():
            continue
        try:
            tally.add(sample, truth, predictions[id].label)
        except ShapeError as error:
            raise ShapeError(f"image {id}: {error}") from error
        if bar is not None:
            bar.advance()
    return tally.scored() if tally.counts else None


class _Tally:
    """Counts image after image.

    Args:
        classes: What label values mean.
        asked: All that will be counted, for the unit of distances.
    """

    def __init__(self, classes: Classes, asked: Mapping[str, Sample]):
        self.classes = classes
        self.total, self.borders = self._confusion(), self._boundary()
        self.sizes = np.zeros((len(objects.SIZES), 4), np.int64)
        self.images: dict[str, float] = {}
        self.counts: dict[str, Any] = {}
        self.border_counts: dict[str, Any] = {}
        self.groups: dict[str, str | None] = {}
        self.volumes = any(_is_volume(sample) for sample in asked.values())
        measured = [_spacing(sample) for sample in asked.values() if _is_volume(sample) and not sample.sparse]
        names = tuple(classes.names[value] for value in classes.foreground)
        self.cases = self.largest = Cases(names, unit_of(measured))

    def _confusion(self) -> Confusion:
        return Confusion(self.classes.names, self.classes.background)

    def _boundary(self) -> Boundary:
        return Boundary(self.classes.names, self.classes.background)

    def add(self, sample: Sample, truth: np.ndarray, said: np.ndarray) -> None:
        """Count one image or volume; raises ShapeError where the two do not fit."""
        one, around = self._confusion(), self._boundary()
        one.add(truth, said)
        if _is_volume(sample):
            self._add_case(sample, truth, said)
        elif not sample.sparse:  # strokes have neither outlines nor sizes
            around.add(truth, said)
            self.sizes = self.sizes + objects.found_by_size(truth, said, self.classes.background, sample.instances())
        self.total.merge(one)
        self.borders.merge(around)
        self.images[sample.id], self.counts[sample.id], self.border_counts[sample.id] = one.miou, one.counts, around.counts
        self.groups[sample.id] = sample.group

    def _add_case(self, sample: Sample, truth: np.ndarray, said: np.ndarray) -> None:
        if sample.sparse:  # nor surfaces
            return
        spacing = _spacing(sample) if self.cases.unit == "mm" else None
        found, kept = (
            structures(truth, label, self.classes.foreground, spacing)
            for label in (said, largest_components(said, self.classes.background))
        )
        self.cases = self.cases.adding(sample.id, found, sample.group)
        self.largest = self.largest.adding(sample.id, kept, sample.group)

    def scored(self) -> Scored:
        """What was counted."""
        cases, largest = (one if one.found else None for one in (self.cases, self.largest))
        borders, sizes = (None, None) if self.volumes else (self.borders, self.sizes)
        return Scored(self.total, borders, sizes, self.images, self.counts, self.border_counts, self.groups, cases, largest)


def _is_volume(sample: Sample) -> bool:
    return len(sample.size) == 3


def _spacing(sample: Sample) -> tuple[float, ...] | None:
    """Distances between voxels in mm, where they can be trusted."""
    return sample.spacing_mm if sample.spacing_trusted else None


def row(name: str, scored: Scored, note: str = "") -> ScoreRow:
    """The same for a report.

    Args:
        name: What was scored.
        scored: How.
        note: What a reader must know about it.
    """
    return ScoreRow(
        name, scored.total, scored.counts, note, scored.borders, scored.sizes, scored.spread, cases=scored.cases, largest=scored.largest
    )


def facts(scored: Scored) -> dict[str, Any]:
    """All figures as plain values, shares of 1; classes that neither side has stand as None and are named."""
    worst_first = dict(sorted(scored.images.items(), key=lambda item: item[1]))
    return {
        "images": len(scored.images),
        **scored.total.record(),
        "boundary": None if scored.borders is None else scored.borders.record(),
        "by_object_size": None if scored.sizes is None else objects.record(scored.sizes),
        "volumes": None if scored.cases is None else scored.cases.record(),
        "volumes_largest_component": None if scored.largest is None else scored.largest.record(),
        "images_without_objects": false_alarms(scored.counts.values(), scored.total.background),
        "intervals": None if scored.spread is None else scored.spread.record(),
        "per_image_miou": worst_first,
    }
