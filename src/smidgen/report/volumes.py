"""Volumes on a page: three cuts through each case with the outlines of truth and prediction, and what is told of structures over cases."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from smidgen.core.conventions import IGNORED
from smidgen.parts.metrics.cases import MEASURES, Cases, Told
from smidgen.report import failures, pictures
from smidgen.report.content import ScoreRow
from smidgen.report.failures import percent

PLANES = ("axial", "coronal", "sagittal")
"""Cuts along z, y and x, where it is known that these point to the head, to the front and to the right."""
AXES = "zyx"
ROWS = 200
"""Rows of the table of cases; the rest stands in `scores.json`."""
LISTED = 40
"""Misses that are named."""
SEEN = 1_000_000
"""Voxels from which the range of gray values is taken."""
ISLANDS = 0.005
"""A difference in mean Dice from which on it is worth a note that pieces apart from the largest change it."""


@dataclass(frozen=True)
class Cut:
    """One slice of a volume, as it is to be shown.

    Args:
        plane: Name of the plane ("axial", or "z" where nobody knows where axes point).
        at: Which slice, counted from 0 in the order of the array.
        of: Of how many.
        image: Values in [0, 1].
        spacing: Distance between rows, and between columns; in any unit that the cuts of a volume share.
        truth: Class indices, 255 = unlabeled; None = there is no mask.
        prediction: Class indices.
    """

    plane: str
    at: int
    of: int
    image: Float[np.ndarray, "c h w"]
    spacing: tuple[float, float] = (1.0, 1.0)
    truth: UInt8[np.ndarray, "h w"] | None = None
    prediction: UInt8[np.ndarray, "h w"] | None = None


@dataclass(frozen=True)
class VolumePicture:
    """One case: a row of the page.

    Args:
        id: Id of the case.
        cuts: What is shown of it.
        score: Its mean Dice in [0, 1], where it is known.
        dice: Dice of each structure, by name; None where neither side has it.
        confidence: Mean probability of the predicted classes in [0, 1].
        group: Heading under which it is shown.
    """

    id: str
    cuts: tuple[Cut, ...]
    score: float | None = None
    dice: Mapping[str, float | None] | None = None
    confidence: float | None = None
    group: str = ""


def cuts(
    image: Float[np.ndarray, "c d h w"],
    prediction: UInt8[np.ndarray, "d h w"] | None = None,
    truth: UInt8[np.ndarray, "d h w"] | None = None,
    spacing: Sequence[float | int] | None = None,
    background: int | None = 0,
    oriented: bool = False,
) -> tuple[Cut, ...]:
    """Three slices that show most: the one along z with the largest true area, and those along y and x through the truth's center.

    Args:
        image: Any values; the 1st to the 99th percentile of each channel become 0 to 1.
        prediction: Class indices.
        truth: Class indices, 255 = unlabeled; where it holds no structure the prediction says where to cut, and else the middle.
        spacing: Distance between voxels per axis; None = equal.
        background: Label value that is no structure.
        oriented: Axes point to the head, to the front and to the right: head and front are shown at the top, right and front at the left,
            as is usual.
    """
    places = _places(truth, prediction, image.shape[1:], background)
    steps = (1.0, 1.0, 1.0) if spacing is None else tuple(spacing)
    shown = stretched(image)
    found = []
    for axis, at in enumerate(places):
        rows, columns = (other for other in range(3) if other != axis)
        turned = (slice(None, None, -1 if oriented else 1),) * 2
        one, label, said = (
            None if values is None else np.ascontiguousarray(np.take(values, at, axis=values.ndim - 3 + axis)[(..., *turned)])
            for values in (shown, truth, prediction)
        )
        assert one is not None
        name = PLANES[axis] if oriented else AXES[axis]
        found.append(Cut(name, at, image.shape[1 + axis], one, (float(steps[rows]), float(steps[columns])), label, said))
    return tuple(found)


def _places(
    truth: UInt8[np.ndarray, "d h w"] | None, prediction: UInt8[np.ndarray, "d h w"] | None, size: tuple[int, ...], background: int | None
) -> tuple[int, int, int]:
    """Where to cut along z, y and x."""
    for label in (truth, prediction):
        there = None if label is None else _there(label, background)
        if there is not None and there.any():
            areas = [there.sum(axis=tuple(other for other in range(3) if other != axis)) for axis in range(3)]
            middle = [int(np.rint(np.average(np.arange(len(area)), weights=area))) for area in areas]
            return int(areas[0].argmax()), middle[1], middle[2]
    return size[0] // 2, size[1] // 2, size[2] // 2


def _there(label: UInt8[np.ndarray, "d h w"], background: int | None) -> Bool[np.ndarray, "d h w"]:
    return (label != IGNORED) if background is None else (label != IGNORED) & (label != background)


def stretched(image: Float[np.ndarray, "c d h w"]) -> Float[np.ndarray, "c d h w"]:
    """Gray values for people: the 1st to the 99th percentile of each channel become 0 to 1, and what lies beyond is cut off."""
    step = max(1, round((image[0].size / SEEN) ** (1 / 3)))
    planes = []
    for plane in image:
        low, high = np.percentile(plane[::step, ::step, ::step], (1, 99))
        planes.append(np.clip((plane - low) / (high - low if high > low else 1), 0, 1))
    return np.stack(planes).astype(np.float32)


# ---------------------------------------------------------------- rows of pictures


def groups(shown: Sequence[VolumePicture], colors: UInt8[np.ndarray, "256 3"], background: int | None) -> list[dict[str, Any]]:
    """The cases by group, in order of appearance, drawn."""
    members: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in shown:
        members[one.group].append(_row(one, colors, background))
    return [{"title": title, "rows": rows} for title, rows in members.items()]


def _row(one: VolumePicture, colors: UInt8[np.ndarray, "256 3"], background: int | None) -> dict[str, Any]:
    cells = [_cell("image", one.cuts[0], one.cuts[0].image, None, None, colors, background)] if one.cuts else []
    for cut in one.cuts:
        name = f"{cut.plane}, {cut.at + 1} of {cut.of}"
        cells.append(_cell(name, cut, cut.image, cut.truth, cut.prediction, colors, background))
    return {"id": one.id, "about": _about(one), "cells": cells, "columns": " ".join(f"{cell['share']:.3f}fr" for cell in cells)}


def _cell(
    name: str,
    cut: Cut,
    image: Float[np.ndarray, "c h w"],
    truth: UInt8[np.ndarray, "h w"] | None,
    prediction: UInt8[np.ndarray, "h w"] | None,
    colors: UInt8[np.ndarray, "256 3"],
    background: int | None,
) -> dict[str, Any]:
    """A picture and its width in the row, which shows all cuts at one scale."""
    tall, wide = cut.spacing
    drawn, (width, height) = pictures.with_outlines(image, truth, prediction, colors, background, tall / wide)
    return {"name": name, "picture": drawn, "width": width, "height": height, "share": image.shape[2] * wide}


def _about(one: VolumePicture) -> str:
    parts = [] if one.score is None else [f"mean Dice {percent(one.score)}"]
    parts += [f"{name} {percent(value)}" for name, value in (one.dice or {}).items() if value is not None]
    if one.confidence is not None:
        parts.append(f"confidence {percent(one.confidence)}")
    return " · ".join(parts)


def drawn_values(shown: Sequence[VolumePicture]) -> set[int]:
    """Label values that occur in the pictures: what a legend must explain."""
    labels = [label for one in shown for cut in one.cuts for label in (cut.truth, cut.prediction) if label is not None]
    return {int(value) for label in labels for value in np.unique(label)} - {IGNORED}


# ---------------------------------------------------------------- tables


def structure_rows(row: ScoreRow | None) -> list[dict[str, Any]]:
    """Per structure: mean and spread over cases, the worst case, and the same of largest pieces only."""
    if row is None or row.cases is None:
        return []
    kept = {one.name: one for one in row.largest.told} if row.largest is not None else {}
    return [_structure_row(one, kept.get(one.name)) for one in row.cases.told]


def _structure_row(told: Told, kept: Told | None) -> dict[str, Any]:
    return {
        "name": told.name,
        "dice": told.dice.shares,
        "spread": told.interval,
        "jaccard": told.jaccard.shares,
        "hd95": told.hd95.distances,
        "assd": told.assd.distances,
        "cases": told.dice.cases,
        "absent": told.absent,
        "worst": told.worst,
        "kept_dice": "" if kept is None else kept.dice.shares,
        "kept_hd95": "" if kept is None else kept.hd95.distances,
    }


def case_rows(cases: Cases | None) -> list[dict[str, Any]]:
    """Per case: mean Dice and the figures of each structure; worst first."""
    if cases is None:
        return []
    ranked = sorted(cases.found, key=lambda case: (np.isnan(cases.dice[case]), cases.dice[case], case))
    rows = []
    for case in ranked[:ROWS]:
        found = [
            None if one is None else {measure: getattr(one, measure) for measure in MEASURES} | {"only": one.only}
            for one in cases.found[case]
        ]
        rows.append({"case": case, "dice": cases.dice[case], "found": found})
    return rows


def summary(row: ScoreRow | None) -> dict[str, Any] | None:
    """What stands above and below the tables."""
    if row is None or row.cases is None:
        return None
    cases = row.cases
    interval = cases.interval
    return {
        "unit": cases.unit,
        "names": cases.names,
        "mean": cases.mean_dice.shares,
        "spread": None if interval is None else f"{interval} (95 %, {interval.units} {_units(interval.of)})",
        "interval": interval,
        "kept": None if row.largest is None else row.largest.mean_dice.shares,
        "cases": len(cases.found),
        "missed": [str(one) for one in cases.missed[:LISTED]],
        "further": max(0, len(cases.missed) - LISTED),
        "left_out": max(0, len(cases.found) - ROWS),
    }


def _units(of: str) -> str:
    return "cases" if of == "images" else of


def headline(cases: Cases) -> str:
    """The number that counts, for a sentence: "mean Dice 85.3 ± 4.1 over 30 cases"."""
    told = cases.mean_dice
    return f"mean Dice {told.shares} over {told.cases} case{'' if told.cases == 1 else 's'}"


def figures(row: ScoreRow) -> list[tuple[str, str, str]]:
    """The few numbers under the verdict: (value, what, remark)."""
    cases = row.cases
    if cases is None:
        return []
    found = summary(row)
    assert found is not None
    told = [one for one in cases.told if one.dice.cases]
    remark = found["spread"] or f"{cases.mean_dice.cases} cases, {len(told)} structure{'' if len(told) == 1 else 's'}"
    shown = [(percent(cases.mean_dice.mean), "mean Dice", remark)]
    if told:
        weakest = min(told, key=lambda one: one.dice.mean)
        if len(told) > 1:
            shown.append((percent(weakest.dice.mean), "weakest structure", weakest.name))
        far = float(np.mean([one.hd95.mean for one in told]))
        shown.append((f"{far:.1f}", f"HD95 in {cases.unit}", "mean over structures"))
    if cases.missed:
        shown.append((str(len(cases.missed)), "missed or invented", "structures that one side only has"))
    return shown


def notes(row: ScoreRow) -> list[failures.Note]:
    """What to distrust in them."""
    cases, kept = row.cases, row.largest
    if cases is None:
        return []
    found = []
    if cases.missed:
        n = len(cases.missed)
        text = f"{n} structure{' is' if n == 1 else 's are'} in truth or prediction only; each counts as Dice 0 and the image’s diagonal."
        found.append(failures.Note("warning", text))
    if cases.unit == "voxels":
        text = "Distances are in voxels, not in millimeters, for the spacing of the volumes is not known or can’t be trusted."
        found.append(failures.Note("note", text))
    if kept is not None and abs(kept.mean_dice.mean - cases.mean_dice.mean) >= ISLANDS:
        text = f"Keeping only the largest piece of each structure changes the mean Dice from {percent(cases.mean_dice.mean)} to "
        found.append(failures.Note("note", f"{text}{percent(kept.mean_dice.mean)}. It is not done unless you ask for it."))
    return found
