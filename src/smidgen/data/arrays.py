"""A dataset out of arrays in memory: the same checks as for files, at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from smidgen.core.errors import DataError, Problem
from smidgen.data.coding import UNLABELED, coded, doubt, say
from smidgen.data.contents import Contents
from smidgen.data.images import Broken, ImageArray
from smidgen.data.labels import LabelArray, Values, histogram, labeled_share, packed, values_of
from smidgen.data.layout import nearest, plain
from smidgen.data.naming import classes_of_values, spellings
from smidgen.data.scaling import value_ranges_of
from smidgen.data.tables import SPLITS, Tags
from smidgen.products.sample import IGNORED, Classes, Sample

SPARSE = 0.5
"""Labels count as sparse when their median labeled share is smaller."""

Many = Mapping[str, Any] | Sequence[Any] | np.ndarray
"""One value per image: by id, or in the order of the images."""
Coding = Mapping[int | str, str]
"""Stored value, or color like "#ff0000" -> class, or `unlabeled`."""


def from_arrays(
    images: Many,
    masks: Many | None,
    tags: Many | None,
    classes: Sequence[str] | None,
    background: int | None,
    split: Many | None,
    groups: Many | None,
    values: Coding | None = None,
) -> Contents:
    """Contents of arrays; arguments as in `Dataset`.

    Raises:
        DataError: Shapes, label values, tags or splits that do not fit; all are listed.
    """
    check_background(background)
    pictures = {id: np.asarray(image) for id, image in by_id(images, None, "images").items()}
    ids = list(pictures)
    problems = [problem for id, image in pictures.items() for problem in _image_problems(id, image)]
    if problems:
        raise DataError(problems)
    labels = {id: np.asarray(mask) for id, mask in by_id(masks, ids, "masks").items() if mask is not None}
    marked = {id: found for id, found in by_id(tags, ids, "tags").items() if found is not None}
    parts = by_id(split, ids, "split")
    problems += [split_problem(id, part) for id, part in parts.items() if part not in SPLITS]
    stored = packed_labels(labels)
    seen = [histogram(one) for one in stored.values()]
    named, meaning, wrong = understood(values, classes, background, marked, seen)
    problems += wrong
    learned = [image for id, image in pictures.items() if parts.get(id, "train") == "train"]
    channels = max(_channels(image) for image in pictures.values())
    problems += [_channel_problem(id, image, channels) for id, image in pictures.items() if _channels(image) not in (1, channels)]
    value_range = value_ranges_of(learned or pictures.values(), channels)
    sparse = bool(stored) and float(np.median([labeled_share(one, meaning) for one in seen])) < SPARSE
    group = by_id(groups, ids, "groups")
    samples = {}
    for id, image in pictures.items():
        height, width = image.shape[:2]
        reader = LabelArray(labels[id], (height, width), len(named), meaning) if id in labels else None
        found = tags_of(id, marked[id], named, problems) if id in marked else None
        part = str(parts.get(id, "train"))
        samples[id] = Sample(
            id,
            ImageArray(image, channels, value_range),
            (height, width),
            channels,
            tags=found,
            read_label=reader,
            sparse=sparse and reader is not None,
            split=part,
            group=None if group.get(id) is None else str(group[id]),
        )
        problems += _reading_problems(id, samples[id])
    if problems:
        raise DataError(problems)
    notes = notes_of(meaning, seen, named)
    return Contents(dict(sorted(samples.items())), named, "arrays", notes=notes, value_range=value_range)


def understood(
    values: Coding | None,
    classes: Sequence[str] | None,
    background: int | None,
    marked: Mapping[str, Any],
    seen: Sequence[Mapping[int, int]],
) -> tuple[Classes, Values, list[Problem]]:
    """The classes, and what the values of masks mean.

    Args:
        values: Stored value -> class, or `unlabeled`, where somebody says it.
        classes: Their names, where somebody says them.
        background: Label value of the background.
        marked: Id -> tags.
        seen: Stored value -> pixels of each mask.

    Returns:
        Classes, meaning, and what can't be understood.
    """
    if values is None:
        named = Classes(tuple(classes), background) if classes is not None else classes_of(marked, seen, background)
        wrong = [] if classes is not None else list(spelled(named, marked))
        return named, values_of(seen, len(named) == 2 and named.background == 0), wrong
    # Numbers of numpy's kinds are numbers, too.
    written = {value if isinstance(value, str) else int(value): name for value, name in values.items()}
    named = Classes(tuple(classes), background) if classes is not None else classes_of_values(written, background is not None)
    return named, *coded(written, named, "masks")


def check_background(background: int | None) -> None:
    """Raises `DataError` where the background is no value that it can have."""
    if background not in (0, None):
        raise DataError([Problem("background", f"{background}, 0 or None expected", "give the background the label value 0")])


def packed_labels(labels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Masks with one number per pixel.

    Raises:
        DataError: Some are no masks; all are named.
    """
    stored, problems = {}, []
    for id, label in labels.items():
        try:
            stored[id] = packed(label)
        except Broken as broken:
            problems.append(Problem(f"masks {id}", broken.what, broken.remedy, (id,)))
    if problems:
        raise DataError(problems)
    return stored


def by_id(values: Many | None, ids: Sequence[str] | None, name: str) -> dict[str, Any]:
    """One form inside: id -> value. Lists get running numbers as ids."""
    if values is None:
        return {}
    if isinstance(values, Mapping):
        strange = [str(id) for id in values if ids is not None and id not in ids]
        if strange:
            remedy = "use the ids of the images"
            raise DataError([Problem(f"{name} {id}", "there is no image with this id", remedy, (id,)) for id in strange])
        return {str(id): value for id, value in values.items()}
    if ids is not None and len(values) != len(ids):
        raise DataError([Problem(name, f"{len(values)} values for {len(ids)} images", "give one for each image (None = unknown)")])
    width = max(3, len(str(len(values) - 1)))
    return dict(zip(ids if ids is not None else [f"{i:0{width}}" for i in range(len(values))], values, strict=True))


def _image_problems(id: str, image: np.ndarray) -> Iterable[Problem]:
    if image.ndim not in (2, 3) or 0 in image.shape:
        yield Problem(f"images {id}", f"shape {image.shape}, (h, w) or (h, w, c) expected", "give one image per id, channels last", (id,))
    elif image.ndim == 3 and image.shape[2] > 64:
        yield Problem(f"images {id}", f"shape {image.shape} would be {image.shape[2]} channels", "put the channels last: (h, w, c)", (id,))
    elif not (np.issubdtype(image.dtype, np.number) or image.dtype == np.bool_) or np.iscomplexobj(image):
        yield Problem(f"images {id}", f"type {image.dtype}, numbers expected", "give integers or floats", (id,))


def _channels(image: np.ndarray) -> int:
    return 1 if image.ndim == 2 else image.shape[2]


def _channel_problem(id: str, image: np.ndarray, channels: int) -> Problem:
    what = f"{_channels(image)} channels, another one has {channels}"
    return Problem(f"images {id}", what, "give all images the same channels (gray ones are repeated)", (id,))


def split_problem(id: str, part: object) -> Problem:
    """What to say about a split that there is not."""
    return Problem(f"split {id}", f"{part}, one of {', '.join(SPLITS)} expected", f"write {nearest(str(part), SPLITS) or 'train'}", (id,))


def classes_of(tags: Mapping[str, Any], seen: Sequence[Mapping[int, int]], background: int | None) -> Classes:
    """Names out of the tags, and as many as the masks need, of which stored value -> pixels is known."""
    names = sorted({plain(name.strip()) for found in tags.values() for name in _several(found) if isinstance(name, str)})
    front = [] if background is None else ["background"]
    numbers = [int(value) for found in tags.values() for value in _several(found) if not isinstance(value, str)]
    highest = [int(value) for one in seen for value in one if 0 <= value < IGNORED]
    known = [*front, *names]
    # A set with masks of 0 and 255 only has one class.
    count = max([len(known), 2 if seen and background == 0 else 1, *(value + 1 for value in (*numbers, *highest))])
    return Classes(tuple(known + [f"class {i}" for i in range(len(known), count)]), background)


def _several(found: Any) -> Iterable[Any]:
    """A single tag may stand for itself."""
    return (found,) if isinstance(found, str) else found


def spelled(named: Classes, marked: Mapping[str, Any]) -> Iterable[Problem]:
    """Tags that differ in their spelling only."""
    written = {id: tuple(plain(tag.strip()) for tag in _several(found) if isinstance(tag, str)) for id, found in marked.items()}
    return spellings(named.names, Tags(written, {id: f"tags {id}" for id in written}))


def notes_of(values: Values, seen: Sequence[Mapping[int, int]], named: Classes) -> tuple[str, ...]:
    """What label values were taken to mean."""
    if values.meaning == "listed":
        return (f"masks: {say(values, named)}",)
    if values.meaning != "ids":
        return ("masks: 0 = background, other values = the class",)
    what = doubt("masks", seen, named)[0]
    return (f"masks: {what}: give unlabeled pixels the value {IGNORED}, or say values={{0: '{UNLABELED}', …}}",) if what else ()


def tags_of(id: str, found: Iterable[Any], classes: Classes, problems: list[Problem]) -> tuple[int, ...]:
    """Label values of an image's tags; those that are no class go to the problems."""
    values = set()
    for tag in _several(found):
        if isinstance(tag, str) and plain(tag.strip()) in classes.names:
            values.add(classes.names.index(plain(tag.strip())))
        elif not isinstance(tag, str) and 0 <= int(tag) < len(classes):
            values.add(int(tag))
        else:
            near = nearest(str(tag), classes.names)
            problems.append(Problem(f"tags {id}", f"{tag} is no class", f"did you mean {near}?" if near else "add it to classes", (id,)))
    return tuple(sorted(values - {classes.background}))


def _reading_problems(id: str, sample: Sample) -> Iterable[Problem]:
    for name, reader in (("images", sample.read_image), ("masks", sample.read_label)):
        try:
            if reader is not None:
                reader.read()  # pyright: ignore[reportFunctionMemberAccess] (our own readers)
        except Broken as broken:
            yield Problem(f"{name} {id}", broken.what, broken.remedy, (id,))
