"""Reads folders in the form of PASCAL VOC: palette or color masks, objects, lists of images, tags from Main lists or from boxes in XML.

With a labelmap.txt (CVAT writes one) the colors of the masks mean the classes; else the values of palette pictures are the classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smidgen.core.errors import DataError, Problem
from smidgen.data.assembling import Drawing, Parts, assemble
from smidgen.data.contents import Contents
from smidgen.data.folder import MASKS_SEEN, Found, paired, report_doubled
from smidgen.data.images import Broken, Header, header, stored_values
from smidgen.data.labels import InstanceFile, LabelFile, color_key, histogram, packed
from smidgen.data.layout import Layout, Listing, list_files, told
from smidgen.data.mapped import MappedLabelFile
from smidgen.data.naming import BACKGROUND
from smidgen.data.splits import shuffled
from smidgen.data.tables import Names
from smidgen.data.voc_tables import (
    VOC_NAMES,
    ColorName,
    read_boxes,
    read_class_lists,
    read_labelmap,
    read_split_lists,
    voc_color,
)  # fmt: skip
from smidgen.products.sample import IGNORED, Classes

IMAGES, MASKS, OBJECTS = "JPEGImages", "SegmentationClass", "SegmentationObject"
LABELMAP = "labelmap.txt"
VOID = frozenset({"ignore", "ignored", "void", "unlabeled"})
"""Names in labelmap.txt that mean unlabeled pixels."""
Tags = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class _Coding:
    """What the masks' values or colors mean.

    Args:
        classes: Names of the label values.
        table: Stored value or color -> label value; None: values are label values.
        known: Where that stands, for messages.
    """

    classes: Classes
    table: Mapping[int, int] | None = None
    known: str = ""


def voc_folder(folder: Path) -> Path | None:
    """The folder that holds JPEGImages: this one, or VOCdevkit/VOC2012 and the like below it; None where there is none.

    Raises:
        DataError: There are several.
    """
    for pattern in ("", "VOC20*", "VOCdevkit/VOC20*"):
        found = [path for path in (sorted(folder.glob(pattern)) if pattern else [folder]) if (path / IMAGES).is_dir()]
        if len(found) > 1:
            names = told([path.relative_to(folder).as_posix() for path in found])
            raise DataError([Problem(str(folder), f"holds several VOC sets: {names}", "name one of them")])
        if found:
            return found[0]
    if (folder / MASKS).is_dir():
        raise DataError([Problem(str(folder), f"has {MASKS}/ but no {IMAGES}/", f"copy the images to {folder.name}/{IMAGES}")])
    return None


def from_voc(folder: Path, drawing: Drawing) -> Contents:
    """Contents of a VOC folder.

    Args:
        folder: Holds JPEGImages.
        drawing: How a split is drawn, and floats are scaled.

    Raises:
        DataError: There are no images to read, or labelmap.txt is wrong.
    """
    found = Found(folder.absolute(), Layout())
    listing = list_files(found.folder / IMAGES)
    report_doubled(found, listing)
    names = Names(listing.ids, IMAGES)
    masks, objects = (paired(found, listing, name, found.folder / name) for name in (MASKS, OBJECTS))
    found.notes.append(f"read as PASCAL VOC: {len(listing.files)} images, {len(masks)} masks, {len(objects)} with objects")
    tags = _tags(found, names, listing)
    coding = _coding(found, masks, tags)
    parts = Parts(
        found,
        listing,
        coding.classes,
        lambda id, head: _label(coding, masks[id], head) if id in masks else None,
        lambda id, head: InstanceFile(objects[id], head.size) if id in objects else None,
        tags=_tied(found, tags, coding.classes),
        split=_split(found, names),
    )
    return assemble(parts, drawing)


def _label(coding: _Coding, path: str, head: Header) -> Any:
    if coding.table is None:
        return LabelFile(path, head.size, len(coding.classes))
    return MappedLabelFile(path, head.size, tuple(sorted(coding.table.items())), True, coding.known)


# ---------------------------------------------------------------- classes


def _coding(found: Found, masks: Mapping[str, str], tags: Tags) -> _Coding:
    """The classes, and what masks' values mean."""
    if (found.folder / LABELMAP).is_file():
        return _of_labelmap(found, read_labelmap(found.folder / LABELMAP), masks)
    used = sorted({name for names in tags.values() for name in names})
    if not masks:
        return _Coding(Classes((BACKGROUND, *(VOC_NAMES if used and set(used) <= set(VOC_NAMES) else used)), 0))
    seen = _seen(masks)
    values, colored = set[int]().union(*(one for _, one in seen)), 2 * sum(mode == "RGB" for mode, _ in seen) > len(seen)
    codes = {color_key(*voc_color(i)): i for i in range(IGNORED)}
    highest = max((codes.get(value, 0) if colored else value for value in values), default=0)
    highest = min(highest, IGNORED - 1)
    if set(used) <= set(VOC_NAMES) and highest <= len(VOC_NAMES):
        classes = Classes((BACKGROUND, *VOC_NAMES), 0)
        found.notes.append(f"{MASKS}/: values are the twenty classes of VOC in their order; a {LABELMAP} would name others")
    else:
        classes = Classes((BACKGROUND, *(f"class {i}" for i in range(1, highest + 1))), 0)
        what = f"holds values up to {highest}, and no {LABELMAP} tells which class is which"
        found.problems.append(Problem(f"{MASKS}/", what, f"write {LABELMAP} with lines like `cat:128,0,0::` for VOC's colors"))
    if not colored:
        return _Coding(classes)
    found.notes.append(f"{MASKS}/: color pictures, whose colors are VOC's")
    table = {color_key(*voc_color(i)): i for i in range(len(classes))}
    return _Coding(classes, table | {color_key(*voc_color(IGNORED)): IGNORED}, "the colors of VOC are known")


def _seen(masks: Mapping[str, str]) -> list[tuple[str, set[int]]]:
    """Pixel format, and values (or colors, as `color_key` gives them) without 255, of some masks."""
    seen = []
    for path in shuffled(masks.values(), "masks")[:MASKS_SEEN]:
        try:
            seen.append((header(path).mode, set(histogram(packed(stored_values(path)))) - {IGNORED}))
        except Broken:
            continue  # verification names it
    return seen


def _of_labelmap(found: Found, entries: list[ColorName], masks: Mapping[str, str]) -> _Coding:
    """Background is the entry of this name, or black, wherever it stands; the others keep their order."""
    void = [entry for entry in entries if entry.name.casefold() in VOID]
    kept = [entry for entry in entries if entry not in void]
    zero = next((entry for entry in kept if entry.name.casefold() == BACKGROUND), None)
    zero = zero or next((entry for entry in kept if entry.color == (0, 0, 0)), None)
    order = [*([zero] if zero else []), *(entry for entry in kept if entry is not zero)]
    colors = {color_key(*entry.color): value for value, entry in enumerate(order)}
    colors |= {color_key(*entry.color): IGNORED for entry in void}
    usual = {color_key(*voc_color(IGNORED)): IGNORED, IGNORED: IGNORED}
    values = set[int]().union(*(one for mode, one in _seen(masks) if mode != "P"))
    by_number = bool(values) and max(values) < len(entries) and not values <= colors.keys()
    if by_number:
        colors = {line: IGNORED if entry in void else order.index(entry) for line, entry in enumerate(entries)}
        found.notes.append(f"{MASKS}/: gray values are lines of {LABELMAP}, counted from 0")
    meant = f"background is {zero.name}" if zero else "there is no background"
    found.notes.append(
        f"{LABELMAP}: {len(order)} classes by color, {meant}" + (f"; {told([one.name for one in void])}: unlabeled" if void else "")
    )
    classes = Classes(tuple(entry.name for entry in order), 0 if zero else None)
    return _Coding(classes, usual | colors, f"{LABELMAP} names those that are known")


# ---------------------------------------------------------------- tags and splits


def _tags(found: Found, names: Names, listing: Listing) -> Tags:
    """Class names of each image: from the lists in ImageSets/Main, else from its boxes."""
    main, boxes = found.folder / "ImageSets" / "Main", found.folder / "Annotations"
    listed = read_class_lists(main, names) if main.is_dir() else {}
    objects = read_boxes(boxes, listing.files, "Annotations", found.problems) if boxes.is_dir() else {}
    if listed or objects:
        found.notes.append(f"tags: {len(listed)} images from ImageSets/Main, {len(objects.keys() - listed)} from the boxes in Annotations")
    return objects | listed


def _tied(found: Found, tags: Tags, classes: Classes) -> dict[str, tuple[int, ...]]:
    """Label values of the tags; names that are no class are problems."""
    values = {name: i for i, name in enumerate(classes.names)}
    tied = {}
    for id, names in tags.items():
        strange = [name for name in names if name not in values and name.casefold() not in VOID]
        if strange:
            remedy = f"correct it, or add it to {LABELMAP}"
            found.problems.append(Problem(f"tags of {id}", f"{told(strange)} is no class", remedy, (id,)))
        tied[id] = tuple(sorted({values[name] for name in names if name in values} - {classes.background}))
    return tied


def _split(found: Found, names: Names) -> dict[str, str] | None:
    """From ImageSets/Segmentation, and for images that are not there from Main; None where there are no such lists."""
    sets = found.folder / "ImageSets"
    missing: list[Problem] = []
    split = read_split_lists(sets / "Main", names, "ImageSets/Main", missing)
    if missing:
        # Many keep only the images that have masks.
        found.notes.append(f"ImageSets/Main: {len(missing)} names without an image are passed over")
    return split | read_split_lists(sets / "Segmentation", names, "ImageSets/Segmentation", found.problems) or None
