"""`train --calibrate N`: class biases of a model, chosen on training cases whose masks it did not see.

Reading order: calibrated, held_out (cross-fitting), chosen, then parts/metrics/biases. The recipe is repeated N times, each time without
one share of the groups that have masks; what these networks say of what was left out decides. Nothing of val or test is looked at.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from smidgen.core import registry
from smidgen.core.codec import write_atomically
from smidgen.core.errors import SettingsError
from smidgen.core.keys import key, source
from smidgen.data.dataset import Dataset
from smidgen.data.splits import folds, group_of
from smidgen.parts.metrics import biases as metric
from smidgen.parts.metrics.confusion import mean_over_present, plain

if TYPE_CHECKING:
    from smidgen.actions.train import Job
    from smidgen.core.run import Run
    from smidgen.products.segmenter import Segmenter

FILE = "calibration.json"
RAW = {"keep_probs": True, "calibrated": False, "largest_component": False}
"""How what was left out is predicted: like all else, but for what is done with probabilities afterwards."""


@dataclass(frozen=True)
class Held:
    """One share of the labeled cases, and what a network says that never saw them.

    Args:
        data: The cases with their masks.
        predictions: With the probabilities of all classes.
    """

    data: Dataset
    predictions: Any

    @property
    def cases(self) -> dict[str, metric.Case]:
        """Read when asked for, by id."""
        return {id: partial(self.read, id) for id in self.data.samples}

    def read(self, id: str) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities and true label of a case."""
        label = self.data.samples[id].label()
        assert label is not None
        return self.predictions[id].probs, label


def check(job: Job) -> None:
    """Refuse what can't be done, before anything is trained.

    Raises:
        SettingsError: Too few groups with masks, a time budget, or biases that are to be used and that nobody measures.
    """
    shares = job.words.get("calibrate") or 0
    name, settings = _predicting(job)
    if not shares:
        if getattr(settings, "calibrated", False):
            raise SettingsError(f"{name}.calibrated: nothing measures class biases: add --calibrate 2, or leave it out")
        return
    if job.words.get("minutes") is not None:
        raise SettingsError("--calibrate: trains again and again, which --minutes does not plan: leave one of them out")
    if "keep_probs" not in type(settings).model_fields:
        raise SettingsError(f"--calibrate: {name} keeps no probabilities (it has no setting keep_probs): choose --predict windows")
    folds(job.data.train, shares, job.resolved.seed)


def stages(job: Job, of_recipe: int) -> int:
    """How many stages there are to be in all.

    Args:
        job: What is to be done.
        of_recipe: Those of the recipe and one prediction.
    """
    shares, val = job.words.get("calibrate") or 0, bool(job.full.val)
    return of_recipe + val + (shares * of_recipe + val if shares else 0)


def calibrated(job: Job, run: Run, segmenter: Segmenter) -> Segmenter:
    """The model with class biases, if they are wished; what is finished is not done again.

    Args:
        job: What is done.
        run: What it is done with.
        segmenter: What the recipe made.
    """
    if not job.words.get("calibrate"):
        return segmenter
    held = held_out(job, run)
    told: Any = run.fabric.broadcast(chosen(job, held) if run.fabric.global_rank == 0 else None)
    run.screen.say(_line(told))
    return segmenter.with_biases([told["biases"][name] for name in job.full.classes.names])


def val_calibrated(job: Job, run: Run, val: Dataset, segmenter: Segmenter) -> Mapping[str, Any] | None:
    """Predictions of val with class biases, to score both ways; None where there are none, or where all predictions have them."""
    if not segmenter.biases or not val.samples or getattr(_predicting(job)[1], "calibrated", False):
        return None
    return beside(job, run, {"calibrated": True}).stage("predict", job.resolved.choice.predict, val, segmenter=segmenter)


def held_out(job: Job, run: Run) -> list[Held]:
    """The recipe repeated without each share, and its predictions of that share.

    Args:
        job: What is done.
        run: What it is done with; its stages are shared, so that all goes on after a kill.
    """
    from smidgen.actions.cases import known_cases  # `check` starts fast without what scores

    aside, found = beside(job, run, RAW), []
    known = known_cases(job.data, job.full)
    shares = folds(job.data.train, job.words["calibrate"], job.resolved.seed)
    for n, share in enumerate(shares, start=1):
        left_out = {id for id, sample in job.data.train.items() if group_of(sample) in share}
        cases = known_cases(job.data.only(ids=left_out), job.full) & known
        held = job.full.only("train", [id for id in cases if not job.full.samples[id].sparse])
        run.screen.say(f"calibrate {n} of {len(shares)}: all again without {len(held.samples)} of {len(known)} labeled cases")
        segmenter = job.recipe(aside, job.data.without(left_out))
        found.append(Held(held, aside.stage("predict", job.resolved.choice.predict, held, segmenter=segmenter)))
    return found


def chosen(job: Job, held: list[Held]) -> dict[str, Any]:
    """The biases and what they change, as it stands in RUN/calibration.json; taken from there where the predictions are the same.

    The biases that all cases choose are kept if such biases help where nothing is promised: each share's cases with those that the other
    shares choose (`crossed`). Few cases, or networks that are unlike each other, would else choose what suits them by chance.

    Args:
        job: What is done.
        held: All labeled cases, each predicted by a network that did not see it.
    """
    path, ident = job.folder / FILE, key([one.predictions.key for one in held], source(metric.__name__))
    if path.exists() and (told := json.loads(path.read_text(encoding="utf-8"))).get("key") == ident:
        return told
    background, names = job.full.classes.background, job.full.classes.names
    cases = {id: case for one in held for id, case in one.cases.items()}
    biases, none = metric.best_biases(list(cases.values()), background), (0.0,) * len(names)
    crossed = {}
    for n, one in enumerate(held):
        others = [case for m, other in enumerate(held) for case in other.cases.values() if m != n]
        of_others = metric.best_biases(others, background)
        crossed |= {id: metric.case_dice(case, background, of_others) for id, case in one.cases.items()}
    dice, better = ({id: metric.case_dice(case, background, at) for id, case in cases.items()} for at in (none, biases))
    helps = (_mean(crossed) or 0.0) > (_mean(dice) or 0.0)
    told = {
        "key": ident,
        "shares": len(held),
        "cases": len(cases),
        "biases": dict(zip(names, biases if helps else none, strict=True)),
        "tried": dict(zip(names, biases, strict=True)),
        "dice": _mean(dice),
        "dice_calibrated": _mean(better),
        "dice_crossed": _mean(crossed),
        "per_case": {id: {"dice": plain(dice[id]), "calibrated": plain(better[id]), "crossed": plain(crossed[id])} for id in sorted(cases)},
    }
    write_atomically(path, lambda part: part.write_text(json.dumps(told, indent=1), encoding="utf-8"))
    return told


def _mean(each: Mapping[str, float]) -> float | None:
    return plain(float(mean_over_present(np.array([list(each.values())]))[0]))


def _line(told: Mapping[str, Any]) -> str:
    tried = {name: bias for name, bias in told["tried"].items() if bias}
    if told["dice"] is None or not tried:
        return f"calibrate no class bias makes the {told['cases']} held-out cases better"
    dice, better, crossed = (100 * told[name] for name in ("dice", "dice_calibrated", "dice_crossed"))
    biases = ", ".join(f"{name} {bias:+.2f}" for name, bias in tried.items())
    line = f"calibrate Dice of held-out cases {dice:.1f}, with class biases {better:.1f}, {crossed:.1f} where others chose them: {biases}"
    return line if any(told["biases"].values()) else f"{line}; what does not help cases that did not choose it is not kept"


def _predicting(job: Job) -> tuple[str, Any]:
    """Name and settings of the method that predicts."""
    name = registry.method("predict", job.resolved.choice.predict).name
    return name, job.resolved.methods[name]


def beside(job: Job, run: Run, how: Mapping[str, Any]) -> Run:
    """The same run for stages that are no part of the report; networks that may have seen all labels are not started from.

    Args:
        job: What is done.
        run: The run.
        how: Settings of prediction that are others here.
    """
    name, settings = _predicting(job)
    found = copy.copy(run)
    update = {word: value for word, value in how.items() if word in type(settings).model_fields}
    found.settings = {**run.settings, name: settings.model_copy(update=update)}
    found.supplies = {need: value for need, value in run.supplies.items() if need != "warm_from"}
    found.finished, found.until = [], None
    return found
