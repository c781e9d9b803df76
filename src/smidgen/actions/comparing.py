"""One cell of a comparison: a recipe with so many labels and one seed, trained and scored; what is finished is taken from its stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from smidgen.actions.scoring import Scored, score
from smidgen.actions.train import Job
from smidgen.core.run import Run
from smidgen.core.screen import Screen
from smidgen.recipes.supplies import supplies

TAGS_ONLY = "tags"
"""The recipe that reads no mask: how many there are makes no difference to it."""


@dataclass(frozen=True)
class Cell:
    """What one training came to.

    Args:
        recipe: As it was said.
        labeled: How many labels it had, as it was said.
        seed: Of everything random.
        masks: Training images (or volumes) whose masks it had.
        tagged: Training images whose tags it had.
        metric: What was scored, in words.
        score: Mean over the classes of the data set: mIoU of pictures, Dice of volumes, in [0, 1].
        each: The same of each val image, by id.
        counts: Confusion counts of each val image, from which mIoU is made; none for volumes.
        seconds: Spent on its stages, those that are shared with other cells included.
        peak_mib: Largest memory of the process, MiB.
        predictions: What it says of val images, read when asked for.
    """

    recipe: str
    labeled: str
    seed: int
    masks: int
    tagged: int
    metric: str
    score: float
    each: Mapping[str, float]
    seconds: float
    peak_mib: float
    predictions: Mapping[str, Any]
    counts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def arm(self) -> tuple[str, str]:
        """What cells of several seeds share."""
        return self.recipe, self.labeled

    def record(self) -> dict[str, Any]:
        """For a JSON file."""
        told = ("recipe", "labeled", "seed", "masks", "tagged", "score", "seconds", "peak_mib")
        return {name: getattr(self, name) for name in told} | {"each": dict(self.each)}


def worked(job: Job, fabric: Any, screen: Screen, recipe: str, labeled: str) -> Cell | None:
    """Train and score one cell; None where val has no mask to score by.

    Args:
        job: What is trained; its folder is that of all cells, so that they share stages.
        fabric: Devices, processes, precision.
        screen: Hears of the progress.
        recipe: As it was said.
        labeled: As it was said.
    """
    machine = job.resolved.machine
    run = Run(
        job.folder,
        fabric,
        job.resolved.methods,
        supplies(job.resolved, job.data),
        seed=job.resolved.seed,
        workers=machine.workers,
        start_method=machine.start_method,
        screen=screen,
    )
    run.checkpoint_seconds = machine.checkpoint_seconds
    segmenter = job.recipe(run)
    val = job.full.only("val")
    predictions = run.stage("predict", job.resolved.choice.predict, val, segmenter=segmenter)
    scored = score(val, predictions)
    if scored is None:
        return None
    stages = {one.stage for one in run.finished}
    return Cell(
        recipe=recipe,
        labeled=labeled,
        seed=job.resolved.seed,
        masks=_masks(job) if job.resolved.recipe != TAGS_ONLY else 0,
        tagged=len(job.data.tagged) if "classify" in stages else 0,
        metric="mIoU" if scored.cases is None else "Dice, mean over cases",
        score=_mean(scored),
        each=dict(scored.by_image),
        seconds=sum(one.seconds for one in run.finished),
        peak_mib=max(one.peak_mib for one in run.finished),
        predictions=predictions,
        counts=scored.counts if scored.cases is None else {},
    )


def _masks(job: Job) -> int:
    """Images or volumes with masks: slices of one volume are one."""
    return len(job.full.only("train", {id.split("/z")[0] if id not in job.full.samples else id for id in job.data.labeled}).samples)


def _mean(scored: Scored) -> float:
    """Mean Dice over cases of volumes, mIoU of pictures."""
    if scored.cases is None:
        return float(scored.total.miou)
    return float(scored.cases.mean_dice.mean)


def shown_of(each: Mapping[str, float], count: int) -> list[str]:
    """Val images spread evenly over the order of their scores, the worst first.

    Args:
        each: Score of each image, by id.
        count: How many to take at most.
    """
    ids = sorted(each, key=lambda id: (each[id], id))
    places = np.linspace(0, len(ids) - 1, min(count, len(ids))).round().astype(int)
    return [ids[place] for place in dict.fromkeys(places.tolist())]
