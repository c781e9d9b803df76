"""The report of a training: one page that carries everything in itself, opens with pictures and says what to distrust.

Reading order: TrainingReport (what it is made of), write_report, then `templates/training.html`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from smidgen.core.codec import write_atomically
from smidgen.parts.metrics import objects
from smidgen.parts.metrics.bootstrap import FEW
from smidgen.parts.metrics.boundary import Boundary
from smidgen.parts.metrics.ranking import TagRanking
from smidgen.products.colors import PALETTE
from smidgen.products.sample import Classes
from smidgen.report import blocks, failures, pictures, volumes
from smidgen.report.climbs import Climbs, ShownClimb
from smidgen.report.content import BY_CONFIDENCE, BY_SCORE, Agreement, Curve, DataCard, Picture, ScoreRow, StageCard, Uncertain
from smidgen.report.evidence import DeletionTest, Hidden
from smidgen.report.failures import percent

THUMBNAIL = 200
"""Longer side of a thumbnail, in pixels."""


@dataclass(frozen=True)
class TrainingReport:
    """What a training came to. Only title and classes must be known; the page shows what there is and says what there is not.

    Args:
        title: Name of the run or the data.
        classes: What label values mean.
        kind: What sort of report it is, for the line above the title.
        verdict: One sentence; "" composes it from the numbers.
        made: When, in words.
        pictures: Rows of pictures, in order; `content.arrange` chooses them.
        volumes: The same of volumes: cuts through cases.
        data: The data and the labels used.
        stages: The recipe, in order.
        curves: Logs of the trainings.
        scores: What was scored against masks; the first is the model on val and makes the headline. () = there were no masks.
        ranking: Image-level average precision of the classifier on val.
        agreements: How far stages say the same.
        deletion: The deletion test: whether hiding what was found costs the tag more than hiding the same area elsewhere.
        hidden: Examples of it.
        climbs: How the localizer's climbs went, where it climbs.
        climbed: Those nearest to failing.
        notes: Further things to distrust, a sentence each.
        uncertain: Images of which the model is least sure, least sure first.
        looked: Of how many training images these are.
        next_steps: What to do next, a line each; `words` between backticks are set as code.
        command: How to reproduce it, as typed.
        environment: Versions, seed, threads, device, fingerprint of the data …
        stages_bytes: Size of `stages/`.
    """

    title: str
    classes: Classes
    kind: str = "training report"
    verdict: str = ""
    made: str = ""
    pictures: tuple[Picture, ...] = ()
    volumes: tuple[volumes.VolumePicture, ...] = ()
    data: DataCard = field(default_factory=DataCard)
    stages: tuple[StageCard, ...] = ()
    curves: tuple[Curve, ...] = ()
    scores: tuple[ScoreRow, ...] = ()
    ranking: TagRanking | None = None
    agreements: tuple[Agreement, ...] = ()
    deletion: DeletionTest | None = None
    hidden: tuple[Hidden, ...] = ()
    climbs: Climbs | None = None
    climbed: tuple[ShownClimb, ...] = ()
    notes: tuple[str, ...] = ()
    uncertain: tuple[Uncertain, ...] = ()
    looked: int = 0
    next_steps: tuple[str, ...] = ()
    command: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    stages_bytes: int | None = None


def write_report(report: TrainingReport, path: Path, colors: UInt8[np.ndarray, "256 3"] = PALETTE) -> None:
    """Write the page; it appears whole or not at all.

    Args:
        report: What to show.
        path: The file.
        colors: Color of each label value.
    """
    page = html(report, colors)
    write_atomically(path, lambda part: part.write_text(page, encoding="utf-8"))


def html(report: TrainingReport, colors: UInt8[np.ndarray, "256 3"] = PALETTE) -> str:
    """The page as text."""
    background = report.classes.background
    groups = blocks.picture_groups(report.pictures, colors, background)
    best = report.scores[0] if report.scores else None
    drawn = _drawn(report)
    return blocks.render(
        "training.html",
        report=report,
        verdict=report.verdict or verdict(report),
        figures=_figures(report),
        has_evidence=any(maps is not None for one in report.pictures for maps in (one.heatmaps, one.regions)),
        groups=groups,
        cases=volumes.groups(report.volumes, colors, background),
        structures=volumes.structure_rows(best),
        case_rows=volumes.case_rows(best.cases if best is not None else None),
        measured=volumes.summary(best),
        orders=dict.fromkeys(BY_SCORE, "by each case’s mean Dice" if best is not None and best.cases else "by each image’s own mIoU")
        | dict.fromkeys(BY_CONFIDENCE, "by mean probability, for there is no truth"),
        legend=[(name, blocks.css(colors[i])) for i, name in enumerate(report.classes.names) if i in drawn and i != background],
        hatched=255 in drawn,
        colors={name: blocks.css(colors[i]) for i, name in enumerate(report.classes.names)},
        links=[blocks.address(stage.link) for stage in report.stages],
        curves=[(one.title, drawing) for one in report.curves if (drawing := blocks.curve(one)) is not None],
        class_rows=_class_rows(report),
        splits=list(report.data.class_images),
        score_rows=[_score_row(row) for row in report.scores],
        spread_note=_spread_note(best),
        tolerance=best.borders.tolerance if best is not None and best.borders is not None else "",
        sizes=_sizes(report.scores),
        heat=blocks.heat(best.confusion) if best is not None and best.confusion.pixels else None,
        notes=_notes(report),
        tag_rows=_tag_rows(report.ranking),
        thumbnails=[_thumbnail(one, colors, background) for one in report.uncertain],
        hidden=[_shown(one) for one in report.hidden],
        climbed=[_shown_climb(one) for one in report.climbed],
        seconds=[stage.seconds for stage in report.stages if stage.seconds is not None],
    )


def verdict(report: TrainingReport) -> str:
    """One sentence with the number that counts, or with why there is none."""
    images = sum(split.images for split in report.data.splits)
    about = ", ".join(filter(None, [f"{images} {'volumes' if report.volumes else 'images'}" if images else "", report.data.use]))
    sentence = (f"{about}: " if about else "") + _outcome(report) + "."
    return sentence[0].upper() + sentence[1:]


def _outcome(report: TrainingReport) -> str:
    if report.scores:
        scored = report.scores[0].confusion
        if not scored.pixels:
            return "nothing could be scored"
        mean = scored.mean()
        where, cases = report.scores[0].name.partition(",")[0], report.scores[0].cases
        poor = f"; the model predicts one class only ({scored.one_class})" if scored.one_class is not None else ""
        if cases is not None:
            return f"{where} {volumes.headline(cases)}{poor}"
        return f"{where} mIoU {percent(mean.value)} over {mean.over}{poor}"
    if report.ranking is not None and not np.isnan(report.ranking.mean):
        return f"no masks to score against; image tags are found with mAP {percent(report.ranking.mean)} over {report.ranking.over}"
    return "no masks to score against"


def _figures(report: TrainingReport) -> list[tuple[str, str, str]]:
    """The few numbers under the verdict: (value, what, remark)."""
    found = []
    if report.scores and report.scores[0].confusion.pixels:
        row = report.scores[0]
        scored, mean = row.confusion, row.confusion.mean()
        found.extend(volumes.figures(row))
        found.append((percent(mean.value), "mIoU", _with_spread(row, "miou") or mean.over))
        if scored.background is not None and row.cases is None:
            found.append((percent(scored.miou_foreground), "without background", scored.mean(background=False).over.split(" with")[0]))
        if row.borders is not None and row.borders.mean().classes:
            found.append((percent(row.borders.mean().value), "boundary F", f"outlines within {row.borders.pixels}"))
        found.append((percent(scored.commonest_class_miou()), "baseline", f"everything is {scored.commonest_class}"))
        cells = "pixel" if row.cases is None else "voxel"
        found.append((percent(scored.pixel_accuracy), f"{cells} accuracy", f"{blocks.number(scored.pixels)} {cells}s"))
    if report.ranking is not None and not np.isnan(report.ranking.mean):
        found.append((percent(report.ranking.mean), "image-level mAP", report.ranking.over))
    return found


def _with_spread(row: ScoreRow, score: str) -> str:
    """How far a score would move with other images; "" where this can't be told."""
    found = row.spread.scores.get(score) if row.spread is not None else None
    return f"{found} (95 %, {found.units} {found.of})" if found else ""


def _drawn(report: TrainingReport) -> set[int]:
    """Label values that occur in the pictures: what a legend must explain."""
    labels = [label for one in report.pictures for label in (one.pseudo, one.prediction, one.truth) if label is not None]
    return {int(value) for label in labels for value in np.unique(label)} | volumes.drawn_values(report.volumes)


def _class_rows(report: TrainingReport) -> list[dict[str, Any]]:
    """Per class: scores of the model on val, its share of the true pixels, and how many images hold it."""
    first = report.scores[0] if report.scores else None
    scored = first.confusion if first is not None else None
    rows = []
    for i, name in enumerate(report.classes.names):
        images = [counts[i] if i < len(counts) else None for counts in report.data.class_images.values()]
        row: dict[str, Any] = {"name": name, "images": images, "background": i == report.classes.background, "iou": None}
        if first is not None and scored is not None and scored.pixels:
            row |= {"iou": float(scored.iou[i]), "dice": float(scored.dice[i]), "recall": float(scored.recall[i])}
            row["share"] = float(scored.truth[i] / scored.pixels)
            row |= {"spread": first.spread.iou[name] if first.spread else None, "f": _f_of(first.borders, i)}
        rows.append(row)
    return rows if scored is not None or report.data.class_images else []


def _f_of(borders: Boundary | None, i: int) -> float | None:
    return None if borders is None else float(borders.f[i])


def _score_row(row: ScoreRow) -> dict[str, Any]:
    """What was scored, with intervals where they are known."""
    borders = row.borders.mean() if row.borders is not None and row.borders.mean().classes else None
    scored, spread = row.confusion, row.spread.scores if row.spread is not None else {}
    return {
        "name": row.name,
        "note": row.note,
        "over": scored.mean().over,
        "miou": scored.miou,
        "foreground": None if scored.background is None else scored.miou_foreground,
        "dice": scored.mean(score="dice").value,
        "f": None if borders is None else borders.value,
        "accuracy": scored.pixel_accuracy,
        "weighted": scored.frequency_weighted_iou,
        "baseline": scored.commonest_class_miou(),
        "spread": {
            "miou": spread.get("miou"),
            "foreground": spread.get("miou_without_background"),
            "f": spread.get("mean_f"),
            "accuracy": spread.get("pixel_accuracy"),
        },
    }


def _spread_note(row: ScoreRow | None) -> str:
    """What the intervals are, and why some are missing."""
    if row is None or row.spread is None:
        return ""
    spread = row.spread
    text = f"Small numbers: {spread.about}; they tell what comes of scoring on few {spread.of}, not of another training."
    if spread.few:
        text += f" No interval for means over classes: {failures.listed(spread.few)} {'is' if len(spread.few) == 1 else 'are'} "
        text += f"in fewer than {FEW} {spread.of}."
    return text


def _sizes(rows: Sequence[ScoreRow]) -> list[dict[str, Any]]:
    """Objects by size, each with what each scored thing found; [] where no object was counted."""
    counted = [row for row in rows if row.sizes is not None and row.sizes[:, 0].any()]
    low, high = (f"{100 * limit:.2g} %" for limit in objects.LIMITS)
    bounds = (f"below {low} of the image", f"{low} to {high}", f"from {high} on")
    return [
        {
            "size": size,
            "bounds": bound,
            "found": [
                {"what": row.name, "objects": int(n), "share": _part(int(hits), int(n)), "pixels": _part(int(right), int(pixels))}
                for row in counted
                for n, hits, pixels, right in [row.sizes[i]]  # pyright: ignore[reportOptionalSubscript] (those without are left out above)
            ],
        }
        for i, (size, bound) in enumerate(zip(objects.SIZES, bounds, strict=True))
        if counted
    ]


def _part(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None


def _notes(report: TrainingReport) -> list[failures.Note]:
    found: list[failures.Note] = []
    if report.scores:
        first = report.scores[0]
        found.extend(failures.notes(first.confusion, first.images, first.name.partition(",")[0], first.sizes))
        found.extend(volumes.notes(first))
    if report.ranking is not None and report.ranking.undefined:
        undefined = report.ranking.undefined
        text = f"No val image holds {failures.listed(undefined)}: no average precision for {failures.them(undefined)}."
        found.append(failures.Note("note", text))
    if report.deletion is not None and report.deletion.difference is not None and report.deletion.difference.low <= 0:
        text = "Hiding what was found costs the tags no more than hiding the same area elsewhere: the pseudo-masks may lie in wrong places."
        found.append(failures.Note("warning", text))
    if report.climbs is not None and report.climbs.note is not None:
        found.append(report.climbs.note)
    found.extend(failures.Note("note", text) for text in report.notes)
    return sorted(found, key=lambda note: note.kind != "warning")


def _tag_rows(ranking: TagRanking | None) -> list[dict[str, Any]]:
    if ranking is None:
        return []
    table = zip(ranking.names, ranking.ap, ranking.positives, ranking.known, strict=True)
    return [
        {"name": name, "ap": float(ap), "positives": int(positives), "chance": float(positives / known) if known else float("nan")}
        for name, ap, positives, known in table
    ]


def _shown(one: Hidden) -> dict[str, Any]:
    """Three pictures of the deletion test with the tag's probability under each."""
    versions = (
        ("as it is", one.image, one.before),
        ("found region hidden", one.found, one.after),
        ("elsewhere", one.elsewhere, one.after_random),
    )
    drawn = [{"title": title, "image": pictures.picture(image, THUMBNAIL), "prob": prob} for title, image, prob in versions]
    return {"id": one.id, "name": one.name, "versions": drawn}


def _shown_climb(one: ShownClimb) -> dict[str, Any]:
    """The image and what the climb found, with the numbers that tell how it went."""
    climb = one.climb
    drawn = (("image", pictures.picture(one.image, THUMBNAIL)), ("evidence", pictures.with_values(one.image, one.evidence, THUMBNAIL)))
    text = f"{climb.first:.1f} → {climb.last:.1f}, {100 * climb.on:.0f} % on"
    return {"id": climb.id, "name": one.name, "drawn": drawn, "text": text, "why": climb.why}


def _thumbnail(one: Uncertain, colors: UInt8[np.ndarray, "256 3"], background: int | None) -> dict[str, Any]:
    drawn = [("image", pictures.picture(one.image, THUMBNAIL))]
    if one.prediction is not None:
        drawn.append(("prediction", pictures.with_classes(one.image, one.prediction, colors, background, THUMBNAIL)))
    if one.sure is not None:
        drawn.append(("where it is unsure", pictures.with_doubt(one.image, one.sure, THUMBNAIL)))
    return {"id": one.id, "drawn": drawn, "confidence": one.confidence, "agreement": one.agreement, "tags": ", ".join(one.tags)}
