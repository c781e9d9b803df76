"""What lies in a dataset of volumes besides counts: spacing, orientation, intensities, and how much of each case is labeled as what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from smidgen.core.errors import Problem
from smidgen.data.broken import Broken
from smidgen.data.dataset import Dataset
from smidgen.data.layout import told
from smidgen.data.splits import shuffled
from smidgen.data.volume_frames import KINDS, told_spacing
from smidgen.data.volume_readers import VolumeFile
from smidgen.products.sample import IGNORED, Sample

CASES_SEEN = 24
"""So many volumes are decoded for their intensities,"""
VOXELS_SEEN = 60_000_000
"""but no further one from so many voxels on."""
MIXED = 1.1
"""Spacings that differ by more than this factor along an axis are not one spacing."""
THICK = 4.0
"""Planes that lie farther apart than this many pixels are best learned from one by one."""
FEW_PLANES = 16


@dataclass(frozen=True)
class ClassCoverage:
    """How much of the cases is of one class.

    Args:
        name: Of the class.
        value: Its label value.
        cases: Cases that hold it, of those looked at.
        least: Smallest share of the labeled voxels of a case that holds it, in [0, 1]; median and most alike.
        median: Of the case in the middle.
        most: Of the case with the largest share.
    """

    name: str
    value: int
    cases: int
    least: float
    median: float
    most: float


@dataclass(frozen=True)
class Intensities:
    """Values as stored, of the volumes looked at.

    Args:
        seen: How many.
        low: Smallest value of all.
        high: Largest.
        means: Smallest, median and largest mean of a case.
        deviations: Smallest, median and largest standard deviation of a case.
    """

    seen: int
    low: float
    high: float
    means: tuple[float, float, float]
    deviations: tuple[float, float, float]


@dataclass(frozen=True)
class VolumeSummary:
    """What lies in a dataset of volumes.

    Args:
        formats: NIfTI and the like -> volumes.
        spacings: Spacing along z, y, x in words -> volumes.
        spacing_trusted: Volumes whose spacing can be trusted.
        orientations: Where the axes of the files point, like RAS -> volumes; "" = the file does not say.
        intensities: Values as stored; None where no volume could be decoded.
        coverage: One entry per class, of the labels looked at.
        cases: Case -> class -> voxels, of the labels looked at; "unlabeled" among the classes.
    """

    formats: dict[str, int]
    spacings: dict[str, int]
    spacing_trusted: int
    orientations: dict[str, int]
    intensities: Intensities | None
    coverage: tuple[ClassCoverage, ...]
    cases: dict[str, dict[str, int]]

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        """All of it in words: what, and how it is."""
        trust = {0: "not trusted", sum(self.spacings.values()): "trusted"}
        how = trust.get(self.spacing_trusted, f"trusted in {self.spacing_trusted}")
        found = [("spacing", f"{_counted(self.spacings)} (z × y × x); {how}")]
        if any(self.orientations):
            turned = "" if set(self.orientations) == {"RAS"} else "; turned to RAS inside, and back where files are written"
            found.append(("frame", f"{_counted(self.orientations)} (axes of the files){turned}"))
        one = self.intensities
        if one is not None:
            means, deviations = (" … ".join(f"{value:.4g}" for value in some) for some in (one.means, one.deviations))
            of = f"of {one.seen} volumes looked at"
            found.append(("values", f"{one.low:.4g} to {one.high:.4g}; mean {means}, deviation {deviations} (least, median, largest {of})"))
        for row in self.coverage:
            if row.cases:
                shares = " … ".join(f"{100 * value:.1f}" for value in (row.least, row.median, row.most))
                there = f"{row.value} {row.name}: in {row.cases} of {len(self.cases)} labels looked at"
                found.append(("coverage", f"{there}; {shares} % of the voxels of those (least, median, largest)"))
        return tuple(found)


def _counted(counts: Mapping[str, int]) -> str:
    names = list(counts)[:4]
    each = {name: f"{name or 'none'} ({counts[name]} volume{'' if counts[name] == 1 else 's'})" for name in names}
    parts = [each[name] if len(counts) > 1 else name or "none" for name in names]
    more = len(counts) - len(names)
    return ", ".join(parts) + (f" and {more} more" if more else "")


def summarize_volumes(dataset: Dataset, masks: Mapping[str, Mapping[int, int]]) -> tuple[VolumeSummary, list[str], list[Problem]]:
    """The summary, what limits the result, and volumes that could not be decoded.

    Args:
        dataset: Of volumes.
        masks: Case -> label value -> voxels, of the labels that were looked at.
    """
    samples = list(dataset.samples.values())
    frames = [getattr(sample.read_image, "frame", None) for sample in samples]
    intensities, problems = _intensities(samples)
    found = VolumeSummary(
        _counts(KINDS[frame.kind if frame else "array"] for frame in frames),
        _counts(told_spacing(sample.spacing_mm) for sample in samples),
        sum(sample.spacing_trusted for sample in samples),
        _counts(frame.orientation if frame else "" for frame in frames),
        intensities,
        tuple(_coverage(dataset, masks)),
        {id: _named(dataset, one) for id, one in sorted(masks.items())},
    )
    return found, [*_spacing_remarks(samples), *_frame_remarks(found)], problems


def _counts(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())


def _intensities(samples: list[Sample]) -> tuple[Intensities | None, list[Problem]]:
    known = {sample.id: sample for sample in samples}
    seen, problems, voxels = [], [], 0
    for id in shuffled(known, "intensities")[:CASES_SEEN]:
        reader: Any = known[id].read_image
        try:
            seen.append(reader.statistics())
        except Broken as broken:
            where = reader.where if isinstance(reader, VolumeFile) else id
            problems.append(Problem(where, broken.what, broken.remedy, (id,)))
        voxels += int(np.prod(known[id].size))
        if voxels > VOXELS_SEEN:
            break
    if not seen:
        return None, problems
    means, deviations = [np.mean(one.mean) for one in seen], [np.mean(one.deviation) for one in seen]
    low, high = min(min(one.low) for one in seen), max(max(one.high) for one in seen)
    return Intensities(len(seen), low, high, _spread(means), _spread(deviations)), problems


def _spread(values: Any) -> tuple[float, float, float]:
    return float(np.min(values)), float(np.median(values)), float(np.max(values))


def _coverage(dataset: Dataset, masks: Mapping[str, Mapping[int, int]]) -> Iterable[ClassCoverage]:
    labeled = {id: sum(voxels for value, voxels in one.items() if value != IGNORED) for id, one in masks.items()}
    for value, name in enumerate(dataset.classes.names):
        shares = [one[value] / labeled[id] for id, one in masks.items() if one.get(value)]
        yield ClassCoverage(name, value, len(shares), *(_spread(shares) if shares else (0.0, 0.0, 0.0)))


def _named(dataset: Dataset, counts: Mapping[int, int]) -> dict[str, int]:
    names = {**dict(enumerate(dataset.classes.names)), IGNORED: "unlabeled"}
    return {names[value]: int(voxels) for value, voxels in sorted(counts.items())}


def _spacing_remarks(samples: list[Sample]) -> Iterable[str]:
    known = {sample.id: sample.spacing_mm for sample in samples if sample.spacing_mm is not None}
    if 0 < len(known) < len(samples):
        without = [sample.id for sample in samples if sample.spacing_mm is None]
        yield f"spacing: unknown in {len(without)} of {len(samples)} volumes ({told(without)})"
    if not known:
        return
    spacings = np.array(list(known.values()))
    low, high = spacings.min(axis=0), spacings.max(axis=0)
    unlike = [f"{axis} {a:.4g} to {b:.4g} mm" for axis, a, b in zip("zyx", low, high, strict=True) if b > MIXED * a]
    if unlike:
        consequence = "volumes are not resampled, so the same organ has other sizes in voxels; resample them where that matters"
        yield f"spacing: mixed ({', '.join(unlike)}): {consequence}"
    ratio = float(np.median(spacings[:, 0] / spacings[:, 1:].max(axis=1)))
    if ratio >= THICK:
        yield f"spacing: planes lie {ratio:.1f} times as far apart as pixels, so slices are learned one by one unless --dims 3 is given"
    elif float(np.median([sample.size[0] for sample in samples])) < FEW_PLANES:
        yield f"sizes: half of the volumes have fewer than {FEW_PLANES} planes, which is little for a 3D network"


def _frame_remarks(found: VolumeSummary) -> Iterable[str]:
    if len(found.orientations) > 1:
        yield f"frames: mixed ({_counted(found.orientations)}): inside all are turned alike; check that none has a wrong header"
