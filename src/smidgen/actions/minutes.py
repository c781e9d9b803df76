"""`--minutes`: a plan that fits a run into its time, kept in `run.yaml`, so that the same command has the same KEYs.

Reading order: within_budget (measures, plans), Budget (keeps to it). What is planned for a stage is written down before it starts.
"""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any

import yaml

from smidgen.actions import models
from smidgen.core import registry
from smidgen.core.keys import key
from smidgen.core.screen import Screen
from smidgen.recipes.budget import Plan, StageCost, fit_into, free, replanned, shortened
from smidgen.recipes.choice import Resolved

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from smidgen.actions.train import Job

ENOUGH = 0.05
"""Stages tell how fast the machine is when they were planned to take this share of the budget."""
STEADY = 1.1
"""Up to this factor, slower or faster, a plan stays."""
PLANS = "minutes"
"""Where plans stand in `run.yaml`: by a hash of what they are for, so that another command in the same folder does not lose them."""


@dataclasses.dataclass
class Budget:
    """A job in its time. It takes a Run's place in a recipe: before each stage, what is left is cut to the time that is left.

    Args:
        job: What is to be done; then, shortened.
        fabric: All its processes take part.
        screen: Hears what was shortened.
        started: When the command started, by `time.monotonic`.
        plan: What was planned; None: there is no limit.
        costs: What was measured; none: the plan is an earlier one, which stays as it is.
    """

    job: Job
    fabric: Any
    screen: Screen
    started: float
    plan: Plan | None = None
    costs: tuple[StageCost, ...] = ()
    done: int = 0
    """Costs that are spent."""
    took: float = 0.0
    """Seconds that they took."""
    slower: float = 1.0
    """How many times as long as measured, by which was planned last."""

    def __post_init__(self) -> None:
        self.base, self.job = self.job, self.job if self.plan is None else _shortened(self.job, self.plan)

    def of(self, run: Any, changed: Callable[[], None]) -> Any:
        """What the recipe is to work with.

        Args:
            run: Runs the stages.
            changed: Called when the job has become another.
        """
        self.run, self.changed = run, changed
        return self if self.plan is not None and self.costs else run

    def stage(self, stage: str, method: str, data: Any, /, **have: Any) -> Any:
        """Run a stage, as short as it has to be."""
        self._replan()
        begun = time.monotonic()
        product = self.run.stage(stage, method, data, **have)
        self.took += time.monotonic() - begun
        name = registry.method(stage, method).name
        left = [(one.stage, one.name) for one in self.costs[self.done :]]
        self.done += left.index((stage, name)) + 1  # with what ran within it
        return product

    def later(self, stage: str, method: str, data: Any, /) -> Any:
        """A stage that a method may run from within its own."""
        return self.run.later(stage, method, data)

    def _replan(self) -> None:
        assert self.plan is not None
        measured = sum(one.at(self.plan.value(one)) for one in self.costs[: self.done])
        if measured < ENOUGH * 60 * self.plan.minutes:
            return
        slower, spent = self.fabric.broadcast((self.took / measured, time.monotonic() - self.started))
        if 1 / STEADY < slower / self.slower < STEADY:
            return
        plan = replanned(self.plan, self.costs, self.done, slower, free(self.plan.minutes) - spent)
        self.slower = slower
        if plan.settings == self.plan.settings:
            return
        self.screen.say(f"minutes   so far it took {100 * slower:.0f} % of what was measured; now {plan.said}")
        self.plan = plan
        self.job = _shortened(self.base, plan)
        self.run.settings.update(self.job.resolved.methods)
        self.changed()


def within_budget(job: Job, fabric: Any, supplies: Mapping[str, Any], until: int | None, screen: Screen, started: float) -> Budget:
    """A job shortened so that it ends in time.

    Args:
        job: What is to be done; without `minutes` it stays as it is.
        fabric: All its processes take part.
        supplies: Needs that come from the settings.
        until: How many stages there are to be; None = all.
        screen: Hears what was shortened.
        started: When the command started, by `time.monotonic`.

    Raises:
        SettingsError: There is too little time for anything useful.
    """
    minutes = job.words.get("minutes")
    if minutes is None:
        return Budget(job, fabric, screen, started)
    plan, costs = fabric.broadcast(_kept(job)), ()
    if plan is None:
        from smidgen.actions.finishing import LOOKED_AT
        from smidgen.actions.rehearsing import rehearse

        screen.say("minutes   measuring the stages on a few images …")
        costs = rehearse(job, fabric, supplies, until, LOOKED_AT[job.full.dims])
        plan = fit_into(minutes, costs, fabric.broadcast(time.monotonic() - started))
        screen.say(f"minutes   {plan.said} (about {sum(plan.seconds.values()) / 60:.1f} of {minutes:g} min)")
    else:
        screen.say(f"minutes   {plan.said} (planned before; another folder or number of minutes measures anew)")
    return Budget(job, fabric, screen, started, plan, costs)


def _shortened(job: Job, plan: Plan) -> Job:
    """A job as planned, with the plan for `run.yaml`."""
    return dataclasses.replace(job, resolved=shortened(job.resolved, plan), plans={_ident(job): dataclasses.asdict(plan)})


def kept_plans(folder: Path) -> dict[str, Any]:
    """What `run.yaml` says of plans, by what they are for."""
    return dict(models.record(folder).get(PLANS) or {})


def _kept(job: Job) -> Plan | None:
    values = kept_plans(job.folder).get(_ident(job))
    return Plan(**values) if values else None


def _ident(job: Job) -> str:
    """What a plan is for; the machine's settings, which change no result, left out."""
    told = yaml.safe_load(job.resolved.to_yaml()) | {"machine": None}
    return key(job.words["minutes"], job.words["until"], job.data.key, told, job.words["settings"], job.warm.key if job.warm else "")


def to_yaml(resolved: Resolved, more: Mapping[str, Any]) -> str:
    """The text of `run.yaml`: the resolved settings, and what else is to be known."""
    return resolved.to_yaml() + yaml.safe_dump(dict(more), sort_keys=False, allow_unicode=True) if more else resolved.to_yaml()
