"""Texts of PASCAL VOC folders: lists of images, tags, boxes in XML, and CVAT's labelmap.txt of names and colors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from smidgen.core.errors import DataError, Problem
from smidgen.data.broken import Broken, unread
from smidgen.data.layout import told
from smidgen.data.tables import Names

COLOR = tuple[int, int, int]
VOC_NAMES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""The twenty classes in the order of their label values, from 1."""
LARGEST_XML = 10_000_000
"""Bytes; a list of boxes is some thousand times smaller."""
SPLIT_LISTS = ("train", "val", "test")


def voc_color(value: int) -> COLOR:
    """VOC's color of a label value: its bits, three at a time, become the high bits of red, green and blue."""
    red = green = blue = 0
    for place in range(7, -1, -1):
        red |= (value & 1) << place
        green |= (value >> 1 & 1) << place
        blue |= (value >> 2 & 1) << place
        value >>= 3
    return red, green, blue


@dataclass(frozen=True)
class ColorName:
    """One line of labelmap.txt."""

    name: str
    color: COLOR


def read_labelmap(path: Path) -> list[ColorName]:
    """Names and colors, in the order of the lines `name:red,green,blue::`.

    Raises:
        DataError: A line is none, or a name or a color stands there twice.
    """
    entries, problems = [], []
    for number, line in enumerate(_lines(path), 1):
        parts = [*line.rsplit(":", 3), "", ""]
        color = parts[1].split(",")
        if not line.strip() or (line.startswith("#") and not (len(color) == 3 and color[0].strip().isdecimal())):
            continue
        if len(color) != 3 or not all(one.strip().isdecimal() and int(one) < 256 for one in color):
            problems.append(Problem(f"{path.name} line {number}", f"{line!r} is no line like `cat:128,0,0::`", "correct the line"))
            continue
        red, green, blue = map(int, color)
        entries.append(ColorName(parts[0].strip(), (red, green, blue)))
    for kind in ("name", "color"):
        seen = [getattr(entry, kind) for entry in entries]
        double = [str(one) for one in dict.fromkeys(seen) if seen.count(one) > 1]
        if double:
            problems.append(Problem(path.name, f"the {kind} {told(double)} stands there twice", f"give each class a {kind} of its own"))
    if problems or not entries:
        raise DataError(problems or [Problem(path.name, "no class is named", "write lines like `cat:128,0,0::`")])
    return entries


def read_names(path: Path) -> list[str]:
    """The images that a list names, one per line."""
    return [line.strip() for line in _lines(path) if line.strip()]


def read_split_lists(folder: Path, names: Names, shown: str, problems: list[Problem]) -> dict[str, str]:
    """Image id -> train, val or test, as the lists of a folder say."""
    split: dict[str, str] = {}
    for part in SPLIT_LISTS:
        path = folder / f"{part}.txt"
        for name in read_names(path) if path.is_file() else ():
            id = names.find(name) or names.find(name.split()[0])
            if id is None:
                problems.append(Problem(f"{shown}/{path.name}", f"there is no image {name}", "add the image, or remove the line", (name,)))
            elif split.setdefault(id, part) != part:
                what = f"{id} is in {split[id]} and in {part}"
                problems.append(Problem(f"{shown}/{path.name}", what, "keep one of the two lines", (id,)))
    return split


def read_class_lists(folder: Path, names: Names) -> dict[str, tuple[str, ...]]:
    """Image id -> classes, from Main/CLASS_SPLIT.txt: `name 1` = there, `name 0` = there but hard to see, `name -1` = not there."""
    tags: dict[str, tuple[str, ...]] = {}
    for path in sorted(folder.glob("*_*.txt")):
        name, _, part = path.stem.rpartition("_")
        if part not in (*SPLIT_LISTS, "trainval", "default"):
            continue
        for line in read_names(path):
            image, _, there = line.rpartition(" ")
            id = names.find(image)
            if id is not None and there in ("1", "0", "-1"):
                known = tags.setdefault(id, ())
                if there != "-1" and name not in known:
                    tags[id] = (*known, name)
    return tags


class _NoDoctype(ET.TreeBuilder):
    """Builds a tree, and stops where a document type is declared: only there can entities be defined."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise Broken("declares a document type, which boxes do not need", "remove the DOCTYPE line")


def read_objects(path: Path) -> tuple[str, ...]:
    """Names of the objects in an XML file of boxes; raises `Broken`."""
    if path.stat().st_size > LARGEST_XML:
        raise Broken(f"larger than {LARGEST_XML // 1_000_000} MB", "export it again")
    try:
        root = ET.fromstring(path.read_bytes(), parser=ET.XMLParser(target=_NoDoctype()))
    except (ET.ParseError, ValueError, LookupError) as error:
        raise Broken(f"not readable as XML ({error})", "export it again") from error
    return tuple(dict.fromkeys(" ".join((one.text or "").split()) for one in root.iterfind("object/name")))


def read_boxes(folder: Path, ids: Iterable[str], shown: str, problems: list[Problem]) -> dict[str, tuple[str, ...]]:
    """Image id -> names of its objects, where it has an XML file; () = known to hold none.

    Args:
        folder: Annotations/.
        ids: The images' ids.
        shown: How messages call the folder.
        problems: Gets what is broken.
    """
    tags = {}
    for id in ids:
        path = folder / f"{id}.xml"
        if not path.is_file():
            continue
        try:
            tags[id] = read_objects(path)
        except Broken as broken:
            problems.append(Problem(f"{shown}/{id}.xml", broken.what, broken.remedy, (id,)))
        except OSError as error:
            problems.append(Problem(f"{shown}/{id}.xml", *unread(error), (id,)))
    return tags


def _lines(path: Path) -> list[str]:
    """Lines of a text, whatever ends them.

    Raises:
        DataError: It is no UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError([Problem(path.name, f"not readable as UTF-8 text ({error})", "save it as UTF-8")]) from error
