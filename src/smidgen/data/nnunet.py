"""Reads nnU-Net datasets: imagesTr, labelsTr, imagesTs, dataset.json; one file per channel, or one color file per case; 2D or volumes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smidgen.core.errors import DataError, Problem
from smidgen.data.assembling import OURS, Drawing, Parts, assemble
from smidgen.data.channel_names import are_complete, by_case, written
from smidgen.data.contents import Contents
from smidgen.data.folder import Found, report_doubled
from smidgen.data.images import SUFFIXES, Broken, Header, header
from smidgen.data.layout import IMAGES, Layout, Listing, Sought, list_files, told
from smidgen.data.mapped import MappedLabelFile
from smidgen.data.naming import BACKGROUND
from smidgen.data.nnunet_volumes import VolumeParts, assemble_volumes, sought_in
from smidgen.data.volume_files import NIFTI, suffix_of
from smidgen.products.sample import IGNORED, Classes

JSON = "dataset.json"
TRAIN, TEST = ("imagesTr", "labelsTr"), ("imagesTs", "labelsTs")
SPLITS = "splits_final.json"
IGNORE = "ignore"


@dataclass(frozen=True)
class _Table:
    """dataset.json.

    Args:
        names: Label value -> class name, without the ignore label.
        ignored: Label value of unlabeled pixels; None = there is none.
        channels: Names of the channels, in order.
        ending: What the files' names end with.
        background: Label value 0 is the background.
    """

    names: Mapping[int, str]
    ignored: int | None
    channels: tuple[str, ...]
    ending: str
    background: bool = True


@dataclass
class _Cases:
    """Case -> its files, one per channel, and what they are called."""

    files: dict[str, tuple[str, ...]] = field(default_factory=dict)
    tests: set[str] = field(default_factory=set)


def is_nnunet(folder: Path) -> bool:
    """The folder has nnU-Net's names."""
    return (folder / TRAIN[0]).is_dir() and ((folder / JSON).is_file() or (folder / TRAIN[1]).is_dir())


def from_nnunet(folder: Path, drawing: Drawing) -> Contents:
    """Contents of an nnU-Net dataset.

    Args:
        folder: Holds dataset.json and imagesTr.
        drawing: How a split is drawn, and floats are scaled.

    Raises:
        DataError: dataset.json is missing or wrong, or the files' names do not fit it.
    """
    found = Found(folder.absolute(), Layout())
    table = _table(found)
    sought = sought_in(found.folder / TRAIN[0], table.ending)
    cases, listing = _cases(found, table, sought)
    labels = _labels(found, cases, sought)
    order = sorted(table.names)
    lookup = {value: i for i, value in enumerate(order)} | ({} if table.ignored is None else {table.ignored: IGNORED})
    _say(found, table, cases, labels, order)
    known = f"{JSON} lists {told([f'{value} ({table.names[value]})' for value in order])}" + (
        "" if table.ignored is None else f" and {table.ignored} (ignore)"
    )

    numbers = {} if order == list(range(len(order))) else {table.names[value]: value for value in order}
    classes = Classes(tuple(table.names[value] for value in order), 0 if table.background else None)
    if sought is not IMAGES:
        stored, tests = tuple(sorted(lookup.items())), frozenset(cases.tests)
        volumes = VolumeParts(found, cases.files, labels, classes, stored, known, _split(found, cases), tests, numbers)
        return assemble_volumes(volumes, drawing)

    def label(id: str, head: Header) -> MappedLabelFile | None:
        return MappedLabelFile(labels[id], head.size, tuple(sorted(lookup.items())), known=known) if id in labels else None

    parts = Parts(
        found,
        listing,
        classes,
        label,
        split=_split(found, cases),
        tests=frozenset(cases.tests),
        ids=numbers,
        mask_values=() if not numbers or order[-1] >= 1 << 16 else tuple(order),  # PNG holds 16 bits
        channels=cases.files,
    )
    return assemble(parts, drawing)


def _say(found: Found, table: _Table, cases: _Cases, labels: Mapping[str, str], order: list[int]) -> None:
    found.notes.append(f"read as nnU-Net: {len(cases.files)} cases, {len(labels)} with labels")
    if len(table.channels) > 1:
        found.notes.append(f"channels: {told([f'{i} = {name}' for i, name in enumerate(table.channels)])}")
    if order != list(range(len(order))):
        meant = [f"{value} = {table.names[value]}" for value in order]
        found.notes.append(f"labels: {told(meant)}; inside they are 0 to {len(order) - 1}, and the numbers are kept for export")
    if table.ignored is not None:
        found.notes.append(f"labels: {table.ignored} = unlabeled")


# ---------------------------------------------------------------- dataset.json


def _table(found: Found) -> _Table:
    path = found.folder / JSON
    if not path.is_file():
        raise DataError([Problem(JSON, f"is missing beside {TRAIN[0]}", "write it as nnU-Net describes, with labels and channel_names")])
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError([Problem(JSON, f"not readable as JSON ({error})", "correct the file")]) from error
    if not isinstance(content, dict) or not isinstance(content.get("labels"), dict):
        raise DataError([Problem(JSON, "has no labels", 'write "labels": {"background": 0, "cell": 1}')])
    names, ignored = _label_names(content["labels"])
    channels = content.get("channel_names", content.get("modality", {"0": "image"}))
    if isinstance(channels, dict):
        channels = [channels[key] for key in sorted(channels, key=lambda key: (len(key), key))]
    in_order = tuple(map(str, channels)) if isinstance(channels, list) else ("image",)
    ours = content.get(OURS)
    no_background = isinstance(ours, dict) and ours.get(BACKGROUND, 0) is None
    names = {value: name for value, name in names.items() if value or not no_background}
    return _Table(names, ignored, in_order, str(content.get("file_ending", ".nii.gz")), not no_background)


def _label_names(labels: Mapping[str, Any]) -> tuple[dict[int, str], int | None]:
    """Label value -> name, and the value that means unlabeled; version 1 wrote them the other way round."""
    if labels and all(key.isdecimal() for key in labels):
        labels = {str(name): int(value) for value, name in labels.items()}
    regions = [name for name, value in labels.items() if isinstance(value, list)]
    if regions:
        what = f"{told(regions)}: regions made of several labels are not read"
        raise DataError([Problem(JSON, what, "list each label by itself, with one number")])
    strange = [f"{name}: {value}" for name, value in labels.items() if not isinstance(value, int) or not 0 <= value < 1 << 24]
    names = {value: " ".join(name.split()) for name, value in labels.items() if name != IGNORE}
    double = len(names) < len(labels) - (IGNORE in labels)
    if strange or double:
        what = f"labels: {told(strange)}, whole numbers expected" if strange else "labels: a number stands there twice"
        raise DataError([Problem(JSON, what, 'write "labels": {"background": 0, "cell": 1}')])
    names.setdefault(0, BACKGROUND)
    return names, labels.get(IGNORE)


# ---------------------------------------------------------------- files


def _cases(found: Found, table: _Table, sought: Sought) -> tuple[_Cases, Listing]:
    cases, listing = _Cases(), Listing()
    for name in (TRAIN[0], TEST[0]):
        if not (found.folder / name).is_dir():
            continue
        files = _files(found, name, table, sought)
        several = by_case(files)
        _check_channels(found, name, table, several, files, sought)
        for case, channels in several.items():
            if case in cases.files:
                what = f"{case} is in {TRAIN[0]} and in {TEST[0]}"
                found.problems.append(Problem(name, what, "rename or remove one of the two", (case,)))
                continue
            paths = tuple(path for _, path in sorted(channels.items()))
            cases.files[case], listing.files[case] = paths, paths[0]
            listing.ids[Path(paths[0]).name] = case
            cases.tests |= {case} if name == TEST[0] else set()
    return cases, listing


def _files(found: Found, folder: str, table: _Table, sought: Sought) -> dict[str, str]:
    """Name without suffix -> path."""
    listing = list_files(found.folder / folder, sought=sought)
    report_doubled(found, listing)
    if not listing.files and folder == TRAIN[0]:
        what = f"no images found: looked for *{table.ending}" + (f", there is {told(listing.ignored)}" if listing.ignored else "")
        raise DataError([Problem(f"{folder}/", what, f"copy images of one of {told(sorted((*SUFFIXES, *NIFTI)))} there")])
    endings = sorted({suffix_of(path) for path in listing.files.values()})
    if endings and endings != [table.ending]:
        found.notes.append(f"{JSON} says files end in {table.ending}; those in {folder}/ end in {told(endings)} and are read all the same")
    return listing.files


def _check_channels(
    found: Found, folder: str, table: _Table, cases: Mapping[str, dict[int, str]], files: Mapping[str, str], sought: Sought
) -> None:
    """The channels that names tell are those that dataset.json declares.

    Raises:
        DataError: Numbers at the end of names seem to be something else than channels.
    """
    declared, labels = len(table.channels), found.folder / TRAIN[1]
    expected = {case: _expected(channels, declared) if sought is IMAGES else declared for case, channels in cases.items()}
    wrong = {case: channels for case, channels in cases.items() if not are_complete(channels, expected[case])}
    if not wrong:
        return
    with_labels = set(list_files(labels, sought=sought).files) if labels.is_dir() else set()
    if with_labels & set(files) or len(wrong) == len(cases):
        case, channels = next(iter(wrong.items()))
        names = told([Path(path).name for path in channels.values()])
        of = "1 channel" if len(channels) == 1 else f"{len(channels)} channels"
        what = f"{len(cases)} case{'s' if len(cases) > 1 else ''}, {case} with {of} ({names}), but {JSON} declares {declared}"
        remedy = f"is the channel suffix missing? Names end in _0000{table.ending} for the first channel, labels have no suffix"
        raise DataError([Problem(f"{folder}/", what, remedy)])
    for case, channels in wrong.items():
        what = f"channels {told(written(channels))}, 0000 to {declared - 1:04} expected"
        found.problems.append(Problem(f"{folder}/{case}", what, "add the missing files, or leave the case out", (case,)))


def _expected(channels: Mapping[int, str], declared: int) -> int:
    """How many files a case has: one per channel, or a single one that holds all of them."""
    if len(channels) > 1 or declared == 1:
        return declared
    try:
        return 1 if header(next(iter(channels.values()))).channels == declared else declared
    except Broken:
        return 1  # the file is named when its header is read


def _labels(found: Found, cases: _Cases, sought: Sought) -> dict[str, str]:
    """Case -> label file; training cases without one are named."""
    labels: dict[str, str] = {}
    for name in (TRAIN[1], TEST[1]):
        if not (found.folder / name).is_dir():
            continue
        for case, path in list_files(found.folder / name, sought=sought).files.items():
            if case in cases.files:
                labels[case] = path
            else:
                remedy = "add the image, or rename the label like its case"
                found.problems.append(Problem(found.shown(path), f"there is no image {case}_0000", remedy, (case,)))
    missing = [case for case in cases.files if case not in labels and case not in cases.tests]
    if missing:
        found.notes.append(
            f"{len(missing)} cases of {TRAIN[0]} have no label ({told(missing)}): read as unlabeled, which nnU-Net does not allow"
        )
    return labels


def _split(found: Found, cases: _Cases) -> dict[str, str] | None:
    """Train and val of imagesTr: the first fold of splits_final.json; None where there is no such file."""
    path = found.folder / SPLITS
    if not path.is_file():
        return None
    try:
        fold = json.loads(path.read_bytes())[0]
        parts = {str(case): part for part in ("train", "val") for case in fold[part]}
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        remedy = 'write [{"train": […], "val": […]}], or remove the file'
        raise DataError([Problem(SPLITS, f"has no first fold with train and val ({error})", remedy)]) from error
    found.notes.append(f"{SPLITS}: its first fold is the split")
    return {case: part for case, part in parts.items() if case in cases.files}
