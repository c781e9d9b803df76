"""A dataset out of volumes in memory: the same checks as for files, at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from smidgen.core.errors import DataError, Problem
from smidgen.data import arrays
from smidgen.data.arrays import SPARSE, Coding, Many, by_id
from smidgen.data.broken import Broken
from smidgen.data.contents import Contents
from smidgen.data.labels import histogram, labeled_share
from smidgen.data.tables import SPLITS
from smidgen.data.volume_readers import LabelVolumeArray, VolumeArray
from smidgen.products.sample import Sample

Spacing = tuple[float, float, float]


def from_volume_arrays(
    images: Many,
    masks: Many | None,
    tags: Many | None,
    classes: Sequence[str] | None,
    background: int | None,
    split: Many | None,
    groups: Many | None,
    spacing_mm: Sequence[float | int] | None = None,
    values: Coding | None = None,
) -> Contents:
    """Contents of volumes: (z, y, x) or (c, z, y, x) arrays with labels (z, y, x); arguments as in `Dataset`.

    Raises:
        DataError: Shapes, label values, tags or splits that do not fit; all are listed.
    """
    arrays.check_background(background)
    volumes = {id: np.asarray(image) for id, image in by_id(images, None, "images").items()}
    spacing = _spacing(spacing_mm)
    problems = [problem for id, volume in volumes.items() for problem in _problems(id, volume)]
    if problems:
        raise DataError(problems)
    volumes = {id: volume if volume.ndim == 4 else volume[None] for id, volume in volumes.items()}
    ids, channels = list(volumes), max(len(volume) for volume in volumes.values())
    labels = {id: np.asarray(mask) for id, mask in by_id(masks, ids, "masks").items() if mask is not None}
    marked = {id: found for id, found in by_id(tags, ids, "tags").items() if found is not None}
    parts, group = by_id(split, ids, "split"), by_id(groups, ids, "groups")
    problems += [arrays.split_problem(id, part) for id, part in parts.items() if part not in SPLITS]
    problems += [_channel_problem(id, volume, channels) for id, volume in volumes.items() if len(volume) != channels]
    stored = arrays.packed_labels({id: label.reshape(-1, label.shape[-1]) if label.ndim else label for id, label in labels.items()})
    seen = [histogram(one) for one in stored.values()]
    named, meaning, wrong = arrays.understood(values, classes, background, marked, seen)
    problems += wrong
    sparse = bool(stored) and float(np.median([labeled_share(one, meaning) for one in seen])) < SPARSE
    samples = {}
    for id, volume in volumes.items():
        depth, height, width = volume.shape[1:]
        size = depth, height, width
        reader = LabelVolumeArray(labels[id], size, len(named), meaning) if id in labels else None
        found = arrays.tags_of(id, marked[id], named, problems) if id in marked else None
        samples[id] = Sample(
            id,
            VolumeArray(volume),
            size,
            channels,
            tags=found,
            read_label=reader,
            sparse=sparse and reader is not None,
            split=str(parts.get(id, "train")),
            group=None if group.get(id) is None else str(group[id]),
            spacing_mm=spacing,
            zscored=True,
            spacing_trusted=spacing is not None,
        )
        problems += _reading_problems(samples[id])
    if problems:
        raise DataError(problems)
    return Contents(dict(sorted(samples.items())), named, "arrays", notes=arrays.notes_of(meaning, seen, named))


def _spacing(spacing_mm: Sequence[float | int] | None) -> Spacing | None:
    if spacing_mm is None:
        return None
    found = tuple(float(one) for one in spacing_mm)
    if len(found) != 3 or not all(0 < one < float("inf") for one in found):
        raise DataError([Problem("spacing_mm", f"{spacing_mm}, three distances above 0 expected", "give millimeters along z, y, x")])
    return found[0], found[1], found[2]


def _problems(id: str, volume: np.ndarray) -> Iterable[Problem]:
    if volume.ndim not in (3, 4) or 0 in volume.shape:
        what = f"shape {volume.shape}, (z, y, x) or (c, z, y, x) expected"
        yield Problem(f"images {id}", what, "give one volume per id, channels first", (id,))
    elif not (np.issubdtype(volume.dtype, np.number) or volume.dtype == np.bool_) or np.iscomplexobj(volume):
        yield Problem(f"images {id}", f"type {volume.dtype}, numbers expected", "give integers or floats", (id,))


def _channel_problem(id: str, volume: np.ndarray, channels: int) -> Problem:
    return Problem(f"images {id}", f"{len(volume)} channels, another one has {channels}", "give all volumes the same channels", (id,))


def _reading_problems(sample: Sample) -> Iterable[Problem]:
    for name, reader in (("images", sample.read_image), ("masks", sample.read_label)):
        try:
            if reader is not None:
                reader.read()  # pyright: ignore[reportFunctionMemberAccess] (our own readers)
        except Broken as broken:
            yield Problem(f"{name} {sample.id}", broken.what, broken.remedy, (sample.id,))
