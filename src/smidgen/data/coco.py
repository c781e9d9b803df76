"""Reads COCO JSON: polygons, run lengths (compressed or not), crowds, any ids; images lie where the files say, below one folder.

What overlaps is drawn with the smaller object on top. Crowds are unlabeled pixels. An image without annotations may be one without objects
or one that nobody has looked at: COCO does not tell, so it counts as unlabeled unless the caller says otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from smidgen.core.errors import Problem
from smidgen.data.assembling import OURS, Drawing, Parts, assemble
from smidgen.data.coco_entries import LABEL_STUDIO, CocoFile, file_name, load, load_if_coco, path_trick, region
from smidgen.data.contents import Contents
from smidgen.data.folder import Found
from smidgen.data.images import Header
from smidgen.data.labels import size_mismatch
from smidgen.data.layout import Layout, Listing, told, without_suffix
from smidgen.data.naming import BACKGROUND
from smidgen.data.regions import Drawn, Painting
from smidgen.products.sample import IGNORED, Classes

Unannotated = Literal["unlabeled", "negative"]
"""What images without any annotation are."""
SPLIT_WORDS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test", "testing": "test"}
EXTRA = ("cleared", "unlabeled", "no_instance")
"""Run lengths that `smidgen convert` writes beside the annotations; see `regions.Drawn`."""
NAMES_TRIED = 50
"""So many file names of a COCO file decide in which folder its images lie."""
REMARKS = {
    "degenerate": "polygons of fewer than three corners, left out",
    "outside": "outside of the image, left out",
    "hole": "a polygon inside another one: COCO unites them, so it is no hole (write holes as RLE)",
    "box": "only a box: the pixels in it are unlabeled",
}


@dataclass
class _Image:
    """One image entry with its annotations."""

    file: CocoFile
    entry: Mapping[str, Any]
    annotations: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def ours(self) -> Mapping[str, Any]:
        """What `smidgen convert` wrote down about it."""
        found = self.entry.get(OURS)
        return found if isinstance(found, dict) else {}

    @property
    def where(self) -> str:
        """How messages call it."""
        return f"{self.file.path.name} image {self.entry['id']}"


@dataclass(frozen=True)
class _Categories:
    """Which class each category is.

    Args:
        classes: Names of the label values.
        values: Category id -> label value.
        ids: Class name -> category id.
    """

    classes: Classes
    values: Mapping[int | str, int]
    ids: Mapping[str, int]


def coco_files(folder: Path) -> list[CocoFile]:
    """The COCO files of a folder: annotations/*.json, *.json, or one per folder of a split; [] where there are none.

    Raises:
        DataError: A file that is called like one is none.
    """
    for pattern in ("annotations/*.json", "*.json", "*/_annotations.coco.json"):
        found = sorted(path for path in folder.absolute().glob(pattern) if path.is_file())
        named = [load(path) for path in found if path.name.startswith("instances")]
        files = named or [file for path in found if (file := load_if_coco(path)) is not None]
        if files:
            return files
    return []


def from_coco(files: Sequence[CocoFile], folder: Path, drawing: Drawing, unannotated: Unannotated) -> Contents:
    """Contents of COCO files.

    Args:
        files: One, or one for each split, which their names tell.
        folder: The dataset's folder.
        drawing: How a split is drawn, and floats are scaled.
        unannotated: What an image without annotations is: nobody has labeled it, or it is known to hold none.

    Raises:
        DataError: There are no images to read.
    """
    found = Found(folder.absolute(), Layout())
    found.notes.append(f"read as COCO: {told([found.shown(file.path) for file in files])}")
    for file in files:
        found.problems += file.problems
    categories = _categories(files, found)
    images, listing = _images(files, found)
    labels = _Labels(found, images, categories, unannotated)
    parts = Parts(
        found,
        listing,
        categories.classes,
        labels.label,
        labels.instances,
        tags=labels.tags(),
        split=_split(images, found),
        groups={id: str(image.ours["group"]) for id, image in images.items() if image.ours.get("group") is not None},
        instance_classes={id: classes for id in images if (classes := labels.classes_of(id))},
        ids=categories.ids,
    )
    contents = assemble(parts, drawing)
    return replace(contents, notes=(*contents.notes, *labels.notes()))


# ---------------------------------------------------------------- categories


def _categories(files: Sequence[CocoFile], found: Found) -> _Categories:
    """One class for each name, in the order of the file; ids may be any numbers."""
    ours = next((file.ours for file in files if BACKGROUND in file.ours), {})
    names: dict[str, int | str] = {}
    owner: dict[int | str, str] = {}
    for file in files:
        for category in file.categories:
            id, name = category["id"], " ".join(str(category["name"]).split())
            if owner.setdefault(id, name) != name:
                what = f"category {id} is called {name}, elsewhere {owner[id]}"
                found.problems.append(Problem(file.path.name, what, "give each category one name"))
            if names.setdefault(name, id) != id:
                found.notes.append(f"categories {names[name]} and {id} are both called {name}: taken as one class")
    background = ours.get(BACKGROUND, BACKGROUND)
    zero = next((name for name in names if background is not None and name.casefold() == str(background).casefold()), background)
    order = [*([] if background is None else [str(zero)]), *(name for name in names if name != zero)]
    values = {id: order.index(name) for id, name in owner.items()}
    ids = {name: id for name, id in names.items() if isinstance(id, int)}
    usual = all(ids.get(name) == i for i, name in enumerate(order) if name in names)
    if names and not usual:
        shown = [f"{name} ({names[name]})" for name in order if name in names]
        found.notes.append(f"category ids are kept for export, label values are 0 to {len(order) - 1}: {told(shown)}")
    return _Categories(Classes(tuple(order), None if background is None else 0), values, {} if usual else ids)


# ---------------------------------------------------------------- images


def _images(files: Sequence[CocoFile], found: Found) -> tuple[dict[str, _Image], Listing]:
    """Image id (path without suffix) -> its entry, and where the files lie."""
    listing, images = Listing(), {}
    torn = _named_alike(files)
    for file in files:
        front = f"{_split_of(file.path) or file.path.stem}/" if torn else ""
        base = _base(file, found.folder)
        by_entry: dict[int | str, _Image] = {}
        for entry in file.images:
            name = file_name(entry)
            if not name:
                found.problems.append(path_trick(file, entry))
                continue
            image = _Image(file, entry)
            if by_entry.setdefault(entry["id"], image) is not image:
                found.problems.append(Problem(image.where, "there are two images with this id", "give each image an id of its own"))
            _add(found, listing, images, image, base / name, front + name)
        _share_out(file, by_entry, found)
    return images, listing


def _add(found: Found, listing: Listing, images: dict[str, _Image], image: _Image, path: Path, name: str) -> None:
    id = without_suffix(name)
    if id in images:
        what = f"{name} has the same name as the file of image {images[id].entry['id']}, but perhaps for its ending"
        found.problems.append(Problem(image.where, what, "rename or remove one of the two", (id,)))
        return
    images[id] = image
    if path.is_file():
        listing.files[id], listing.ids[name] = str(path), id
        return
    what = f"there is no file {found.shown(path)}"
    found.problems.append(Problem(image.where, what, "copy it there, or leave it out (--skip-broken)", (id,)))


def _named_alike(files: Sequence[CocoFile]) -> bool:
    """Several COCO files speak of files of the same name, in folders of their own."""
    counts = Counter(name for file in files for name in {without_suffix(file_name(entry)) for entry in file.images} if name)
    return any(count > 1 for count in counts.values())


def _base(file: CocoFile, folder: Path) -> Path:
    """The folder below which the images of a COCO file lie: where most of its first names are files."""
    beside, above = file.path.parent, file.path.parent.parent
    word = file.path.stem.rpartition("_")[2]
    bases = [beside / "images", beside, folder / "images", folder]
    bases += [above / "images", above] if beside.name == "annotations" else []
    candidates = [base / part for part in ("", word, _split_of(file.path)) for base in bases]
    names = [name for entry in file.images[:NAMES_TRIED] if (name := file_name(entry))]
    return max(candidates, key=lambda base: sum((base / name).is_file() for name in names))


def _share_out(file: CocoFile, by_entry: Mapping[int | str, _Image], found: Found) -> None:
    """Give each annotation to its image."""
    known = {entry["id"] for entry in file.images}
    for i, annotation in enumerate(file.annotations):
        if annotation["image_id"] in by_entry:
            by_entry[annotation["image_id"]].annotations.append(annotation)
        elif annotation["image_id"] not in known:
            what = f"there is no image {annotation['image_id']}"
            where = f"{file.path.name} annotation {annotation.get('id', f'[{i}]')}"
            found.problems.append(Problem(where, what, "remove the annotation, or add the image"))


def _split_of(path: Path) -> str:
    """train, val or test, as the name of a COCO file or of its folder says; "" where it does not."""
    for text in (path.stem, path.parent.name):
        for word in text.casefold().replace("-", "_").split("_"):
            if (found := SPLIT_WORDS.get(word.rstrip("0123456789"))) is not None:
                return found
    return ""


def _split(images: Mapping[str, _Image], found: Found) -> dict[str, str] | None:
    """The split that several files make, or that `smidgen convert` wrote down; None where nobody did."""
    files = {image.file.path for image in images.values()}
    named = {path: _split_of(path) for path in files}
    if len(files) > 1 and all(named.values()):
        return {id: named[image.file.path] for id, image in images.items()}
    written = {id: str(image.ours["split"]) for id, image in images.items() if image.ours.get("split") in SPLIT_WORDS.values()}
    if len(files) > 1 and not written:
        found.notes.append("the names of the files say nothing of train, val or test, so the split is drawn")
    return written or None


# ---------------------------------------------------------------- labels


class _Labels:
    """What the annotations say about each image; what is wrong with them goes to the problems."""

    def __init__(self, found: Found, images: Mapping[str, _Image], categories: _Categories, unannotated: Unannotated):
        self._found, self._images, self._categories, self._negative = found, images, categories, unannotated == "negative"
        self._drawn: dict[str, Drawn | None] = {}
        self._remarks: dict[str, list[str]] = {}
        self._strange()

    def _strange(self) -> None:
        """Annotations of categories that there are not."""
        for image in self._images.values():
            for annotation in image.annotations:
                if annotation["category_id"] not in self._categories.values:
                    what = f"there is no category {annotation['category_id']}"
                    self._found.problems.append(Problem(_name(image, annotation), what, "add it to categories, or correct the annotation"))

    def label(self, id: str, head: Header) -> Painting | None:
        """Reads the classes; None where nobody has labeled pixels."""
        drawn = self._draw(id, head)
        return None if drawn is None else Painting(drawn, "label")

    def instances(self, id: str, head: Header) -> Painting | None:
        """Reads the instances; None where there are none."""
        drawn, ours = self._draw(id, head), self._images[id].ours
        if drawn is None:
            return None
        there = ours.get("instances", any(region.number for region in drawn.regions))
        return Painting(drawn, "instances") if there else None

    def tags(self) -> dict[str, tuple[int, ...]]:
        """The classes that are annotated, where an image is labeled."""
        values, background = self._categories.values, self._categories.classes.background
        tags = {}
        for id, image in self._images.items():
            if image.ours:
                said = image.ours.get("tags")
                ids = said if isinstance(said, list) else None
            else:
                ids = [one["category_id"] for one in image.annotations] if image.annotations or self._negative else None
            if ids is not None:
                tags[id] = tuple(sorted({values[one] for one in ids if one in values} - {background}))
        return tags

    def classes_of(self, id: str) -> dict[int, int]:
        """Instance id -> class."""
        values = self._categories.values
        numbered = enumerate(self._images[id].annotations, 1)
        return {i: values[one["category_id"]] for i, one in numbered if one["category_id"] in values and _is_object(one)}

    def notes(self) -> Iterable[str]:
        """What is worth saying about the annotations."""
        empty = sum(not image.annotations and not image.ours for image in self._images.values())
        if empty:
            taken = "taken as known to hold none" if self._negative else "taken as not labeled yet"
            other = "" if self._negative else "; `--unannotated negative` takes them as known to hold none"
            yield f"{empty} of {len(self._images)} images have no annotations: {taken}{other}"
        for kind, names in self._remarks.items():
            yield f"{len(names)} annotations ({told(names)}): {REMARKS[kind]}"

    def _draw(self, id: str, head: Header) -> Drawn | None:
        if id not in self._drawn:
            self._drawn[id] = self._drawn_of(id, head)
        return self._drawn[id]

    def _drawn_of(self, id: str, head: Header) -> Drawn | None:
        image, size = self._images[id], head.size
        said = (image.entry.get("height"), image.entry.get("width"))
        if all(isinstance(one, int) for one in said) and said != size:
            what, _ = size_mismatch((int(str(said[0])), int(str(said[1]))), size)
            remedy = "export again from the image as it is shown (EXIF orientation applied)"
            self._found.problems.append(Problem(image.where, f"its entry says {what}", remedy, (id,)))
            return None
        regions = []
        for i, one in enumerate(image.annotations, 1):
            if one["category_id"] not in self._categories.values:
                continue
            value, number = self._categories.values[one["category_id"]], i if _is_object(one) else 0
            made, error, remark = region(_name(image, one), one, value, number, size)
            if error:
                remedy = LABEL_STUDIO if "Label Studio" in error else "write the annotation again, or remove it"
                self._found.problems.append(Problem(_name(image, one), error, remedy, (id,)))
            if remark:
                self._remarks.setdefault(remark, []).append(str(one.get("id", f"{id} [{i - 1}]")))
            regions += [] if made is None else [made]
        if not image.ours.get("labeled", any(not one.box for one in regions) or (self._negative and not image.annotations)):
            return None
        background = IGNORED if self._categories.classes.background is None else 0
        extra = {key: one if isinstance(one := image.ours.get(key), str) else None for key in EXTRA}
        return Drawn(tuple(regions), size, background, **extra, where=image.where)


def _is_object(annotation: Mapping[str, Any]) -> bool:
    """It is one object, and no crowd or what `smidgen convert` wrote down as belonging to none."""
    ours = annotation.get(OURS)
    return not annotation.get("iscrowd") and not (isinstance(ours, dict) and ours.get("instance") is False)


def _name(image: _Image, annotation: Mapping[str, Any]) -> str:
    return f"{image.file.path.name} annotation {annotation.get('id', 'without id')} (image {image.entry['id']})"
