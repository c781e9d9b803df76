"""Reads a folder of volumes: headers and tables, and a few label files, to learn what their values mean."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from smidgen.core.errors import DataError, Problem
from smidgen.data import folder as tables
from smidgen.data import layout as files
from smidgen.data.assembling import Drawing
from smidgen.data.broken import Broken
from smidgen.data.contents import Contents
from smidgen.data.folder import MASKS_SEEN, Found
from smidgen.data.labels import histogram
from smidgen.data.layout import Layout, Listing, Sought, list_files, read_layout, told
from smidgen.data.naming import name_classes, tie_tags
from smidgen.data.splits import shuffled
from smidgen.data.tables import Names, Tags
from smidgen.data.volume_cache import DECODED
from smidgen.data.volume_files import NIFTI, TIFF, ZARR, VolumeHeader, stored, suffix_of
from smidgen.data.volume_frames import KINDS, Frame, mismatch
from smidgen.data.volume_readers import LabelVolume, VolumeFile, label_values
from smidgen.products.sample import Sample

VOLUMES = "volumes"
VOXELS_SEEN = 60_000_000
"""So many voxels of labels are decoded at most, beyond the first file, to learn what their values mean."""
Trust = Literal["file", "nominal", "unknown"] | None


def _is_one(path: str) -> bool:
    """A folder that is a volume by itself."""
    if path.lower().endswith(ZARR):
        return True
    from smidgen.data.volume_dicom import is_series

    try:
        return is_series(Path(path))
    except OSError:
        return False


SOUGHT = Sought(frozenset((*NIFTI, *TIFF)), _is_one)


@dataclass(frozen=True)
class Case:
    """One volume: its files and what their headers say.

    Args:
        files: Several are one per channel.
        head: Of the first one.
    """

    files: tuple[str, ...]
    head: VolumeHeader


def volume_folder(path: Path) -> str | None:
    """Name of the folder that holds a dataset's volumes; "" = it lies in the dataset's folder itself; None = these are no volumes.

    Raises:
        DataError: There are images and volumes, and dataset.yaml does not say which are meant.
    """
    if path.is_file() or path.suffix.lower() in ZARR:
        return "" if suffix_of(path.name).lower() in (*NIFTI, ".zarr", ".ome.zarr") else None
    said = read_layout(path).images
    if said:
        return said if said == VOLUMES or _holds(path / said) else None
    if (path / VOLUMES).is_dir():
        if (path / "images").is_dir():
            remedy = f"write `images: {VOLUMES}` or `images: images` into {files.YAML}, or move one of them away"
            raise DataError([Problem(str(path), "holds images/ and volumes/: 2D and 3D are not mixed", remedy)])
        return VOLUMES
    if (path / "images").is_dir():
        return "images" if _holds(path / "images") else None
    return "" if _holds(path) else None


def _holds(folder: Path) -> bool:
    """The first few files that are no tables are volumes: NIfTI or Zarr; a TIFF may be an image."""
    try:
        names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))[:100]
    except OSError:
        return False
    return any(suffix_of(name).lower() in (*NIFTI, ".zarr", ".ome.zarr") for name in names)


def from_volume_folder(path: str | Path, name: str, label_folder: str | None, drawing: Drawing) -> Contents:
    """Contents of a folder of volumes.

    Args:
        path: The dataset's folder, or one volume.
        name: Folder of the volumes in it, as `volume_folder` says.
        label_folder: Where the labels are, if not in masks/ or labels/.
        drawing: How a split is drawn.

    Raises:
        DataError: There are no volumes, or dataset.yaml is wrong.
    """
    folder = Path(path).absolute()
    only = folder if folder.is_file() or folder.suffix.lower() in ZARR else None
    folder = folder.parent if only else folder
    found = Found(folder, Layout() if only else read_layout(folder))
    listing = _listing(found, only, name, label_folder)
    names = Names(listing.ids, name or VOLUMES)
    cases = cases_of(found, {id: (file,) for id, file in listing.files.items()})
    tags = Tags() if only else tables.tags_of(found, names, False, listing)
    named = name_classes(folder, found.layout, tags, {})
    tied, wrong = tie_tags(tags, named)
    found.problems += [*tags.problems, *named.problems, *wrong]
    labels = {} if only else tables.label_files(found, listing, label_folder, SOUGHT)
    meanings, named, sparse = tables.meanings_of(found, labels, named, looked_at, "volumes")
    if (folder / tables.INSTANCES).is_dir() and not only:
        found.notes.append("instances/ is not read: instances are in 2D images only")

    def label(id: str, case: Case) -> LabelVolume | None:
        return LabelVolume(labels[id], case.head.frame, len(named.classes), meanings[False]) if id in labels else None

    samples = volume_samples(found, cases, label, tied, tables.groups_of(found, names), sparse)
    samples, drawn = tables.split_of(found, names, samples, drawing.val, drawing.seed)
    return contents_of_volumes(found, samples, named.classes, drawn)


def contents_of_volumes(found: Found, samples: Mapping[str, Sample], classes: Any, drawn: bool, **more: Any) -> Contents:
    """What was found, put together; `more` as in `Contents`."""
    problems, notes = tuple(found.problems), tuple(found.notes)
    return replace(Contents(samples, classes, found.folder.resolve().name, found.folder, problems, notes, split_drawn=drawn), **more)


def _listing(found: Found, only: Path | None, name: str, label_folder: str | None) -> Listing:
    if only:
        if not only.exists():
            raise DataError([Problem(str(only), "there is no such volume", "check the path")])
        id = files.without_suffix(only.name)
        return Listing({id: str(only)}, {files.plain(only.name): id})
    layout = found.layout
    extra = {part for part in (label_folder, layout.labels, layout.unlabeled) if part}
    skip = () if name else (files.RESERVED | extra)
    if not (found.folder / name).is_dir():
        raise DataError([Problem(files.YAML, f"images: there is no folder {name}", "correct the entry, or make the folder")])
    listing = list_files(found.folder / name, skip, sought=SOUGHT)
    if layout.unlabeled:
        tables.add_unlabeled(found, listing, SOUGHT)
    tables.say_ignored(found, listing, name or None, "volume")
    if not listing.files:
        there = f" (there is {told(listing.ignored)})" if listing.ignored else ""
        remedy = "put .nii, .nii.gz, .tif, .zarr or folders of DICOM slices there (NRRD saved as NIfTI); 2D images belong into images/"
        raise DataError([Problem(f"{found.folder}/{name}", f"no volumes found{there}", remedy)])
    return listing


# ---------------------------------------------------------------- headers


def cases_of(found: Found, paths: Mapping[str, tuple[str, ...]]) -> dict[str, Case]:
    """Id -> case, from headers; what is broken, of another kind than most, or has other channels goes to the problems."""
    cases: dict[str, Case] = {}
    for id, several in sorted(paths.items()):
        path = several[0]
        try:
            heads = []
            for path in several:
                heads.append(stored(path).header)
                if wrong := mismatch(heads[-1].frame, heads[0].frame):
                    raise Broken(*wrong)
            cases[id] = Case(several, heads[0] if len(heads) == 1 else replace(heads[0], channels=sum(one.channels for one in heads)))
        except Broken as broken:
            found.problems.append(Problem(found.shown(path), broken.what, broken.remedy, (id,)))
    if cases:
        _one_kind(found, cases)
        _say_formats(found, cases)
    return cases


def _one_kind(found: Found, cases: dict[str, Case]) -> None:
    kinds = Counter(case.head.frame.kind for case in cases.values())
    channels = Counter(case.head.channels for case in cases.values())
    most = kinds.most_common(1)[0][0], channels.most_common(1)[0][0]
    for id, case in list(cases.items()):
        kind, number = case.head.frame.kind, case.head.channels
        if kind != most[0]:
            what, remedy = (
                f"is {KINDS[kind]}, most volumes here are {KINDS[most[0]]}",
                "save all volumes in one format: frames differ between them",
            )
        elif number != most[1]:
            what, remedy = (
                f"{number} channel{'s' if number > 1 else ''}, {most[1]} expected as in most volumes",
                "convert it, or leave it out",
            )
        else:
            continue
        found.problems.append(Problem(found.shown(case.files[0]), what, remedy, (id,)))
        del cases[id]


def _say_formats(found: Found, cases: Mapping[str, Case]) -> None:
    first = next(iter(cases.values())).head
    many = f", {first.channels} channels" if first.channels > 1 else ""
    found.notes.append(f"volumes: {KINDS[first.frame.kind]}{many}; each is z-scored over the whole case")
    inside = [id for id, case in cases.items() if first.frame.kind == "zarr" and (Path(case.files[0]) / "labels").is_dir()]
    if inside:
        found.notes.append(f"volumes: {len(inside)} hold labels of their own ({told(inside)}), which are not read: put them into labels/")
    large = [id for id, case in cases.items() if case.files[0].lower().endswith(".gz") and _bytes(case.head) > DECODED.most // 2]
    if large:
        limit = f"larger than {DECODED.most >> 21} MB once they are unpacked, which happens for every view of them"
        found.notes.append(f"volumes: {len(large)} are {limit} ({told(large)}): save them as .nii, which are read where they are cut")
    _say_spacing(found, cases)


def _bytes(head: VolumeHeader) -> int:
    return math.prod(head.frame.size) * head.channels * np.dtype(head.dtype).itemsize


def _say_spacing(found: Found, cases: Mapping[str, Case]) -> None:
    rule = found.layout.spacing
    spacings = {frame_spacing(case.head.frame, rule) for case in cases.values()}
    if {None} == {spacing for spacing, _ in spacings}:
        why = "dataset.yaml says so" if rule == "unknown" else "the files say nothing"
        found.notes.append(f"spacing: unknown ({why}); distances are in voxels")
    elif not all(trusted for _, trusted in spacings):
        why = "dataset.yaml calls it nominal" if rule == "nominal" else "some files state none, or 1 x 1 x 1, or no unit"
        hint = "" if rule else "; `spacing: file` in dataset.yaml trusts it"
        found.notes.append(f"spacing: not trusted ({why}); distances are in voxels{hint}")


def frame_spacing(frame: Frame, rule: Trust) -> tuple[tuple[float, float, float] | None, bool]:
    """Spacing along z, y, x, and whether it can be trusted.

    Args:
        frame: What the file says.
        rule: What dataset.yaml says about that.
    """
    if rule == "unknown" or frame.spacing_mm is None:
        return None, False
    return frame.spacing_mm, rule == "file" or (rule is None and frame.trusted)


# ---------------------------------------------------------------- samples


def volume_samples(
    found: Found,
    cases: Mapping[str, Case],
    label: Callable[[str, Case], LabelVolume | None],
    tags: Mapping[str, tuple[int, ...]],
    groups: Mapping[str, str],
    sparse: bool,
) -> dict[str, Sample]:
    """A sample per case, in order of id; labels that do not lie on their image go to the problems.

    Args:
        found: Gets problems.
        cases: By id.
        label: Makes the reader of a case's label.
        tags: Id -> label values.
        groups: Id -> group.
        sparse: Labels are.
    """
    samples = {}
    for id, case in sorted(cases.items()):
        frame, reader = case.head.frame, label(id, case)
        spacing, trusted = frame_spacing(frame, found.layout.spacing)
        if reader is not None:
            found.problems += [Problem(found.shown(reader.path), *wrong, (id,)) for wrong in _label_header(reader)]
        samples[id] = Sample(
            id,
            VolumeFile(case.files, frame, case.head.channels),
            frame.size,
            case.head.channels,
            tags=tags.get(id),
            read_label=reader,
            sparse=sparse and reader is not None,
            group=groups.get(id),
            spacing_mm=spacing,
            path=case.files[0],
            zscored=True,
            spacing_trusted=trusted,
        )
    return samples


def _label_header(reader: LabelVolume) -> Iterable[tuple[str, str]]:
    try:
        wrong = reader.glance()
    except Broken as broken:
        yield broken.what, broken.remedy
        return
    if wrong:
        yield wrong


def looked_at(paths: Iterable[str]) -> list[dict[int, int]]:
    """Stored value -> voxels of a few label files, whatever frame they have."""
    seen, voxels = [], 0
    for path in shuffled(paths, "masks")[:MASKS_SEEN]:
        try:
            array = label_values(path, None)
        except Broken:
            continue  # verification names it
        seen.append(histogram(array.reshape(-1, array.shape[-1])))
        voxels += array.size
        if voxels > VOXELS_SEEN:
            break
    return seen
