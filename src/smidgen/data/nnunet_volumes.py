"""nnU-Net datasets of volumes: cases out of headers, labels by the numbers of dataset.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from smidgen.core.errors import DataError, Problem
from smidgen.data.arrays import SPARSE
from smidgen.data.assembling import Drawing
from smidgen.data.broken import Broken
from smidgen.data.contents import Contents
from smidgen.data.folder import Found
from smidgen.data.layout import IMAGES, Sought, told
from smidgen.data.splits import draw
from smidgen.data.volume_files import NIFTI, TIFF, stored
from smidgen.data.volume_folder import Case, cases_of, contents_of_volumes, looked_at, volume_samples
from smidgen.data.volume_readers import LabelVolume
from smidgen.products.sample import IGNORED, Classes, Sample

VOLUMES = Sought(frozenset(NIFTI))
STACKS = Sought(frozenset(TIFF))
FOREIGN = (".nrrd", ".mha", ".mhd")
"""Formats of volumes that are not read."""


@dataclass(frozen=True)
class VolumeParts:
    """What was found in an nnU-Net dataset of volumes.

    Args:
        found: Folder, problems, notes.
        files: Case -> its files, one per channel.
        labels: Case -> label file.
        classes: Names of the label values.
        table: Stored value and class index, 255 = unlabeled.
        known: Where the table stands, for messages.
        split: Case -> train or val; None: nobody wrote it down.
        tests: Cases that are test.
        ids: Class name -> its number in dataset.json, where that is another than its class index.
    """

    found: Found
    files: Mapping[str, tuple[str, ...]]
    labels: Mapping[str, str]
    classes: Classes
    table: tuple[tuple[int, int], ...]
    known: str
    split: Mapping[str, str] | None
    tests: frozenset[str]
    ids: Mapping[str, int]


def sought_in(folder: Path, ending: str) -> Sought:
    """What the files of a folder of cases are: NIfTI volumes, TIFF stacks, or 2D images.

    Args:
        folder: Like imagesTr.
        ending: What dataset.json says.

    Raises:
        DataError: They are volumes in a format that is not read.
    """
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    foreign = [name for name in names if name.lower().endswith(FOREIGN)]
    if foreign:
        remedy = "save them as .nii.gz: images, labels, and file_ending in dataset.json"
        raise DataError([Problem(f"{folder.name}/", f"{len(foreign)} files of a format that is not read ({told(foreign)})", remedy)])
    if any(name.lower().endswith(NIFTI) for name in names):
        return VOLUMES
    first = next((name for name in names if name.lower().endswith(TIFF)), None)
    if ending.lower() in TIFF and first:
        try:
            stored(str(folder / first))
        except Broken:
            return IMAGES
        return STACKS
    return IMAGES


def assemble_volumes(parts: VolumeParts, drawing: Drawing) -> Contents:
    """The contents of the dataset; broken files are among its problems."""
    found, cases = parts.found, cases_of(parts.found, parts.files)
    sparse = _sparse(parts)

    def label(id: str, case: Case) -> LabelVolume | None:
        if id not in parts.labels:
            return None
        return LabelVolume(parts.labels[id], case.head.frame, len(parts.classes), table=parts.table, known=parts.known)

    samples, drawn = _split(parts, volume_samples(found, cases, label, {}, {}, sparse), drawing)
    return contents_of_volumes(found, samples, parts.classes, drawn, ids=dict(parts.ids))


def _split(parts: VolumeParts, samples: dict[str, Sample], drawing: Drawing) -> tuple[dict[str, Sample], bool]:
    open_ = {id: sample for id, sample in samples.items() if id not in parts.tests}
    written = parts.split if parts.split is not None else draw(open_, drawing.val, drawing.seed)
    split = {**written, **dict.fromkeys(parts.tests, "test")}
    return {id: replace(sample, split=split.get(id, "train")) for id, sample in samples.items()}, parts.split is None


def _sparse(parts: VolumeParts) -> bool:
    """Half of the labels have few labeled voxels."""
    blank = {value for value, index in parts.table if index == IGNORED}
    shares = [_share(one, blank) for one in looked_at(parts.labels.values())] if blank else []
    if not shares or np.median(shares) >= SPARSE:
        return False
    share = 100 * float(np.median(shares))
    parts.found.notes.append(f"sparse labels (half of {len(shares)} looked at have less than {share:.2g} % of their voxels labeled)")
    return True


def _share(counts: Mapping[int, int], blank: Iterable[int]) -> float:
    return 1 - sum(counts.get(value, 0) for value in blank) / max(1, sum(counts.values()))
