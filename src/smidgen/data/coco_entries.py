"""Entries of a COCO file as they stand there: which are whole, what their segmentation is, which files they may name."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any

from smidgen.core.errors import DataError, Problem
from smidgen.data.assembling import OURS
from smidgen.data.layout import plain
from smidgen.data.regions import Region

LABEL_STUDIO = "export as COCO with polygons, or as PNG masks"


@dataclass(frozen=True)
class CocoFile:
    """One COCO file.

    Args:
        path: Where it lies.
        images: Its entries that have an id and a file name.
        annotations: Its entries that name an image and a category.
        categories: Its entries with id and name.
        ours: What `smidgen convert` wrote down about the whole set.
        problems: Entries that are not whole.
    """

    path: Path
    images: tuple[Mapping[str, Any], ...] = ()
    annotations: tuple[Mapping[str, Any], ...] = ()
    categories: tuple[Mapping[str, Any], ...] = ()
    ours: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def load(path: Path) -> CocoFile:
    """Read a COCO file.

    Raises:
        DataError: It is no JSON, or JSON of another tool; the remedy names the way.
    """
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError([Problem(path.name, f"not readable as JSON ({error})", "export it again")]) from error
    return _parsed(path, content)


def load_if_coco(path: Path) -> CocoFile | None:
    """The same; None where it is something else.

    Raises:
        DataError: One of its lists is none.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return _parsed(path, content) if _looks_like_coco(content) else None


def _parsed(path: Path, content: Any) -> CocoFile:
    if not _looks_like_coco(content):
        raise DataError([_other_tool(path, content)])
    problems: list[Problem] = []
    needed = {"images": ("id", "file_name"), "annotations": ("image_id", "category_id"), "categories": ("id", "name")}
    entries = {name: tuple(_whole(path, name, content.get(name), keys, problems)) for name, keys in needed.items()}
    ours = content.get(OURS)
    return CocoFile(path, **entries, ours=ours if isinstance(ours, dict) else {}, problems=tuple(problems))


def _looks_like_coco(content: Any) -> bool:
    """A JSON value has the lists that make a COCO file."""
    return isinstance(content, dict) and isinstance(content.get("images"), list) and ("annotations" in content or "categories" in content)


def _other_tool(path: Path, content: Any) -> Problem:
    if isinstance(content, dict) and "shapes" in content and "imagePath" in content:
        image = str(content["imagePath"]).replace("\\", "/")
        what = f"a labelme file (of the image {path.parent / PureWindowsPath(image)}), which is not read"
        return Problem(path.name, what, "export the folder with labelme2voc or labelme2coco, and name what comes out")
    if isinstance(content, list) and any(isinstance(one, dict) and ("annotations" in one or "data" in one) for one in content):
        return Problem(path.name, "an export of Label Studio, whose RLE is not that of COCO", LABEL_STUDIO)
    return Problem(path.name, "no COCO file: there are no lists images and annotations", "name a COCO file, or a folder")


def _whole(path: Path, name: str, entries: Any, keys: tuple[str, ...], problems: list[Problem]) -> Iterable[Mapping[str, Any]]:
    if entries is None:
        return
    if not isinstance(entries, list):
        raise DataError([Problem(path.name, f"{name} is a {type(entries).__name__}, a list was expected", "export it again")])
    for i, entry in enumerate(entries):
        missing = [key for key in keys if not isinstance(entry, dict) or not isinstance(entry.get(key), int | str)]
        if missing:
            problems.append(Problem(f"{path.name} {name}[{i}]", f"has no {' and no '.join(missing)}", "correct the entry, or remove it"))
        else:
            yield entry


# ---------------------------------------------------------------- file names


def file_name(entry: Mapping[str, Any]) -> str:
    """The file that an image entry names, with slashes, relative to the images' folder; "" where it leads out of it.

    Absolute paths, drives and `..` are refused: who opens somebody's file must not read what lies elsewhere.
    """
    name = str(entry["file_name"])
    parts = PureWindowsPath(name)
    if "\0" in name or parts.drive or parts.root or ".." in parts.parts or not parts.name:
        return ""
    return plain(parts.as_posix())


def path_trick(file: CocoFile, entry: Mapping[str, Any]) -> Problem:
    """What is said about a name that leads out of the folder; it can't be skipped."""
    what = f"file_name {entry['file_name']!r} leads out of the folder of the images, so it is not opened"
    return Problem(f"{file.path.name} image {entry['id']}", what, "write names relative to the folder of the images")


# ---------------------------------------------------------------- segmentations


def region(where: str, entry: Mapping[str, Any], value: int, number: int, size: tuple[int, int]) -> tuple[Region | None, str, str]:
    """What an annotation covers; or what is wrong with it; and what is worth saying about it.

    Args:
        where: How messages call the annotation.
        entry: The annotation.
        value: Its class.
        number: Its instance id, 0 = none.
        size: Height and width of its image, as its entry says.

    Returns:
        The region, or None where it has neither segmentation nor box; an error; a remark.
    """
    segmentation = entry.get("segmentation")
    crowd = bool(entry.get("iscrowd"))
    if isinstance(segmentation, dict):
        return _of_runs(where, segmentation, value, number, size, crowd)
    if isinstance(segmentation, list) and segmentation:
        return _of_polygons(where, segmentation, value, number, size, crowd)
    if segmentation not in (None, [], ""):
        return None, f"segmentation is a {type(segmentation).__name__}, polygons or an RLE expected", ""
    box = entry.get("bbox")
    if isinstance(box, list) and _numbers(box) and len(box) == 4:
        return Region(value, box=tuple(map(float, box)), ignore=True, where=where), "", "box"
    return None, "", ""


def _numbers(values: Any) -> bool:
    kinds = isinstance(values, list) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return kinds and all(math.isfinite(value) for value in values)


def _of_runs(
    where: str, runs: Mapping[str, Any], value: int, number: int, size: tuple[int, int], crowd: bool
) -> tuple[Region | None, str, str]:
    counts = runs.get("counts")
    if "rle" in runs or (counts is None and "format" in runs):
        return None, "the RLE of Label Studio, not that of COCO", ""
    if isinstance(counts, list) and all(type(count) is int and abs(count) < 2**62 for count in counts):
        counts = tuple(counts)
    if not isinstance(counts, str | tuple):
        return None, "an RLE needs counts: text, or a list of whole numbers", ""
    if runs.get("size") != list(size):
        return None, f"its RLE has the size {runs.get('size')}, [height, width] of its image is {list(size)}", ""
    return Region(value, number, counts=counts, ignore=crowd, where=where), "", ""


def _of_polygons(
    where: str, polygons: list[Any], value: int, number: int, size: tuple[int, int], crowd: bool
) -> tuple[Region | None, str, str]:
    if _numbers(polygons):
        polygons = [polygons]  # one polygon that was not put into a list
    if not all(_numbers(ring) and len(ring) % 2 == 0 for ring in polygons):
        return None, "a polygon is a list of an even number of coordinates", ""
    rings = tuple(tuple(map(float, ring)) for ring in polygons if len(ring) >= 6)
    remark = "degenerate" if len(rings) < len(polygons) else ""
    inside = tuple(ring for ring in rings if _touches(ring, size))
    if len(inside) < len(rings) and not inside:
        return None, "", "outside"
    if not inside:
        return None, "", remark
    remark = remark or ("hole" if _nested(inside) else "")
    return Region(value, number, rings=inside, ignore=crowd, where=where), "", remark


def _touches(ring: tuple[float, ...], size: tuple[int, int]) -> bool:
    height, width = size
    xs, ys = ring[::2], ring[1::2]
    return max(xs) > 0 and min(xs) < width and max(ys) > 0 and min(ys) < height


def _nested(rings: tuple[tuple[float, ...], ...]) -> bool:
    """One polygon lies wholly inside another one: drawn as a hole, perhaps, but COCO unites them."""
    boxes = [(min(ring[::2]), min(ring[1::2]), max(ring[::2]), max(ring[1::2])) for ring in rings]
    for i, inner in enumerate(boxes):
        for j, outer in enumerate(boxes):
            within = outer[0] <= inner[0] and outer[1] <= inner[1] and inner[2] <= outer[2] and inner[3] <= outer[3]
            if i != j and within and _surrounds(rings[j], rings[i]):
                return True
    return False


def _surrounds(outer: tuple[float, ...], inner: tuple[float, ...]) -> bool:
    """All corners of one polygon lie inside another one, by the rule of odd crossings."""
    corners = list(zip(outer[::2], outer[1::2], strict=True))
    edges = list(zip(corners, [*corners[1:], corners[0]], strict=True))
    for x, y in zip(inner[::2], inner[1::2], strict=True):
        crossings = sum((y0 > y) != (y1 > y) and x < (x1 - x0) * (y - y0) / (y1 - y0) + x0 for (x0, y0), (x1, y1) in edges)
        if crossings % 2 == 0:
            return False
    return True
