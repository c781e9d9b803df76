"""How far a score would move with other images of the same kind: percentile bootstrap over images (Efron and Tibshirani 1993, ch. 13).

Images are drawn again with replacement, as many as there are; where images belong together (slices of a patient, frames of a video), whole
groups are drawn, for images of a group are no independent evidence. Each draw is a row of weights, and a dataset-level score of weighted
counts is a product of matrices: a thousand draws take a second, whatever the size of the images.

The interval covers what comes of scoring on few images. It says nothing about another training seed, or about images of another kind.

Example:
    >>> import numpy as np
    >>> counts = np.array([[[9, 1]], [[5, 5]], [[7, 3]], [[8, 2]]])  # one class, found or not
    >>> drawn = draws(4)
    >>> str(interval(pixel_accuracies(drawn, counts), 4))
    '55.0 to 85.0'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from smidgen.parts.metrics.boundary import f_score
from smidgen.parts.metrics.confusion import marginals, mean_over_present, plain, ratio

RESAMPLES = 1000
"""Draws. The ends of a 95 % interval then move by about a twentieth of its width from seed to seed."""
LEVEL = 0.95
SEED = 20130911
"""Of the draws: a number of the metric, not of the run, so the same counts have the same interval everywhere."""
FEW = 5
"""A class that fewer images (or groups) hold than this is in some draws and not in others: neither its score nor a mean over classes has
an interval that could be trusted."""


@dataclass(frozen=True)
class Interval:
    """A percentile interval.

    Args:
        low: Lower end, in the unit of the score.
        high: Upper end.
        units: How many images, or groups of them, were drawn from.
        of: "images" or "groups".
    """

    low: float
    high: float
    units: int
    of: str = "images"

    def __str__(self) -> str:
        return f"{100 * self.low:.1f} to {100 * self.high:.1f}"

    def record(self) -> Mapping[str, Any]:
        """For a JSON file."""
        return {"low": plain(self.low), "high": plain(self.high), "units": self.units, "of": self.of}


@dataclass(frozen=True)
class Spread:
    """How far a dataset's scores would move with other images.

    Args:
        scores: Interval of each mean, by the name that the score has in `scores.json`; those without one are missing.
        iou: Of each class, by name; None where it is in too few images.
        f: Boundary F of each class.
        few: Classes that fewer than `FEW` images (or groups) hold: because of them there is no interval of a mean over classes.
        units: How many images, or groups of them, were drawn from.
        of: "images" or "groups".
    """

    scores: Mapping[str, Interval]
    iou: Mapping[str, Interval | None]
    f: Mapping[str, Interval | None]
    few: tuple[str, ...]
    units: int
    of: str

    @property
    def about(self) -> str:
        """What the intervals are: "95 % bootstrap over 195 images"."""
        return f"{100 * LEVEL:.0f} % bootstrap over {self.units} {self.of}"

    def record(self) -> Mapping[str, Any]:
        """For a JSON file: ends as shares of 1, None where there is no interval."""
        ends = {"iou": self.iou, "f": self.f}
        return {
            "level": LEVEL,
            "resamples": RESAMPLES,
            "units": self.units,
            "of": self.of,
            "held_by_too_few": list(self.few),
            **{name: one.record() for name, one in self.scores.items()},
            **{side: {name: None if one is None else one.record() for name, one in of.items()} for side, of in ends.items()},
        }


def draws(images: int, groups: Sequence[str | None] | None = None, resamples: int = RESAMPLES) -> Float[np.ndarray, "r n"]:
    """How often each image is drawn.

    Args:
        images: How many there are.
        groups: Group of each image; None among them = a group of its own.
        resamples: Rows.
    """
    group = group_of(images, groups)
    n = int(group.max(initial=-1)) + 1
    generator = np.random.default_rng(SEED)
    weights = generator.multinomial(n, np.full(n, 1 / max(n, 1)), resamples) if n else np.zeros((resamples, 0))
    return weights.astype(np.float64)[:, group]


def group_of(images: int, groups: Sequence[str | None] | None) -> Int64[np.ndarray, " n"]:
    """Number of the group of each image."""
    if groups is None:
        return np.arange(images)
    names = [("alone", i) if group is None else ("group", group) for i, group in enumerate(groups)]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], np.int64)


def interval(scores: Float[np.ndarray, " r"], units: int, of: str = "images") -> Interval | None:
    """The middle 95 % of a score's values; None for fewer than two images, and where most draws have no score."""
    known = scores[~np.isnan(scores)]
    if units < 2 or len(known) <= len(scores) / 2:
        return None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high), units, of)


def _sums(weights: Float[np.ndarray, "r n"], counts: Any) -> Float[np.ndarray, "r *c"]:
    flat = np.asarray(counts, np.float64).reshape(len(counts), -1)
    return (weights @ flat).reshape(len(weights), *np.shape(counts)[1:])


def ious(weights: Float[np.ndarray, "r n"], counts: Int64[np.ndarray, "n k k1"]) -> Float[np.ndarray, "r k"]:
    """IoU of every class in every draw; NaN where a draw holds the class in neither truth nor prediction."""
    hits, truth, predicted = (_sums(weights, part) for part in marginals(counts))
    return ratio(hits, truth + predicted - hits)


def pixel_accuracies(weights: Float[np.ndarray, "r n"], counts: Int64[np.ndarray, "n k k1"]) -> Float[np.ndarray, " r"]:
    """Share of pixels that are right, in every draw."""
    hits, truth, _ = (_sums(weights, part.sum(axis=-1)) for part in marginals(counts))
    return ratio(hits, truth)


def without(scores: Float[np.ndarray, "r k"], background: int | None) -> Float[np.ndarray, "r k2"]:
    """The same without the background's column."""
    return scores if background is None else np.delete(scores, background, axis=1)


def of_counts(
    counts: Int64[np.ndarray, "n k k1"],
    borders: Int64[np.ndarray, "m k 4"],
    background: int | None,
    groups: Sequence[str | None] | None = None,
) -> dict[str, Interval]:
    """Intervals of a dataset's scores.

    Args:
        counts: Confusion counts of each image.
        borders: Border pixels of each image (`boundary.count_borders`); none: they were not counted.
        background: Label value of the background.
        groups: Group of each image.

    Returns:
        By name of the score; scores for which there is none are missing.
    """
    weights = draws(len(counts), groups)
    each = ious(weights, counts)
    scores: dict[str, Float[np.ndarray, " r"]] = {"miou": mean_over_present(each), "pixel_accuracy": pixel_accuracies(weights, counts)}
    if background is not None:
        scores["miou_without_background"] = mean_over_present(without(each, background))
    if len(borders):
        f = f_score(_sums(weights, borders))
        scores["mean_f"] = mean_over_present(f)
        if background is not None:
            scores["mean_f_without_background"] = mean_over_present(without(f, background))
    return _intervals(scores, len(counts), groups)


def spread(
    names: Sequence[str],
    counts: Int64[np.ndarray, "n k k1"],
    borders: Int64[np.ndarray, "n k 4"],
    background: int | None,
    groups: Sequence[str | None] | None = None,
) -> Spread | None:
    """Intervals of all that is told of a dataset, classes apart and together; None for fewer than two images or groups.

    Args:
        names: Of the classes.
        counts: Confusion counts of each image.
        borders: Border pixels of each image (`boundary.count_borders`).
        background: Label value of the background.
        groups: Group of each image.
    """
    units, of = _units(len(counts), groups)
    if units < 2:
        return None
    weights, holders = draws(len(counts), groups), _holders(counts, groups)
    rare = (holders < FEW) & ((counts.sum(axis=0).sum(axis=1) > 0) | (counts.sum(axis=0)[:, :-1].sum(axis=0) > 0))
    scores = of_counts(counts, borders, background, groups)
    if rare.any():
        scores = {name: one for name, one in scores.items() if name == "pixel_accuracy"}
    sides = [
        [None if few else interval(column, units, of) for few, column in zip(holders < FEW, each.T, strict=True)]
        for each in (ious(weights, counts), f_score(_sums(weights, borders)))
    ]
    iou, f = (dict(zip(names, side, strict=True)) for side in sides)
    return Spread(scores, iou, f, tuple(name for name, few in zip(names, rare, strict=True) if few), units, of)


def _holders(counts: Int64[np.ndarray, "n k k1"], groups: Sequence[str | None] | None) -> Int64[np.ndarray, " k"]:
    """How many images, or groups, hold each class."""
    group, holds = group_of(len(counts), groups), counts.sum(axis=2) > 0
    return np.array([len(np.unique(group[column])) for column in holds.T], np.int64)


def of_differences(
    pairs: Sequence[tuple[Int64[np.ndarray, "n k k1"], Int64[np.ndarray, "n k k1"]]], groups: Sequence[str | None] | None = None
) -> Interval | None:
    """Interval of the difference of two mIoUs over the same images, averaged over pairs: in each draw both sides have the same images.

    Args:
        pairs: Confusion counts of each image by one side and by the other; a pair for each training seed.
        groups: Group of each image.
    """
    if not pairs:
        return None
    images = len(pairs[0][0])
    weights = draws(images, groups)
    gained = [mean_over_present(ious(weights, other)) - mean_over_present(ious(weights, base)) for base, other in pairs]
    return interval(np.mean(gained, axis=0), *_units(images, groups))


def of_means(values: Float[np.ndarray, " n"], groups: Sequence[str | None] | None = None) -> Interval | None:
    """Interval of the mean of one value per image."""
    weights = draws(len(values), groups)
    return interval(ratio(weights @ values, weights.sum(axis=1)), *_units(len(values), groups)) if len(values) else None


def _units(images: int, groups: Sequence[str | None] | None) -> tuple[int, str]:
    n = int(group_of(images, groups).max(initial=-1)) + 1
    return n, "images" if n == images else "groups"


def _intervals(scores: Mapping[str, Any], images: int, groups: Sequence[str | None] | None) -> dict[str, Interval]:
    units, of = _units(images, groups)
    found = {name: interval(values, units, of) for name, values in scores.items()}
    return {name: one for name, one in found.items() if one is not None}
