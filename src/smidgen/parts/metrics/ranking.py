"""How well scores of image tags rank the images: average precision per class, and its mean.

Unknown tags are removed. A class that no image has cannot be ranked: it has no score (NaN), is left out of the mean, and is named.

Example:
    >>> import numpy as np
    >>> truth = tag_table([(1,), (1, 2), (), None], ids=(1, 2, 3))
    >>> ranked = rank(truth, np.array([[0.9, 0.1, 0.2], [0.6, 0.4, 0.1], [0.7, 0.5, 0.3], [0.0, 0.0, 0.0]]), ("cat", "dog", "cow"))
    >>> ranked.ap.round(3).tolist()
    [0.833, 0.5, nan]
    >>> str(ranked)
    '66.7 over 2 of 3 classes (no image has: cow)'
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int8, Int64

from smidgen.core.errors import ShapeError

UNKNOWN = -1
"""Entry of a tag table where nobody said whether the class is present."""


def tag_table(tags: Sequence[Collection[int] | None], ids: Sequence[int]) -> Int8[np.ndarray, "n k"]:
    """What is known about each image: 1 = present, 0 = not present, -1 = unknown.

    Args:
        tags: Label values of the classes that each image holds; None = unknown.
        ids: Label value of each column.
    """
    rows = [[UNKNOWN] * len(ids) if present is None else [int(id in present) for id in ids] for present in tags]
    return np.array(rows, np.int8).reshape(len(rows), len(ids))


def average_precision(present: Bool[np.ndarray, " n"], scores: Float[np.ndarray, " n"]) -> float:
    """Precision averaged over the recall steps of the ranking, without interpolation; equal scores are one step.

    Returns:
        In [0, 1]; NaN where no image has the class. Chance level is the share of images that have it.
    """
    if not present.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    steps = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(present[order])[steps]
    gained = np.diff(hits, prepend=0) / hits[-1]
    return float((gained * hits / (steps + 1)).sum())


@dataclass(frozen=True)
class TagRanking:
    """Average precision of image tags.

    Args:
        names: One per class.
        ap: Average precision in [0, 1]; NaN where no image has the class.
        positives: Images that have the class.
        known: Images of which it is known.
    """

    names: tuple[str, ...]
    ap: Float[np.ndarray, " k"]
    positives: Int64[np.ndarray, " k"]
    known: Int64[np.ndarray, " k"]

    @property
    def undefined(self) -> tuple[str, ...]:
        """Classes that no image has."""
        return tuple(name for name, value in zip(self.names, self.ap, strict=True) if np.isnan(value))

    @property
    def mean(self) -> float:
        """mAP: the mean over classes that some image has; NaN where there is none."""
        defined = self.ap[~np.isnan(self.ap)]
        return float(defined.mean()) if len(defined) else float("nan")

    @property
    def over(self) -> str:
        """What the mean is about: "12 of 13 classes"."""
        n = len(self.names)
        return (f"{n - len(self.undefined)} of {n}" if self.undefined else f"{n}") + f" class{'' if n == 1 else 'es'}"

    def __str__(self) -> str:
        value = "n/a" if np.isnan(self.mean) else f"{100 * self.mean:.1f}"
        missing = f" (no image has: {', '.join(self.undefined)})" if self.undefined else ""
        return f"{value} over {self.over}{missing}"


def rank(truth: Int8[np.ndarray, "n k"], scores: Float[np.ndarray, "n2 k2"], names: Sequence[str]) -> TagRanking:
    """Average precision of every class.

    Args:
        truth: 1 = present, 0 = not present, -1 = unknown.
        scores: Higher means rather present; logits and probabilities give the same result.
        names: One per class.

    Raises:
        ShapeError: Shapes differ, or a score is not a number.
    """
    if truth.shape != scores.shape or truth.shape[1] != len(names):
        raise ShapeError(
            f"expected scores of shape {truth.shape} for {len(names)} classes, found {scores.shape}; score every image for every class"
        )
    if np.isnan(scores).any():
        raise ShapeError("scores: expected numbers, found NaN; the classifier that gave them did not learn (lower its learning rate)")
    known = truth != UNKNOWN
    ap = [average_precision(truth[known[:, k], k] == 1, scores[known[:, k], k]) for k in range(len(names))]
    return TagRanking(tuple(names), np.array(ap, np.float64), (truth == 1).sum(axis=0, dtype=np.int64), known.sum(axis=0, dtype=np.int64))
