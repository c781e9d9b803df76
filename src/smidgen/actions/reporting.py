"""Fills the report of a training from what its stages left."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from smidgen.actions.cases import is_oriented, known_cases, least_sure_slice, volume_pictures
from smidgen.actions.labeling import ToLabel, score_next
from smidgen.actions.scoring import Scored, row
from smidgen.actions.spoken import spoken
from smidgen.core.conventions import IGNORED
from smidgen.core.machine import cores, versions
from smidgen.data.dataset import Dataset
from smidgen.data.summary import summarize
from smidgen.parts.imaging.hiding import hidden
from smidgen.parts.metrics.cases import Cases
from smidgen.parts.metrics.confusion import Confusion
from smidgen.parts.metrics.ranking import TagRanking
from smidgen.products.heatmaps import Heatmaps
from smidgen.products.resizing import nearest
from smidgen.products.sample import Classes, Sample
from smidgen.report.climbs import Climbs, ShownClimb
from smidgen.report.content import (
    BY_CONFIDENCE,
    BY_SCORE,
    Agreement,
    Curve,
    DataCard,
    Picture,
    ScoreRow,
    SplitCounts,
    StageCard,
    Uncertain,
    arrange,
    differences,
    rows_of,
)
from smidgen.report.evidence import DeletionTest, Hidden
from smidgen.report.training import TrainingReport, write_report
from smidgen.report.volumes import VolumePicture

if TYPE_CHECKING:
    from smidgen.actions.train import Job
    from smidgen.core.run import Finished, Run

SHOWN_TRAIN = 6
"""Training images whose way from tag to mask is shown."""
SHOWN_VAL = 6
"""Validation images in each group: best, median, worst."""
WITH_REGIONS = ("ocr",)
"""Heads whose object regions are shown."""
SHOWN_HIDDEN = 3
"""Examples of the deletion test."""
USED = {"tags": "image tags only", "masks": "masks", "sparse": "scribbles and points"}


@dataclass(frozen=True)
class Outcome:
    """What a recipe made, for scores and report.

    Args:
        val: Images that are scored.
        looked: Training images that were predicted, too.
        predictions: "val" and "train" -> id -> Scores.
        heatmaps: Of the localizer.
        refined: Of the last refiner.
        labels: Pseudo-masks of train.
        scored: What could be scored against masks, by name.
        ranking: Image-level average precision on val.
        deletion: The deletion test, summed over images.
        deletions: The same, image by image.
        ask: Images to label next.
        climbs: How the localizer's climbs went; None where it does not climb.
        segmenter: The model; None where the recipe was stopped before.
    """

    val: Dataset
    looked: Dataset
    predictions: Mapping[str, Mapping[str, Any]]
    heatmaps: Mapping[str, Any] | None
    refined: Mapping[str, Any] | None
    labels: Mapping[str, Any] | None
    scored: Mapping[str, Scored]
    ranking: TagRanking | None
    deletion: DeletionTest | None = None
    deletions: Mapping[str, Any] = field(default_factory=dict)
    ask: tuple[ToLabel, ...] = ()
    climbs: Climbs | None = None
    segmenter: Any = None


def report(job: Job, run: Run, outcome: Outcome) -> None:
    """Write RUN/report.html."""
    seen = {id: scores for part in outcome.predictions.values() for id, scores in part.items()}
    confidence = {id: float(np.mean(scores.confidence)) for id, scores in seen.items()}
    write_report(
        TrainingReport(
            title=job.full.name,
            classes=job.full.classes,
            made=time.strftime("%Y-%m-%d %H:%M"),
            pictures=(*_train_pictures(job, outcome, seen), *_val_pictures(outcome, confidence)),
            volumes=tuple(_val_volumes(outcome, confidence)),
            data=_data_card(job),
            stages=tuple(_stage_card(one, outcome, run) for one in run.finished if not _repeats(one, run)),
            curves=tuple(_curves(run)),
            scores=tuple(_score_rows(outcome)) if "val" in outcome.scored else (),
            ranking=outcome.ranking,
            agreements=tuple(_agreements(job, outcome)),
            deletion=outcome.deletion,
            hidden=tuple(_hidden(job, run, outcome)),
            climbs=outcome.climbs,
            climbed=tuple(_climbed(job, outcome)),
            notes=job.chosen.notes,
            uncertain=tuple(_uncertain(job, outcome)),
            looked=len(outcome.predictions.get("train", {})),
            next_steps=_next(job, outcome),
            command=_command(job),
            environment=_environment(job, run),
            stages_bytes=sum(path.stat().st_size for path in (job.folder / "stages").rglob("*") if path.is_file()),
        ),
        job.folder / "report.html",
    )


def _repeats(one: Finished, run: Run) -> bool:
    """A second prediction with the same settings is no stage of its own."""
    return next(other for other in run.finished if (other.stage, other.method) == (one.stage, one.method)) is not one


def _train_pictures(job: Job, outcome: Outcome, seen: Mapping[str, Any]) -> Iterator[Picture]:
    maps = outcome.refined or outcome.heatmaps
    if maps is None:
        return
    names = job.full.classes.names
    tagged = [id for id, sample in outcome.looked.samples.items() if sample.tags and id in maps]
    pseudo = outcome.scored.get("train_pseudo_masks")
    for id, group in _shown_of_train(tagged, pseudo.images if pseudo else {}):
        sample = outcome.looked.samples[id]
        yield Picture(
            id=id,
            image=sample.image(),
            heatmaps=maps[id],
            pseudo=outcome.labels[id].label if outcome.labels is not None and id in outcome.labels else None,
            prediction=seen[id].label if id in seen else None,
            truth=sample.label(),
            tags=tuple(names[i] for i in sample.tags or ()),
            score=pseudo.images.get(id) if pseudo else None,
            group=group,
        )


def _shown_of_train(ids: Sequence[str], scores: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Training images to show, with their heading: by the pseudo-mask's score where there are masks to tell, else the first ones."""
    title = "training images: from tag to mask"
    known = {id: scores[id] for id in ids if id in scores}
    if not known:
        yield from ((id, title) for id in ids[:SHOWN_TRAIN])
        return
    for group, chosen in arrange(known, SHOWN_TRAIN // 3).items():
        yield from ((id, f"{title}, {group}" if group else title) for id in chosen)


def _val_pictures(outcome: Outcome, confidence: Mapping[str, float]) -> Iterator[Picture]:
    if "val" not in outcome.predictions or outcome.val.dims == 3:
        return
    scored = outcome.scored.get("val")
    samples = outcome.val.samples
    telling = [id for id, sample in samples.items() if sample.tags != ()] or list(samples)  # known to hold none: nothing to see
    by = dict(scored.images) if scored else {id: confidence[id] for id in telling}
    names = outcome.val.classes.names
    for group, ids in arrange(by, SHOWN_VAL, BY_SCORE if scored else BY_CONFIDENCE).items():
        for id in ids:
            sample, said = outcome.val.samples[id], outcome.predictions["val"][id].label
            image = sample.shown()[0]
            yield Picture(
                id=id,
                image=image,
                regions=_regions(outcome, sample, said),
                prediction=said,
                truth=sample.label(),
                tags=tuple(names[i] for i in sample.tags or ()),
                score=scored.images[id] if scored else None,
                confidence=confidence[id],
                group=group or "validation images",
            )


def _val_volumes(outcome: Outcome, confidence: Mapping[str, float]) -> Iterator[VolumePicture]:
    if "val" in outcome.predictions and outcome.val.dims == 3:
        said = outcome.predictions["val"]
        yield from volume_pictures(outcome.val, said, outcome.scored.get("val"), {id: confidence[id] for id in said})


def _regions(outcome: Outcome, sample: Sample, said: np.ndarray) -> Heatmaps | None:
    """Where a head that reasons by object regions saw the classes that it predicts; None for other heads."""
    if outcome.segmenter is None or outcome.segmenter.architecture.head not in WITH_REGIONS:
        return None
    from smidgen.products.regions import object_regions

    found = object_regions(outcome.segmenter, sample.image())
    background = outcome.val.classes.background
    seen = [int(value) for value in np.unique(said) if value not in (IGNORED, background)]
    return None if found is None else found.heatmaps(seen or outcome.val.classes.foreground, background)


def _data_card(job: Job) -> DataCard:
    summary = summarize(job.full)
    learned = len(known_cases(job.data, job.full))
    used = {"train": learned}
    counts = tuple(
        SplitCounts(split, one.images, one.tags, one.masks, one.sparse, one.instances, used.get(split))
        for split, one in summary.splits.items()
    )
    shown = summary.splits if job.full.dims == 2 else ()  # every volume holds every organ
    images = {split: _class_images(getattr(job.full, split), job.full.classes) for split in shown}
    use = USED.get(str(job.words["use"]), "image tags only" if job.chosen.recipe == "tags" else f"{learned} masks")
    return DataCard(job.full.name, use, counts, images, (*job.full.notes, *summary.remarks), job.full.problems)


def _class_images(samples: Mapping[str, Any], classes: Classes) -> list[int | None]:
    """Images that are known to hold each class; None for the background, which is no tag."""
    held = [sum(i in (sample.tags or ()) for sample in samples.values()) for i in range(len(classes))]
    return [None if i == classes.background else n for i, n in enumerate(held)]


def _stage_card(one: Finished, outcome: Outcome, run: Run) -> StageCard:
    note = ""
    if one.stage == "classify":
        note = run.supplies["encoder"].origin
        if outcome.ranking is not None:
            note += f"; mAP on val {outcome.ranking}"
    return StageCard(
        one.stage, one.method, one.line, settings=differences(one.settings), seconds=one.seconds, peak_mib=one.peak_mib, note=note
    )


def _curves(run: Run) -> Iterator[Curve]:
    for one in run.finished:
        for log in sorted(one.folder.glob("*/log.csv")):
            with log.open(newline="", encoding="utf-8") as file:
                yield Curve(f"{one.stage} {one.method}: {log.parent.name.partition('-')[2]}", rows_of(list(csv.DictReader(file))))


def _score_rows(outcome: Outcome) -> Iterator[ScoreRow]:
    texts = {
        "val": ("val, model", ""),
        "val_calibrated": ("val, model with class biases", "chosen on training cases that were held out, see calibration.json"),
        "val_vote": ("val, vote of all networks", "mean of their probabilities; the model is one of them"),
        "train_pseudo_masks": ("train, pseudo-masks", "masks of train were looked at for this row only, after everything was trained"),
    }
    for name, scored in outcome.scored.items():
        title, note = texts.get(name) or (f"val, network {name.removeprefix('val_network_')}", "trained beside the model, not kept in it")
        yield row(title, scored, note)


def _agreements(job: Job, outcome: Outcome) -> Iterator[Agreement]:
    predicted = outcome.predictions.get("train")
    if outcome.labels is None or predicted is None:
        return
    both = [id for id in predicted if id in outcome.labels]
    confusion = Confusion(job.full.classes.names, job.full.classes.background)
    for id in both:
        confusion.add(outcome.labels[id].label, predicted[id].label)
    if both:
        yield Agreement(f"pseudo-masks and predictions, {len(both)} training images", confusion)


def _hidden(job: Job, run: Run, outcome: Outcome) -> Iterator[Hidden]:
    """Images of the deletion test, the first class of each: what the classifier saw."""
    hide: Any = next((getattr(one.settings, "hide", "surroundings") for one in run.finished if one.stage == "check"), "surroundings")
    tried = [id for id in outcome.deletions if outcome.deletions[id].ids]
    for id in tried[:SHOWN_HIDDEN]:
        one = outcome.deletions[id]
        image = nearest(job.full.samples[id].image(), one.found.shape[1:])
        yield Hidden(
            id=id,
            name=job.full.classes.names[one.ids[0]],
            image=image,
            found=hidden(image, one.found[0], hide),
            elsewhere=hidden(image, one.elsewhere[0], hide),
            before=float(one.before[0]),
            after=float(one.without_found[0]),
            after_random=float(one.without_random[0, 0]),
        )


def _climbed(job: Job, outcome: Outcome) -> Iterator[ShownClimb]:
    """The climbs nearest to failing, with what they found before anything refined it."""
    if outcome.climbs is None or outcome.heatmaps is None:
        return
    for one in outcome.climbs.strained():
        found = outcome.heatmaps[one.id]
        if one.label in found.ids:
            sample = job.full.samples[one.id]
            yield ShownClimb(one, job.full.classes.names[one.label], sample.image(), found.maps[found.ids.index(one.label)])


def _uncertain(job: Job, outcome: Outcome) -> Iterator[Uncertain]:
    names = job.full.classes.names
    for one in outcome.ask:
        sample, scores = outcome.looked.samples[one.id], outcome.predictions["train"][one.id]
        tags = tuple(names[i] for i in sample.tags or ())
        if len(sample.size) == 3:
            z, *shown = least_sure_slice(sample.image(), scores.label, scores.confidence, is_oriented(sample))
            id, (image, said, sure) = f"{one.id}, slice {z + 1} of {sample.size[0]}", shown
        else:
            id, image, said, sure = one.id, sample.shown()[0], scores.label, scores.confidence
        yield Uncertain(id, image, said, one.confidence, one.agreement, tags, sure)


def _next(job: Job, outcome: Outcome) -> tuple[str, ...]:
    run = job.folder
    steps = [f"`smidgen predict {run} IMAGES --out MASKS --overlay` paints new images."]
    if "val" not in outcome.scored and (asked := score_next(outcome.val, job.resolved.seed)):
        steps.append(
            f"For a score, draw masks for these val images, save them in `masks/` and run the same command: {', '.join(asked)}. "
            "They are drawn at random: a score of the hard ones only would be too low."
        )
    learned = known_cases(job.data, job.full)
    unused = sum(sample.read_label is not None for id, sample in job.full.train.items() if id not in learned)
    if unused and job.words["use"] == "tags":
        steps.append(f"{unused} training images have masks that were not used: the same command without `--use tags` learns from them.")
    if "val" in outcome.scored and (weak := _weakest(job, outcome.scored["val"])):
        steps.append(weak)
    if outcome.ranking is not None and not np.isnan(outcome.ranking.mean):
        worst = outcome.ranking.names[int(np.nanargmin(outcome.ranking.ap))]
        steps.append(f"The classifier finds '{worst}' worst: more images with and without it teach most.")
    return tuple(steps)


def _weakest(job: Job, scored: Scored) -> str:
    """The class with the lowest IoU on val, and how little it was learned from; "" where there is but one."""
    if scored.cases is not None:
        return _weakest_structure(scored.cases)
    total = scored.total
    real = [i for i in np.flatnonzero(total.truth) if i != total.background]
    if len(real) < 2:
        return ""
    worst = min(real, key=lambda i: (total.iou[i], i))
    held = sum(int(worst) in (sample.tags or ()) for sample in job.data.train.values())
    text = f"'{total.names[worst]}' is found worst (IoU {100 * total.iou[worst]:.1f})"
    return f"{text}; {held} of {len(job.data.train)} training images are known to hold it: more of them teach most." if held else f"{text}."


def _weakest_structure(cases: Cases) -> str:
    """The structure with the lowest mean Dice, and where it is worst; "" where there is but one."""
    known = [one for one in cases.told if one.dice.cases]
    if len(known) < 2:
        return ""
    weakest = min(known, key=lambda one: one.dice.mean)
    return f"'{weakest.name}' is found worst (Dice {weakest.dice.shares}), in {weakest.worst} worst of all: look at that case first."


def _command(job: Job) -> str:
    """What was run, without the machine's paths."""
    from smidgen.actions.train import train

    data = Path(job.words["data"]).name if job.words["data"] else "DATA"
    options = {name: value for name, value in job.words.items() if name not in ("data", "settings")} | {"out": job.folder.name}
    return spoken(train, [data], options, job.words["settings"])


def _environment(job: Job, run: Run) -> dict[str, str]:
    return versions() | {
        "seed": str(run.seed),
        "device": f"{run.device.type}, {cores()} cores, {run.fabric.world_size} process(es)",
        "precision": str(run.fabric.strategy.precision.precision),
        "data": job.data.key,
    }
