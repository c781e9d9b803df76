"""Scores of volumes, case by case: what is told of each structure over all cases, with the worst case by name and every miss listed.

A score is taken of each structure in each case and averaged afterwards: one patient counts as much as another, however large the organ.
A structure that only one side has stands in every mean as the worst case (`surface`), and in `Cases.missed`. One that neither side has in
a case has no score there: it is left out and counted.

Example:
    >>> import numpy as np
    >>> cases = Cases(("heart",), "voxels")
    >>> truth = np.zeros((4, 4, 4), np.uint8)
    >>> truth[1:3, 1:3, 1:3] = 1
    >>> cases = cases.adding("a", structures(truth, truth, [1])).adding("b", structures(truth, np.zeros_like(truth), [1]))
    >>> told = cases.of("heart")
    >>> told.dice.shares, told.worst, cases.missed
    ('50.0 ± 70.7', 'b', (Miss(case='b', name='heart', only='truth'),))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from smidgen.parts.metrics import bootstrap
from smidgen.parts.metrics.confusion import mean_over_present, plain
from smidgen.parts.metrics.surface import Structure, structures

__all__ = ["MEASURES", "Cases", "Miss", "Moments", "Told", "structures"]

Measure = Literal["dice", "jaccard", "hd95", "assd"]
MEASURES: tuple[Measure, ...] = ("dice", "jaccard", "hd95", "assd")
"""What is measured of each structure; the last two are distances."""


@dataclass(frozen=True)
class Moments:
    """Mean and spread over cases.

    Args:
        mean: NaN where no case has a score.
        sd: Standard deviation (n - 1); NaN for fewer than two cases.
        cases: Of how many.
    """

    mean: float
    sd: float
    cases: int

    @classmethod
    def of(cls, values: Float[np.ndarray, " n"]) -> Moments:
        """Those of the values that are no NaN."""
        known = values[~np.isnan(values)]
        n = len(known)
        return cls(float(known.mean()) if n else float("nan"), float(known.std(ddof=1)) if n > 1 else float("nan"), n)

    @property
    def shares(self) -> str:
        """In percent, for people: "85.3 ± 4.1"."""
        return self._told(100, 1)

    @property
    def distances(self) -> str:
        """For people: "4.21 ± 1.80"."""
        return self._told(1, 2)

    def _told(self, factor: int, digits: int) -> str:
        spread = "" if np.isnan(self.sd) else f" ± {factor * self.sd:.{digits}f}"
        return "n/a" if np.isnan(self.mean) else f"{factor * self.mean:.{digits}f}{spread}"

    def record(self) -> Mapping[str, Any]:
        """For a JSON file."""
        return {"mean": plain(self.mean), "sd": plain(self.sd)}


@dataclass(frozen=True)
class Miss:
    """A structure that only one side has.

    Args:
        case: Id of the case.
        name: Of the structure.
        only: The side that has it: "truth" = missed, "prediction" = invented.
    """

    case: str
    name: str
    only: Literal["truth", "prediction"]

    def __str__(self) -> str:
        return f"{self.case}: {self.name} {'was missed' if self.only == 'truth' else 'is in the prediction only'}"


@dataclass(frozen=True)
class Told:
    """What is told of one structure over all cases.

    Args:
        name: Of the structure.
        dice: In [0, 1].
        jaccard: In [0, 1].
        hd95: In the unit of the cases.
        assd: In the unit of the cases.
        worst: The case with the lowest Dice, of equal ones the one with the largest HD95; None where no case has the structure.
        absent: In how many cases neither side has it: they are in no mean.
        interval: 95 % bootstrap of the mean Dice; None where there are too few cases (or groups).
    """

    name: str
    dice: Moments
    jaccard: Moments
    hd95: Moments
    assd: Moments
    worst: str | None
    absent: int
    interval: bootstrap.Interval | None


@dataclass(frozen=True)
class Cases:
    """All cases that were scored. Nothing changes it: `adding` returns a larger one.

    Args:
        names: Of the structures (classes without the background).
        unit: Of the distances: "mm" where the spacing of every case can be trusted, else "voxels".
        found: Case -> its structures in order of `names`, None = neither side has it.
        groups: Group of each case; None = it stands for itself.
    """

    names: tuple[str, ...]
    unit: Literal["mm", "voxels"]
    found: Mapping[str, tuple[Structure | None, ...]] = field(default_factory=dict)
    groups: Mapping[str, str | None] = field(default_factory=dict)

    def adding(self, case: str, found: tuple[Structure | None, ...], group: str | None = None) -> Cases:
        """With one more case."""
        return replace(self, found={**self.found, case: found}, groups={**self.groups, case: group})

    def values(self, measure: Measure) -> Float[np.ndarray, "n k"]:
        """A row per case, a column per structure; NaN where neither side has it."""
        rows = [[np.nan if one is None else getattr(one, measure) for one in row] for row in self.found.values()]
        return np.array(rows, np.float64).reshape(len(self.found), len(self.names))

    @cached_property
    def dice(self) -> Mapping[str, float]:
        """Mean Dice over structures of each case; NaN where neither side has any."""
        return dict(zip(self.found, mean_over_present(self.values("dice")).tolist(), strict=True))

    @cached_property
    def mean_dice(self) -> Moments:
        """Over cases."""
        return Moments.of(np.array(list(self.dice.values()), np.float64))

    @cached_property
    def interval(self) -> bootstrap.Interval | None:
        """How far the mean Dice would move with other cases."""
        return self._interval(np.array(list(self.dice.values()), np.float64))

    @cached_property
    def missed(self) -> tuple[Miss, ...]:
        """Every structure of every case that only one side has."""
        return tuple(
            Miss(case, name, one.only)
            for case, row in self.found.items()
            for name, one in zip(self.names, row, strict=True)
            if one is not None and one.only is not None
        )

    @cached_property
    def told(self) -> tuple[Told, ...]:
        """Of each structure."""
        return tuple(self.of(name) for name in self.names)

    def of(self, name: str) -> Told:
        """What is told of one structure."""
        i = self.names.index(name)
        columns = {measure: self.values(measure)[:, i] for measure in MEASURES}
        moments = {measure: Moments.of(values) for measure, values in columns.items()}
        ranked = [(one.dice, -one.hd95, case) for case, row in self.found.items() if (one := row[i]) is not None]
        worst = min(ranked)[-1] if ranked else None
        absent = len(self.found) - moments["dice"].cases
        return Told(name, **moments, worst=worst, absent=absent, interval=self._interval(columns["dice"]))

    def _interval(self, values: Float[np.ndarray, " n"]) -> bootstrap.Interval | None:
        known = ~np.isnan(values)
        groups = [group for group, has in zip(self.groups.values(), known, strict=True) if has]
        found = bootstrap.of_means(values[known], groups)
        return found if found is not None and found.units >= bootstrap.FEW else None

    def record(self) -> Mapping[str, Any]:
        """All figures as plain values for a JSON file: shares of 1 and distances in `unit`; None where there is no score."""
        return {
            "unit": self.unit,
            "cases": len(self.found),
            "mean_dice": {**self.mean_dice.record(), "cases": self.mean_dice.cases, "interval": _recorded(self.interval)},
            "missed": [{"case": one.case, "class": one.name, "only_in": one.only} for one in self.missed],
            "classes": {one.name: self._recorded(one) for one in self.told},
            "per_case": {
                case: {name: None if one is None else _figures(one) for name, one in zip(self.names, row, strict=True)}
                for case, row in self.found.items()
            },
        }

    def _recorded(self, told: Told) -> Mapping[str, Any]:
        return {
            **{measure: getattr(told, measure).record() for measure in MEASURES},
            "cases": told.dice.cases,
            "in_neither": told.absent,
            "worst_case": told.worst,
            "interval": _recorded(told.interval),
        }


def unit_of(spacings: Sequence[tuple[float, ...] | None]) -> Literal["mm", "voxels"]:
    """The unit in which cases can be compared.

    Args:
        spacings: Of each case; None = unknown, or not to be trusted.
    """
    return "mm" if spacings and all(one is not None for one in spacings) else "voxels"


def _figures(one: Structure) -> dict[str, Any]:
    return {measure: float(getattr(one, measure)) for measure in MEASURES}


def _recorded(interval: bootstrap.Interval | None) -> Mapping[str, Any] | None:
    return None if interval is None else interval.record()
