"""What lies where in a dataset's folder: dataset.yaml, lists of files, and which label file belongs to which image."""

from __future__ import annotations

import difflib
import os
import unicodedata
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import yaml
from pydantic import ValidationError

from smidgen.core.errors import DataError, Problem
from smidgen.core.settings import Frozen
from smidgen.data.broken import unread
from smidgen.data.images import SUFFIXES
from smidgen.data.volume_files import suffix_of

YAML = "dataset.yaml"
GROUPS = "groups.csv:group"
"""Read where dataset.yaml names no groups and there is such a file."""
LABEL_FOLDERS = ("masks", "labels")
RESERVED = frozenset({"masks", "labels", "scribbles", "instances", "volumes"})
"""Folders that are never folders of a tag."""
SPLIT_FOLDERS = frozenset({"train", "val", "test", "validation", "training", "testing"})
SHOWN = 3


class Layout(Frozen):
    """dataset.yaml; every entry may be missing."""

    images: str | None = None
    """Folder of the images or volumes, relative to the dataset's; default images or volumes, or the dataset's folder itself."""
    labels: str | None = None
    """Folder of the masks; default masks, else labels."""
    classes: tuple[str, ...] | str | None = None
    """Names in the order of their label values, or a file with one name per line; default classes.txt."""
    background: Literal[0, "none"] | None = None
    """0: label value 0 is the background. none: every pixel belongs to a real class."""
    values: dict[int | str, str] | None = None
    """What stored label values mean, where they are no class indices: value, or color like "#ff0000" -> class, or unlabeled."""
    ids: dict[str, int] | None = None
    """Numbers that the classes had in the format they came from (`smidgen convert`), by name; they have no meaning here."""
    groups: str | None = None
    """FILE:COLUMN, a table with the column filename; items of one group stay in one split; default groups.csv:group where it is there."""
    unlabeled: str | None = None
    """Folder of further images that have no labels."""
    nodata: float | None = None
    """Value of pixels without data, in files that do not say it themselves; `nan` for holes in floating-point images."""
    channels: Literal["all"] | None = None
    """all: alpha, and the pages of a TIFF, are channels of the image like others."""
    spacing: Literal["file", "nominal", "unknown"] | None = None
    """Whether the distances between samples that stand in the files can be trusted."""


@dataclass(frozen=True)
class Listing:
    """The image files below a folder.

    Args:
        files: Id (path below the folder without suffix, NFC) -> path of the file.
        ids: File name (path below the folder, NFC) -> id.
        doubled: Id -> further files with the same id, which are not read.
        ignored: What else lies there: other files, empty folders.
    """

    files: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    doubled: dict[str, list[str]] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)


def plain(name: str) -> str:
    """A file name in the one spelling that is compared: NFC, because é has two."""
    return unicodedata.normalize("NFC", name)


def without_suffix(name: str) -> str:
    """An id: the file name without `.nii.gz`, `.ome.zarr`, or what follows its last dot."""
    head = name.removesuffix(suffix_of(name))
    return head if head and not head.endswith("/") else name


def nearest(name: str, known: Collection[str]) -> str | None:
    """The known name that is most like this one, whatever their case; None where none is alike."""
    folded = {one.casefold().strip(): one for one in known}
    found = difflib.get_close_matches(name.casefold().strip(), folded, n=1)
    return folded[found[0]] if found else None


def read_layout(folder: Path) -> Layout:
    """dataset.yaml, where there is one.

    Raises:
        DataError: It is no YAML, or has unknown keys or impossible values; all are named.
    """
    path = folder / YAML
    if not path.is_file():
        return Layout()
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8-sig")) or {}
    except OSError as error:
        raise DataError([Problem(YAML, *unread(error))]) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError([Problem(YAML, f"not readable ({' '.join(str(error).split())})", "write lines like `background: 0`")]) from error
    if not isinstance(entries, dict):
        raise DataError([Problem(YAML, "a list of entries was expected", "write lines like `background: 0`")])
    try:
        return Layout(**{str(name): entry for name, entry in entries.items()})
    except ValidationError as error:
        raise DataError([_wrong_entry(one["loc"], one["msg"]) for one in error.errors()]) from error


def _wrong_entry(where: tuple[int | str, ...], message: str) -> Problem:
    name = str(where[0])
    if name in Layout.model_fields:
        return Problem(YAML, f"{name}: {message}", Layout.model_fields[name].description or "")
    near = nearest(name, Layout.model_fields)
    return Problem(YAML, f"unknown entry {name}", f"did you mean {near}?" if near else f"known are {', '.join(Layout.model_fields)}")


@dataclass(frozen=True)
class Sought:
    """What is listed.

    Args:
        suffixes: Of files, in small letters.
        is_one: Whether a folder is one thing by itself (a Zarr array, a series of slices), so that nothing in it is listed.
    """

    suffixes: frozenset[str] = SUFFIXES
    is_one: Callable[[str], bool] = lambda path: False


IMAGES = Sought()


def list_files(folder: Path, skip: Collection[str] = (), prefix: str = "", sought: Sought = IMAGES) -> Listing:
    """All image files below a folder, in order of name.

    Args:
        folder: Where to look, subfolders included; hidden files and folders are left out.
        skip: Names of folders directly below that are left out.
        prefix: Put before every id and file name.
        sought: Other things than images.

    Raises:
        DataError: A folder may not be read.
    """
    listing = Listing()
    _walk(str(folder), prefix, frozenset(skip), listing, {os.path.realpath(folder)}, sought)
    return listing


def _walk(folder: str, prefix: str, skip: frozenset[str], listing: Listing, seen: set[str], sought: Sought) -> None:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError([Problem(folder, *unread(error))]) from error
    folders = []
    for entry in entries:
        if (name := _legible(entry.name)) != entry.name:
            listing.ignored.append(f"{prefix}{name} (its name is no UTF-8: rename it)")
        elif _answers(entry.is_dir):
            folders.append(entry)
        elif entry.name.startswith(".") or suffix_of(entry.name).lower() not in sought.suffixes or not _is_file(entry):
            listing.ignored.append(prefix + plain(entry.name))
        else:
            _add(entry, prefix + plain(entry.name), listing)
    for entry in folders:
        real = os.path.realpath(entry.path)
        if entry.name in skip or entry.name.startswith(".") or real in seen:
            continue
        if sought.is_one(entry.path):
            _add(entry, prefix + plain(entry.name), listing)
            continue
        before = len(listing.files)
        _walk(entry.path, f"{prefix}{plain(entry.name)}/", frozenset(), listing, seen | {real}, sought)
        if len(listing.files) == before:
            listing.ignored.append(f"{prefix}{plain(entry.name)}/")


def _legible(name: str) -> str:
    """A file name that can be printed and written into tables: bytes that are no text become their numbers."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _answers(question: Callable[[], bool]) -> bool:
    """What the system says about an entry; a link that points at itself is nothing."""
    try:
        return question()
    except OSError:
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() or entry.is_file()


def _add(entry: os.DirEntry[str], name: str, listing: Listing) -> None:
    id = without_suffix(name)
    if id in listing.files:
        listing.doubled.setdefault(id, []).append(entry.path)
        return
    listing.files[id] = entry.path
    listing.ids[name] = id


def told(names: Collection[str]) -> str:
    """Some names for people: the first few and how many more."""
    first = list(names)[:SHOWN]
    more = len(names) - len(first)
    return ", ".join(first) + (f" and {more} more" if more > 0 else "")


@dataclass(frozen=True)
class Pairs:
    """Which label file belongs to which image.

    Args:
        files: Id of the image -> path of the label file.
        orphans: Ids of label files without an image.
        affix: What label names have before and behind the image's name.
    """

    files: dict[str, str]
    orphans: tuple[str, ...]
    affix: tuple[str, str] = ("", "")


def pair(images: Collection[str], labels: Mapping[str, str]) -> Pairs:
    """Pair by exact name; where no name is equal, by the one addition (like `_mask`) that fits most labels.

    Args:
        images: Ids of the images.
        labels: Id of each label file -> its path.
    """
    known = frozenset(images)
    exact = {id: path for id, path in labels.items() if id in known}
    if exact or not labels:
        return Pairs(exact, tuple(id for id in labels if id not in known))
    before, behind = _affix(known, labels)
    if not (before or behind):
        return Pairs({}, tuple(labels))
    named = {id: _inner(id, before, behind) for id in labels}
    files = {inner: labels[id] for id, inner in named.items() if inner in known}
    return Pairs(files, tuple(id for id, inner in named.items() if inner not in known), (before, behind))


def _affix(images: frozenset[str], labels: Mapping[str, str]) -> tuple[str, str]:
    """The addition with which most labels, and more than half of them, become names of images."""
    first = next(iter(labels))
    parent, _, name = first.rpartition("/")
    parent = f"{parent}/" if parent else ""
    cuts = [(start, stop) for start in range(len(name)) for stop in range(start + 1, len(name) + 1) if parent + name[start:stop] in images]
    best, most = ("", ""), len(labels) // 2
    for start, stop in sorted(cuts, key=lambda cut: cut[0] - cut[1]):
        affix = (name[:start], name[stop:])
        fits = len({_inner(id, *affix) for id in labels} & images)
        if fits > most:
            best, most = affix, fits
    return best


def _inner(id: str, before: str, behind: str) -> str:
    """A label's name without the addition; "" where it has it not."""
    parent, slash, name = id.rpartition("/")
    fits = name.startswith(before) and name.endswith(behind) and len(name) > len(before) + len(behind)
    return f"{parent}{slash}{name[len(before) : len(name) - len(behind)]}" if fits else ""
