"""What follows a recipe: predictions, scores, the model's folder and the report; all of it is rebuilt from `stages/`."""

from __future__ import annotations

import json
import logging
import random
import shutil
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from smidgen.actions.calibrating import beside, calibrated, val_calibrated
from smidgen.actions.labeling import label_next
from smidgen.actions.reporting import Outcome, report
from smidgen.actions.scoring import Scored, facts, score
from smidgen.actions.shown import write_sheet
from smidgen.actions.train import Job
from smidgen.core.codec import write_atomically
from smidgen.core.run import Run
from smidgen.data.dataset import Dataset
from smidgen.parts.metrics.presence import without_a_pixel
from smidgen.parts.metrics.ranking import TagRanking, rank, tag_table
from smidgen.products.climbs import read as read_climbs
from smidgen.products.segmenter import Segmenter
from smidgen.report.climbs import Climbs
from smidgen.report.climbs import summed as summed_climbs
from smidgen.report.evidence import summed

LOG = logging.getLogger(__name__)
LOOKED_AT = {2: 120, 3: 24}
"""Training images, and training volumes, that are predicted for pictures, agreement and the list of the least certain ones."""


def finish(job: Job, run: Run, segmenter: Segmenter | None) -> None:
    """Score and report what a recipe made.

    Args:
        job: What was to be done.
        run: What was done.
        segmenter: The product; None where the recipe was stopped before (`--until`).
    """
    val, looked = job.full.only("val"), some_of_train(job)
    predictions: dict[str, Mapping[str, Any]] = {}
    run.until = None
    with_biases: Mapping[str, Any] | None = None
    of_peers: Mapping[str, Mapping[str, Any]] = {}
    if segmenter is not None:
        of_peers = _of_peers(job, run, val, segmenter)
        segmenter = calibrated(job, run, segmenter)
        segmenter.recipe = job.resolved.recipe
        for name, data in {"val": val, "train": looked}.items():
            if data.samples:
                predictions[name] = run.stage("predict", job.resolved.choice.predict, data, segmenter=segmenter)
        with_biases = val_calibrated(job, run, val, segmenter)
    if run.fabric.global_rank == 0:
        outcome = replace(_outcome(job, run, val, looked, predictions), segmenter=segmenter)
        also = {**of_peers, **({} if with_biases is None else {"val_calibrated": with_biases})}
        scored = {name: one for name, found in also.items() if (one := score(val, found))}
        outcome = replace(outcome, scored={**outcome.scored, **scored})
        _write_scores(job, outcome)
        _write_pictures(job, outcome)
        if segmenter is not None:
            _write_model(job, segmenter, outcome)
        else:
            shutil.rmtree(job.folder / "model", ignore_errors=True)  # of another recipe than the report's; the same command rebuilds it
        report(job, run, outcome)
    run.fabric.barrier()


def _of_peers(job: Job, run: Run, val: Dataset, segmenter: Segmenter) -> dict[str, Mapping[str, Any]]:
    """Where several networks were trained: what each but the model itself says of val, and what all say together."""
    if not any(sample.read_label for sample in val.samples.values()):
        return {}
    others = list(getattr(segmenter, "peers", {}).items())[1:]
    aside = beside(job, run, {})
    names = {name: "val_vote" if name == "vote" else f"val_network_{name}" for name, _ in others}
    return {names[name]: aside.stage("predict", job.resolved.choice.predict, val, segmenter=one) for name, one in others}


def some_of_train(job: Job) -> Dataset:
    """Training images to look at, drawn with the seed."""
    ids = sorted(job.full.train)
    chosen = random.Random(job.resolved.seed).sample(ids, min(LOOKED_AT[job.full.dims], len(ids)))
    return job.full.only("train", chosen)


def _outcome(job: Job, run: Run, val: Dataset, looked: Dataset, predictions: Mapping[str, Mapping[str, Any]]) -> Outcome:
    products = {one.stage: one.product for one in run.finished}
    scored: dict[str, Scored] = {}
    if "val" in predictions and (one := score(val, predictions["val"])):
        scored["val"] = one
    labels = products.get("label")
    if labels is not None and (one := score(job.full.only("train"), labels)):
        scored["train_pseudo_masks"] = one
    ranking = _ranking(val, products["classify"]) if "classify" in products else None
    deletions = products.get("check") or {}
    tested = summed(deletions, job.full) if deletions else None
    ask = label_next(looked, predictions["train"], labels) if "train" in predictions else ()
    return Outcome(
        val,
        looked,
        predictions,
        heatmaps=products.get("localize"),
        refined=products.get("refine"),
        labels=labels,
        scored=scored,
        ranking=ranking,
        deletion=tested,
        deletions=deletions,
        ask=ask,
        climbs=_climbs(run),
    )


def _climbs(run: Run) -> Climbs | None:
    """How the localizer's climbs went, where it climbs: a line of the log; said on the screen where they failed."""
    one = next((one for one in run.finished if one.stage == "localize"), None)
    found = None if one is None else summed_climbs(read_climbs(one.folder, tuple(one.product)))
    if one is None or found is None:
        return None
    LOG.info("%s %s: %s", one.stage, one.method, found.line)
    if found.note is not None:
        run.screen.say(f"note      {found.note.text}")
    return found


def _ranking(val: Dataset, classifier: Any) -> TagRanking | None:
    probs: Mapping[str, np.ndarray] = getattr(classifier, "tag_probs", {})
    ids = [id for id, sample in val.samples.items() if sample.tags is not None and id in probs]
    if not ids:
        return None
    truth = tag_table([val.samples[id].tags for id in ids], classifier.ids)
    return rank(truth, np.stack([probs[id] for id in ids]), [val.classes.names[i] for i in classifier.ids])


def _write_scores(job: Job, outcome: Outcome) -> None:
    found: dict[str, Any] = {name: facts(scored) for name, scored in outcome.scored.items()}
    if outcome.ranking is not None:
        ranking = outcome.ranking
        values = {name: None if np.isnan(value) else float(value) for name, value in zip(ranking.names, ranking.ap, strict=True)}
        found["tags"] = {"map": None if np.isnan(ranking.mean) else ranking.mean, "ap": values}
    if outcome.labels is not None:
        found["pseudo_masks"] = _vanished(job, outcome.labels)
    if outcome.deletion is not None:
        found["deletion"] = outcome.deletion.record()
    if outcome.climbs is not None:
        found["climbs"] = outcome.climbs.record()
    if outcome.ask:
        found["label_next"] = {"among": len(outcome.predictions["train"]), "images": [one.record() for one in outcome.ask]}
    write_atomically(job.folder / "scores.json", lambda part: part.write_text(json.dumps(found, indent=1), encoding="utf-8"))


def _vanished(job: Job, labels: Mapping[str, Any]) -> Mapping[str, Mapping[str, int]]:
    """Of each class, in how many images the way from tag to mask lost it; it may vanish in rounds that learn from themselves."""
    tags = {id: job.full.samples[id].tags or () for id in labels}
    found = without_a_pixel(((labels[id].label, of) for id, of in tags.items() if of), job.full.classes.names)
    for name, one in found.items():
        if one["without_a_pixel"]:
            LOG.info("pseudo-masks: %s has no pixel in %d of %d images tagged so", name, one["without_a_pixel"], one["tagged"])
    return found


def _write_pictures(job: Job, outcome: Outcome) -> None:
    """Twelve predictions for a notebook: of val, by their score where it is known; where there is no val, of train."""
    part = "val" if "val" in outcome.predictions else "train"
    predictions = outcome.predictions.get(part, {})
    scored = outcome.scored.get(part)
    scores = scored.by_image if scored else {id: float(np.mean(one.confidence)) for id, one in predictions.items()}
    write_sheet(job.folder, job.full.samples, predictions, scores, job.full.classes.background)


def _write_model(job: Job, segmenter: Segmenter, outcome: Outcome) -> None:
    """The new folder takes the old one's place when it is whole."""
    if "val" in outcome.scored:
        scored = outcome.scored["val"]
        segmenter.scores = {"val_miou": scored.total.miou} | ({"val_mean_dice": scored.cases.mean_dice.mean} if scored.cases else {})
    new, place = job.folder / ".model.part", job.folder / "model"
    shutil.rmtree(new, ignore_errors=True)
    segmenter.save(new)
    shutil.rmtree(place, ignore_errors=True)
    new.replace(place)
