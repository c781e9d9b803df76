"""A recipe in a time budget: which stage gets how short, from what its stages cost on this machine. Torch-free.

Nothing here knows a method: settings mark what says how long they work (`core.settings.Length`), and costs were measured
(`actions.rehearsing`). All lengths are cut by the same share, none below its least.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from smidgen.core.errors import SettingsError
from smidgen.core.settings import overlay, validated
from smidgen.recipes.choice import Resolved

SHARES = 400
"""So many shares between all and nothing are tried."""
FINE_BELOW = 4
"""Lengths under this that need not be whole are cut in quarters, others in ones."""
RESERVE, RESERVE_SECONDS = 0.05, 3.0
"""What is left free of the budget for scores and report: a share, and at least so many seconds."""


@dataclass(frozen=True)
class StageCost:
    """What a stage takes; between the two lengths it was measured for, its time is a straight line.

    Args:
        stage: Name of the stage.
        name: Name of its settings.
        setting: Which of them says how long it works; "" = none does, or a person said it.
        value: Its value.
        least: Its smallest useful value.
        seconds: At `value`.
        seconds_least: At `least`.
    """

    stage: str
    name: str
    setting: str
    value: float | int
    least: float | int
    seconds: float
    seconds_least: float

    def at(self, value: float | int) -> float:
        """Seconds at another length."""
        if self.value == self.least:
            return self.seconds
        slope = (self.seconds - self.seconds_least) / (self.value - self.least)
        return max(0.0, self.seconds_least + slope * (value - self.least))


@dataclass(frozen=True)
class Plan:
    """How a recipe fits into its time.

    Args:
        minutes: The budget.
        settings: Name of settings -> setting -> value, of all that were shortened.
        seconds: Stage and method -> seconds expected, of all such stages.
        said: What was shortened, for people.
    """

    minutes: float | int
    settings: Mapping[str, Mapping[str, float | int]]
    seconds: Mapping[str, float]
    said: str

    def value(self, cost: StageCost) -> float | int:
        """The length that a stage has."""
        return self.settings.get(cost.name, {}).get(cost.setting, cost.value)


def fit_into(minutes: float | int, costs: Sequence[StageCost], spent: float) -> Plan:
    """Cut all lengths by one share, as little as it takes.

    Args:
        minutes: The budget for everything.
        costs: Of the stages in order.
        spent: Seconds of the budget that are gone: looking at the data, measuring.

    Raises:
        SettingsError: Even at its least the recipe takes longer (naming the least budget).
    """
    values, seconds = _cut(costs, free(minutes) - spent)
    if sum(seconds) <= free(minutes) - spent:
        return _plan(minutes, costs, values, seconds)
    least = sum(seconds) + spent
    enough = math.ceil(max(least / (1 - RESERVE), least + RESERVE_SECONDS) / 60)
    parts = ", ".join(f"{one.stage} {_clock(one.seconds_least)}" for one in costs)
    raise SettingsError(
        f"--minutes {minutes:g}: too short for anything useful: shortened as far as it goes, these data take about {enough} min on this "
        f"machine ({_clock(spent)} to look and measure, {parts}): say --minutes {enough}, or take fewer images or another --preset"
    )


def free(minutes: float | int) -> float:
    """Seconds of a budget that may be planned with."""
    return min(60 * minutes * (1 - RESERVE), 60 * minutes - RESERVE_SECONDS)


Values = Mapping[tuple[str, str], float | int]
"""Name of settings and setting -> value."""


def _cut(costs: Sequence[StageCost], seconds: float) -> tuple[Values, list[float]]:
    """The longest lengths that fit, or the least ones, and what each stage then takes."""
    values: Values = {}
    each: list[float] = []
    for n in range(SHARES, -1, -1):
        values = {(one.name, one.setting): _shortened(one, n / SHARES) for one in costs if one.setting}
        each = [one.at(values.get((one.name, one.setting), one.value)) for one in costs]
        if sum(each) <= seconds:
            break
    return values, each


def replanned(plan: Plan, costs: Sequence[StageCost], done: int, slower: float, left: float) -> Plan:
    """The plan for what is left, when the machine turns out slower or faster than it was measured.

    Args:
        plan: What was planned.
        costs: Of all stages in order.
        done: How many of them are done; settings that they had do not change any more.
        slower: How many times as long they took as was planned.
        left: Seconds that there are for the others.

    Returns:
        A plan in which the lengths of the others are cut anew; they may be longer than before.
    """
    had = {one.name for one in costs[:done]}
    rest: list[StageCost] = []
    for one in costs[done:]:
        now = plan.value(one)
        fixed = one.name in had
        times = (one.at(now),) * 2 if fixed else (one.seconds, one.seconds_least)
        setting, value, least = ("", now, now) if fixed else (one.setting, one.value, one.least)
        rest.append(StageCost(one.stage, one.name, setting, value, least, slower * times[0], slower * times[1]))
    values, each = _cut(rest, left)
    kept = {(one.name, one.setting): plan.value(one) for one in costs if one.setting}
    spent = [slower * one.at(plan.value(one)) for one in costs[:done]]
    return _plan(plan.minutes, costs, kept | dict(values), [*spent, *each])


def _shortened(cost: StageCost, share: float) -> float | int:
    if share == 1:
        return cost.value
    whole = isinstance(cost.value, int)
    grain = 1 if whole or cost.value * share >= FINE_BELOW else 0.25
    value = max(cost.least, math.floor(cost.value * share / grain) * grain)
    return int(value) if whole else float(value)


def _plan(minutes: float | int, costs: Sequence[StageCost], values: Values, seconds: Sequence[float]) -> Plan:
    cut = {(one.name, one.setting): one for one in costs if one.setting and values[one.name, one.setting] < one.value}
    settings: dict[str, dict[str, float | int]] = {}
    for name, setting in cut:
        settings.setdefault(name, {})[setting] = values[name, setting]
    words = [f"{one.stage} {one.value:g} → {values[pair]:g} {one.setting}" for pair, one in cut.items()]
    expected: dict[str, float] = {}
    for one, each in zip(costs, seconds, strict=True):
        expected[f"{one.stage} {one.name}"] = round(expected.get(f"{one.stage} {one.name}", 0.0) + each, 1)
    return Plan(minutes, settings, expected, "; ".join(words) or "nothing had to be shortened")


def shortened(resolved: Resolved, plan: Plan) -> Resolved:
    """A recipe's settings as a plan says."""
    methods = {
        name: validated(type(one), overlay(one.model_dump(), plan.settings[name]), name) if name in plan.settings else one
        for name, one in resolved.methods.items()
    }
    return replace(resolved, methods=methods)


def _clock(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"
