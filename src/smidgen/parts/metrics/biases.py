"""Class biases: what added to the log-probability of each foreground class gives the highest mean Dice of cases whose masks are known.

For two classes that is a threshold other than 0.5: a bias b lets a pixel be foreground where its probability exceeds 1 / (1 + exp(b)). Of
several classes one bias after the other is moved, each time over the whole grid, until none moves any more.

Example:
    >>> import numpy as np
    >>> organ = np.linspace(0.01, 0.99, 99)
    >>> case = lambda: (np.stack([1 - organ, organ]), (organ > 0.805).astype(np.uint8))
    >>> best_biases([case], background=0), case_dice(case, 0, (0.0, -1.4))
    ((0.0, -1.4), 1.0)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int64, UInt8

from smidgen.core.conventions import IGNORED
from smidgen.parts.metrics.confusion import mean_over_present, ratio

Case = Callable[[], tuple[Float[np.ndarray, "k *space"], UInt8[np.ndarray, "*space"]]]
"""Reads the probabilities of all classes and the true label of a case; 255 = unknown."""
GRID = np.round(np.arange(-100, 101) * 0.05, 2)
"""Biases that are tried. -5 and 5 are thresholds of 0.993 and 0.007."""
ROUNDS = 5
"""So often at most is every class's bias moved."""
LEAST = 1e-8
"""Of probabilities: in half precision the smallest ones are 0."""
GAIN = 1e-9
"""A higher Dice is higher by more than this: what rounding adds is no reason to move."""


def best_biases(cases: Sequence[Case], background: int | None) -> tuple[float, ...]:
    """The bias of each class; that of the background is 0. Of equally good ones those nearest to 0.

    Args:
        cases: Read again for each class and round, so that they need not fit in memory together.
        background: Class that has no bias and no Dice; None = there is none.
    """
    classes = len(cases[0]()[0])
    moved = [value for value in range(classes) if value != background]
    biases = np.zeros(classes)
    for _ in range(ROUNDS):
        before = biases.copy()
        for value in moved:
            each = np.array([swept(*case(), biases, value, background) for case in cases])
            biases[value] = _highest(mean_over_present(each.T))
        if len(moved) < 2 or (biases == before).all():
            break
    return tuple(float(bias) for bias in biases)


def case_dice(case: Case, background: int | None, biases: Sequence[float]) -> float:
    """Mean Dice over the classes that either side has, as `cases.Cases` tells it; NaN where there is none.

    Args:
        case: What is predicted, and what is true.
        background: Class that has no Dice.
        biases: Of each class, values of the grid.
    """
    moved = next(value for value in range(len(biases)) if value != background)
    at = int(np.abs(GRID - biases[moved]).argmin())
    return float(swept(*case(), np.asarray(biases, float), moved, background)[at])


def swept(
    probs: Float[np.ndarray, "k *space"],
    truth: UInt8[np.ndarray, "*space"],
    biases: Float[np.ndarray, " k"],
    value: int,
    background: int | None,
) -> Float[np.ndarray, " n"]:
    """Mean Dice of a case for every bias of the grid of one class, while the other classes keep theirs; NaN where nobody has any class.

    Args:
        probs: Of all classes.
        truth: Label, 255 = unknown.
        biases: Of all classes.
        value: The class whose bias moves.
        background: Class that has no Dice.
    """
    counts = _counts(probs, truth, biases, value)
    hits = np.diagonal(counts, axis1=1, axis2=2)
    sizes = counts.sum(axis=1) + counts.sum(axis=2)
    kept = [one for one in range(len(probs)) if one != background]
    return mean_over_present(ratio(2 * hits[:, kept], sizes[:, kept]))


def _counts(
    probs: Float[np.ndarray, "k *space"], truth: UInt8[np.ndarray, "*space"], biases: Float[np.ndarray, " k"], value: int
) -> Int64[np.ndarray, "n k k"]:
    """Pixels by true and predicted class, for every bias of the grid.

    A pixel becomes the class as soon as its bias exceeds the lead that the best other class has, so one pass over the pixels is enough.
    """
    classes, known = len(probs), truth != IGNORED
    logs = np.log(np.maximum(probs[:, known].astype(np.float32), LEAST)) + biases[:, None].astype(np.float32)
    own = logs[value] - np.float32(biases[value])
    logs[value] = -np.inf
    other = logs.argmax(axis=0)
    lead = logs.max(axis=0) - own
    first = np.searchsorted(GRID, lead, side="right")
    # [true class, best other class, first place of the grid that wins]
    found = np.bincount((truth[known].astype(np.int64) * classes + other) * (len(GRID) + 1) + first, minlength=classes**2 * (len(GRID) + 1))
    found = found.reshape(classes, classes, len(GRID) + 1)
    won = found.cumsum(axis=2)[:, :, :-1]
    counts = found.sum(axis=2)[:, :, None] - won
    counts[:, value] = won.sum(axis=1)
    return np.moveaxis(counts, 2, 0)


def _highest(dice: Float[np.ndarray, " n"]) -> float:
    """The bias with the highest Dice, of equal ones the one nearest to 0; 0 where there is none."""
    if np.isnan(dice).all():
        return 0.0
    equal = dice >= np.nanmax(dice) - GAIN
    return float(min(GRID[equal], key=lambda bias: (abs(bias), bias)))
