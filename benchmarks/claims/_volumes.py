"""What the claims about few labeled volumes share: label sets drawn by group, one way to train and score an arm, a dev part for choices.

Choices - steps, weights, which variant - are made on `dev`: patients of train that no arm of the exploration learns from. The cells of a
claim are scored on val, once.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import _images
from _images import RUNS
from _records import Cell, Claim, Row, measured

from smidgen.actions.choose import view
from smidgen.actions.scoring import score
from smidgen.core.processes import join
from smidgen.core.run import Run
from smidgen.core.settings import Machine
from smidgen.data.dataset import Dataset
from smidgen.data.splits import group_of, shuffled
from smidgen.recipes.choice import resolve
from smidgen.recipes.supplies import supplies

DEV_GROUPS = 10
"""Patients of train that choices are made on."""


@dataclass(frozen=True)
class Setting:
    """One data set with few labels.

    Args:
        name: Of the data set.
        labeled: How many labels an arm has, as `--labeled` says it.
        dims: 2 = slices, 3 = volumes.
        label_folder: Where train's labels are, if not where val's are.
    """

    name: str
    labeled: str
    dims: Any
    label_folder: str | None = None

    def full(self) -> Dataset:
        """All of it."""
        return _images.full(self.name, self.label_folder)

    def parts(self, dev: bool) -> tuple[Dataset, Dataset]:
        """What may be learned from, and what is scored: val, or of train the dev patients, who are then not learned from."""
        full = self.full()
        if not dev:
            return full.only("train"), full.only("val")
        train = full.only("train")
        chosen = set(shuffled((group_of(one) for one in train.samples.values()), "dev")[:DEV_GROUPS])
        ids = {id for id, one in train.samples.items() if group_of(one) in chosen}
        return train.without(ids), train.only(ids=ids)

    def few(self, seed: int, dev: bool = False, labeled: str = "") -> Dataset:
        """What an arm learns from: the label set of this seed; slices where networks see slices."""
        return view(self.parts(dev)[0].keeping(labeled or self.labeled, seed), self.dims)[0]


@cache
def fabric() -> Any:
    """This process alone."""
    return join(Machine())


def trained(setting: Setting, seed: int, recipe: str, words: Mapping[str, Any], dev: bool = False, labeled: str = "") -> dict[str, Any]:
    """One arm with one label set: Dice per volume, in percent, of the prediction as it is and of the largest pieces.

    Args:
        setting: Data.
        seed: Of the label set and of everything random.
        recipe: `masks`, or a method of the stage `semi`.
        words: Settings, beside the preset's.
        dev: Score the dev patients instead of val.
        labeled: Other than the setting's.
    """
    start = time.monotonic()
    kind = "slices" if setting.dims == 2 else "volumes"
    resolved = resolve(recipe, "small", {"seed": seed, **words}, kind)
    data, (_, scored_on) = setting.few(seed, dev, labeled), setting.parts(dev)
    run = Run(RUNS / setting.name, fabric(), resolved.methods, supplies(resolved, data), seed=seed)
    stage = "segment" if resolved.recipe == "masks" else "semi"
    segmenter = run.stage(stage, getattr(resolved.choice, stage), data)
    seconds = time.monotonic() - start
    scores = dice(scored_on, run.stage("predict", "windows", scored_on, segmenter=segmenter))
    peers = {
        name: dice(scored_on, run.stage("predict", "windows", scored_on, segmenter=one))["value"]
        for name, one in getattr(segmenter, "peers", {}).items()
    }
    return {**scores, "training_seconds": round(seconds), **({"peers": peers} if peers else {})}


def row(
    claim: Claim,
    setting: Setting,
    name: str,
    arm: str,
    recipe: str,
    words: Mapping[str, Any],
    seeds: Sequence[int],
    labeled: str = "",
) -> Row:
    """One arm of a claim, a cell for each label set.

    Args:
        claim: Whose.
        setting: Data.
        name: Of the row, in words.
        arm: Of its cells.
        recipe: As in `trained`, like all that follow.
        words: Settings.
        seeds: Of the label sets.
        labeled: Other than the setting's.
    """

    def cell(seed: int) -> Cell:
        told = {"recipe": recipe, "labeled": labeled, **words}
        return measured(claim, arm, seed, told, lambda: trained(setting, seed, recipe, words, labeled=labeled))

    return Row(name, [cell(seed) for seed in seeds])


def dice(data: Dataset, predictions: Mapping[str, Any]) -> dict[str, Any]:
    """Mean Dice per volume over classes, in percent, and what else is told of volumes."""
    scored = score(data, predictions)
    assert scored is not None and scored.cases is not None and scored.largest is not None
    mean, largest = (100 * one.mean_dice.mean for one in (scored.cases, scored.largest))
    each = {id: round(100 * value, 2) for id, value in scored.cases.dice.items()}
    return {"value": round(mean, 3), "largest_piece": round(largest, 3), "cases": each}
