"""What lies in a dataset, in numbers and words: for `smidgen inspect` and for the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.core.errors import Problem
from smidgen.data.checks import Progress, examine, glance, judge, remarks, where_of
from smidgen.data.dataset import Dataset
from smidgen.data.images import Broken
from smidgen.data.labels import histogram
from smidgen.data.splits import group_of, has_dense, shuffled
from smidgen.data.tables import SPLITS
from smidgen.data.volume_summary import VolumeSummary, summarize_volumes
from smidgen.products.sample import IGNORED, Sample

MASKS_SEEN = 100
"""So many masks are decoded for the shares of the classes, when not all are,"""
PIXELS_SEEN = 200_000_000
"""but no further one beyond so many pixels or voxels."""


@dataclass(frozen=True)
class SplitCounts:
    """How many images of one split have which labels.

    Args:
        images: All of them.
        tags: Those whose tags are known.
        empty: Those of `tags` that are known to hold none.
        masks: Those with a full mask.
        sparse: Those with scribbles or points.
        instances: Those with an instance map.
        nothing: Those without any label.
        groups: Number of groups; an image without a group is one by itself.
    """

    images: int
    tags: int
    empty: int
    masks: int
    sparse: int
    instances: int
    nothing: int
    groups: int


@dataclass(frozen=True)
class ClassCounts:
    """How often one class occurs.

    Args:
        name: Its name.
        value: Its label value.
        tagged: Images whose tags name it.
        masks: Masks, of those looked at, that hold it.
        share: Its share of the labeled pixels of these masks, in [0, 1].
    """

    name: str
    value: int
    tagged: int
    masks: int
    share: float


@dataclass(frozen=True)
class Summary:
    """What lies in a dataset.

    Args:
        name: Of the dataset.
        images: Number of readable images.
        splits: Split -> counts; empty splits are left out.
        split_drawn: The split was drawn, nobody wrote it down.
        smallest: Height and width (of volumes depth, height and width) of the image with the fewest pixels; median and largest alike.
        median: Of the image in the middle.
        largest: Of the image with the most pixels.
        modes: Pixel format as stored -> images.
        channels: Channels that all images get.
        classes: One entry per class.
        background: Label value of the background, None = there is none.
        masks_seen: Masks that were decoded for the shares.
        masks: Masks that there are.
        labeled_share: Median share of labeled pixels of the masks looked at; None without masks.
        notes: What label values, folders and pixel formats were taken to mean.
        remarks: What limits the result without being wrong.
        problems: What is wrong.
        full: Every file was decoded.
        dims: Spatial axes: 2, or 3 for volumes.
        volumes: What there is to tell of volumes only; None for images.
    """

    name: str
    images: int
    splits: dict[str, SplitCounts]
    split_drawn: bool
    smallest: tuple[int, ...]
    median: tuple[int, ...]
    largest: tuple[int, ...]
    modes: dict[str, int]
    channels: int
    classes: tuple[ClassCounts, ...]
    background: int | None
    masks_seen: int
    masks: int
    labeled_share: float | None
    notes: tuple[str, ...]
    remarks: tuple[str, ...]
    problems: tuple[Problem, ...]
    full: bool
    dims: int = 2
    volumes: VolumeSummary | None = None


def summarize(dataset: Dataset, full: bool = False, cache: Path | None = None, progress: Progress | None = None) -> Summary:
    """Count and check.

    Args:
        dataset: What is to be told about.
        full: Decode every file; else headers, end markers, tables and a sample of the masks.
        cache: File that keeps what decoding told (`checks.verify`).
        progress: Hears how many files are decoded, of how many.
    """
    facts = examine(dataset, cache, progress) if full else None
    samples = dataset.samples.values()
    masks, broken = _mask_values(dataset) if facts is None else (facts.values(dataset.samples.values()), {})
    problems = judge(dataset, facts) if facts is not None else _with(glance(dataset), broken)
    volumes, limits, undecoded = summarize_volumes(dataset, masks) if dataset.dims == 3 else (None, [], [])
    problems = problems if facts is not None else _with(problems, {one.ids[0]: one for one in undecoded})
    sizes = sorted((sample.size for sample in samples), key=lambda size: (int(np.prod(size)), size)) or [(0, 0)]
    shares = [1 - one.get(IGNORED, 0) / sum(one.values()) for one in masks.values()]
    return Summary(
        dataset.name,
        len(dataset.samples),
        {split: _counts(members) for split in SPLITS if (members := [sample for sample in samples if sample.split == split])},
        dataset.split_drawn,
        sizes[0],
        sizes[len(sizes) // 2],
        sizes[-1],
        dict(Counter(getattr(sample.read_image, "mode", "") for sample in samples).most_common()),
        dataset.channels,
        tuple(_class_counts(dataset, masks)),
        dataset.classes.background,
        len(masks),
        sum(sample.read_label is not None for sample in samples),
        float(np.median(shares)) if shares else None,
        dataset.notes,
        (*remarks(dataset, facts), *limits, *(_one_class(dataset, masks) if facts is None else ())),
        tuple(problems),
        full,
        dataset.dims,
        volumes,
    )


def _counts(samples: list[Sample]) -> SplitCounts:
    return SplitCounts(
        images=len(samples),
        tags=sum(sample.tags is not None for sample in samples),
        empty=sum(sample.tags == () for sample in samples),
        masks=sum(sample.read_label is not None and not sample.sparse for sample in samples),
        sparse=sum(sample.read_label is not None and sample.sparse for sample in samples),
        instances=sum(sample.read_instances is not None for sample in samples),
        nothing=sum(sample.tags is None and not has_dense(sample) for sample in samples),
        groups=len({group_of(sample) for sample in samples}),
    )


def _with(problems: list[Problem], broken: Mapping[str, Problem]) -> list[Problem]:
    """What a glance found, and masks of the sample that it could not find anything wrong with."""
    known = {problem.where for problem in problems}
    return [*problems, *(problem for problem in broken.values() if problem.where not in known)]


def _one_class(dataset: Dataset, masks: Mapping[str, dict[int, int]]) -> Iterable[str]:
    seen = {value for id, one in masks.items() if id in dataset.train for value in one} - {IGNORED}
    if len(seen) == 1:
        name = dataset.classes.names[seen.pop()]
        yield f"masks: hold only {name} in all {len(masks)} files looked at: `train` stops if that is so in all, label at least two classes"


def _mask_values(dataset: Dataset) -> tuple[dict[str, dict[int, int]], dict[str, Problem]]:
    """Id -> class index -> pixels of a sample of the masks; id -> what is wrong with it."""
    ids = [id for id, sample in dataset.samples.items() if sample.read_label is not None]
    found, broken, pixels = {}, {}, 0
    for id in shuffled(ids, "summary")[:MASKS_SEEN]:
        reader: Any = dataset.samples[id].read_label
        pixels += int(np.prod(dataset.samples[id].size))
        if pixels > PIXELS_SEEN and found:
            break
        try:
            found[id] = histogram(reader.read())
        except Broken as error:
            broken[id] = Problem(where_of(dataset, reader, f"mask of {id}"), error.what, error.remedy, (id,))
    return found, broken


def _class_counts(dataset: Dataset, masks: Mapping[str, dict[int, int]]) -> list[ClassCounts]:
    labeled = sum(pixels for one in masks.values() for value, pixels in one.items() if value != IGNORED)
    tagged = Counter(value for sample in dataset.samples.values() for value in sample.tags or ())
    return [
        ClassCounts(
            name,
            value,
            tagged[value],
            sum(value in one for one in masks.values()),
            sum(one.get(value, 0) for one in masks.values()) / max(1, labeled),
        )
        for value, name in enumerate(dataset.classes.names)
    ]
