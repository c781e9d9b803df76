"""One confusion matrix over a whole dataset, and the scores that follow from it.

Pixels are counted as integers and the counts of all images are summed before anything is divided, so neither the order of the images
nor the batch size can change a score. Pixels whose label is 255 are removed. A pixel whose prediction is 255 (a pseudo-mask that
abstains) is a miss of whatever is there and a false alarm of nothing: it stands in a last column of its own.

A class that is in neither truth nor prediction has no score (NaN): it is left out of every mean, and named. A class that is predicted
without being there scores 0 and counts.

Example:
    >>> import numpy as np
    >>> confusion = Confusion(("background", "cat", "dog"))
    >>> confusion.add(np.array([[0, 0, 1, 255]]), np.array([[0, 1, 1, 1]]))
    >>> confusion.iou.tolist()
    [0.5, 0.5, nan]
    >>> str(confusion.mean())
    '50.0 over 2 of 3 classes with background (in neither truth nor prediction: dog)'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int64, Integer

from smidgen.core.conventions import IGNORED
from smidgen.core.errors import ShapeError


def count(label: Integer[np.ndarray, "..."], prediction: Integer[np.ndarray, "..."], classes: int) -> Int64[np.ndarray, "k k+1"]:
    """How many pixels of each class were predicted as which.

    Args:
        label: True class per pixel, 255 = removed.
        prediction: Predicted class per pixel, 255 = no answer; same shape.
        classes: Number of classes.

    Returns:
        Row = true class, column = predicted class; the last column counts pixels without an answer.

    Raises:
        ShapeError: Shapes differ, or a value is neither a class nor 255.
    """
    if label.shape != prediction.shape:
        raise ShapeError(
            f"expected a prediction of the mask's size {label.shape}, found {prediction.shape}; resize it (nearest) before scoring"
        )
    seen = label != IGNORED
    truth, answer = label[seen].astype(np.int64), prediction[seen].astype(np.int64)
    _check("mask", truth, classes)
    answer[answer == IGNORED] = classes
    _check("prediction", answer, classes + 1)
    return np.bincount(truth * (classes + 1) + answer, minlength=classes * (classes + 1)).reshape(classes, classes + 1).astype(np.int64)


def iou(counts: Int64[np.ndarray, "*n k k1"]) -> Float[np.ndarray, "*n k"]:
    """Intersection over union per class: TP / (TP + FP + FN); NaN where the class is in neither truth nor prediction."""
    hits, truth, predicted = marginals(counts)
    return ratio(hits, truth + predicted - hits)


def dice(counts: Int64[np.ndarray, "*n k k1"]) -> Float[np.ndarray, "*n k"]:
    """Dice per class: 2 TP / (2 TP + FP + FN); NaN where the class is in neither truth nor prediction."""
    hits, truth, predicted = marginals(counts)
    return ratio(2 * hits, truth + predicted)


def mean_over_present(scores: Float[np.ndarray, "*n k"]) -> Float[np.ndarray, "*n"]:
    """Mean over the classes that have a score; NaN where none has."""
    present = ~np.isnan(scores)
    return ratio(np.where(present, scores, 0.0).sum(axis=-1), present.sum(axis=-1))


@dataclass(frozen=True)
class Mean:
    """A mean over classes that says which classes it is about.

    Args:
        value: In [0, 1]; NaN where no class has a score.
        classes: How many classes it is the mean of.
        of: How many there could have been.
        background: Whether the background is one of them; None where the data know no background.
        excluded: Classes without a score, by name.
        why: Why they have none.
    """

    value: float
    classes: int
    of: int
    background: bool | None
    excluded: tuple[str, ...]
    why: str = "in neither truth nor prediction"

    @property
    def over(self) -> str:
        """What it is the mean of, for a sentence: "13 classes with background"."""
        counted = f"{self.classes} of {self.of}" if self.excluded else f"{self.classes}"
        about = {True: " with background", False: " without background", None: ""}[self.background]
        return f"{counted} class{'' if self.of == 1 else 'es'}{about}"

    def __str__(self) -> str:
        value = "n/a" if np.isnan(self.value) else f"{100 * self.value:.1f}"
        missing = f" ({self.why}: {', '.join(self.excluded)})" if self.excluded else ""
        return f"{value} over {self.over}{missing}"


class Confusion:
    """Counts of a whole dataset; grows by `add` and `merge`.

    Args:
        names: One per class; the position is the label value.
        background: Label value of the background, or None.
        counts: What to start from (as `count` gives it); None: nothing.
    """

    def __init__(self, names: Sequence[str], background: int | None = 0, counts: Int64[np.ndarray, "k k1"] | None = None):
        shape = (len(names), len(names) + 1)
        if counts is not None and counts.shape != shape:
            raise ShapeError(
                f"expected counts of shape {shape} for {len(names)} classes, found {counts.shape}; count with as many classes as names"
            )
        self.names, self.background = tuple(names), background
        self.counts: Int64[np.ndarray, "k k1"] = np.zeros(shape, np.int64) if counts is None else counts.astype(np.int64)

    def add(self, label: Integer[np.ndarray, "..."], prediction: Integer[np.ndarray, "..."]) -> None:
        """Count an image, a batch or a volume.

        Args:
            label: True class per pixel, 255 = removed.
            prediction: Predicted class per pixel, 255 = no answer; same shape.
        """
        self.counts = self.counts + count(label, prediction, len(self.names))

    def merge(self, other: Confusion) -> None:
        """Count what another one has counted, over the same classes."""
        if (other.names, other.background) != (self.names, self.background):
            raise ShapeError(
                f"expected a confusion matrix over {self.names}, found one over {other.names}; score both with one list of classes"
            )
        self.counts = self.counts + other.counts

    @property
    def matrix(self) -> Int64[np.ndarray, "k k"]:
        """Row = true class, column = predicted class, in pixels."""
        return self.counts[:, :-1]

    @property
    def unanswered(self) -> Int64[np.ndarray, " k"]:
        """Pixels of each class that got no answer (255)."""
        return self.counts[:, -1]

    @property
    def truth(self) -> Int64[np.ndarray, " k"]:
        """Pixels of each class in the truth."""
        return self.counts.sum(axis=1)

    @property
    def predicted(self) -> Int64[np.ndarray, " k"]:
        """Pixels predicted as each class."""
        return self.matrix.sum(axis=0)

    @property
    def pixels(self) -> int:
        """All pixels that were scored."""
        return int(self.counts.sum())

    @property
    def iou(self) -> Float[np.ndarray, " k"]:
        """Intersection over union per class; NaN: in neither truth nor prediction."""
        return iou(self.counts)

    @property
    def dice(self) -> Float[np.ndarray, " k"]:
        """Dice per class; NaN: in neither truth nor prediction."""
        return dice(self.counts)

    @property
    def recall(self) -> Float[np.ndarray, " k"]:
        """Share of each class's pixels that were found; NaN: not in the truth."""
        return ratio(np.diagonal(self.matrix), self.truth)

    @property
    def miou(self) -> float:
        """Mean IoU over the classes that are there or were predicted, background included."""
        return self.mean().value

    @property
    def miou_foreground(self) -> float:
        """Mean IoU without the background."""
        return self.mean(background=False).value

    def mean(self, background: bool = True, score: str = "iou") -> Mean:
        """The mean over classes that have a score, and what it is about.

        Args:
            background: Whether the background counts (where there is one).
            score: "iou" or "dice".
        """
        values = {"iou": self.iou, "dice": self.dice}[score]
        asked = [i for i in range(len(self.names)) if background or i != self.background]
        excluded = tuple(self.names[i] for i in asked if np.isnan(values[i]))
        value = float(mean_over_present(values[asked]))
        return Mean(value, len(asked) - len(excluded), len(asked), None if self.background is None else background, excluded)

    @property
    def pixel_accuracy(self) -> float:
        """Share of pixels that are right; NaN where none was scored."""
        return float(ratio(np.trace(self.matrix), self.counts.sum()))

    @property
    def frequency_weighted_iou(self) -> float:
        """IoU weighted by each class's share of the truth; NaN where no pixel was scored."""
        weighted = np.nan_to_num(self.iou) * self.truth
        return float(ratio(weighted.sum(), self.counts.sum()))

    @property
    def absent(self) -> tuple[str, ...]:
        """Classes in neither truth nor prediction: they have no score."""
        return tuple(name for name, value in zip(self.names, self.iou, strict=True) if np.isnan(value))

    @property
    def unseen(self) -> tuple[str, ...]:
        """Classes without a single true pixel: what is said about them rests on false alarms only."""
        return tuple(name for name, pixels in zip(self.names, self.truth, strict=True) if pixels == 0)

    @property
    def one_class(self) -> str | None:
        """The one class that is predicted everywhere although the truth has several; None where the prediction is not that poor."""
        predicted = np.flatnonzero(self.predicted)
        return self.names[predicted[0]] if len(predicted) == 1 and np.count_nonzero(self.truth) > 1 else None

    @property
    def commonest_class(self) -> str:
        """The class with most true pixels."""
        return self.names[int(self.truth.argmax())]

    def commonest_class_miou(self, background: bool = True) -> float:
        """What the answer "everything is the commonest class" scores: mIoU in [0, 1], the least that a model must beat."""
        guess = np.zeros_like(self.counts)
        guess[:, self.truth.argmax()] = self.truth
        return Confusion(self.names, self.background, guess).mean(background).value

    def confused(self, most: int = 5) -> tuple[tuple[str, str, float], ...]:
        """The pairs that are mistaken most: (true class, predicted class, share of the true class's pixels), largest share first."""
        shares = ratio(self.matrix, self.truth[:, None])
        np.fill_diagonal(shares, np.nan)
        pairs = [(float(shares[i, j]), i, j) for i, j in zip(*np.nonzero(np.nan_to_num(shares)), strict=True)]
        pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
        return tuple((self.names[i], self.names[j], share) for share, i, j in pairs[:most])

    def record(self) -> Mapping[str, Any]:
        """All scores as plain values for a JSON file, in [0, 1]; None where there is no score."""
        mean, foreground = self.mean(), self.mean(background=False)
        return {
            "miou": plain(mean.value),
            "miou_is_mean_of": mean.over,
            "miou_without_background": plain(foreground.value) if self.background is not None else None,
            "mean_dice": plain(self.mean(score="dice").value),
            "pixel_accuracy": plain(self.pixel_accuracy),
            "frequency_weighted_iou": plain(self.frequency_weighted_iou),
            "commonest_class": self.commonest_class if self.pixels else None,
            "commonest_class_miou": plain(self.commonest_class_miou()),
            "predicts_one_class_only": self.one_class,
            "absent": list(self.absent),
            "unseen": list(self.unseen),
            "pixels": self.pixels,
            "iou": {name: plain(value) for name, value in zip(self.names, self.iou, strict=True)},
            "dice": {name: plain(value) for name, value in zip(self.names, self.dice, strict=True)},
            "confusion": self.counts.tolist(),
        }


def _check(what: str, values: Int64[np.ndarray, " n"], classes: int) -> None:
    wrong = np.unique(values[(values < 0) | (values >= classes)])
    if len(wrong):
        shown = ", ".join(map(str, wrong[:5])) + (" …" if len(wrong) > 5 else "")
        raise ShapeError(f"{what}: expected class indices or 255 (ignored), found {shown}; list the missing classes or map the values")


def marginals(
    counts: Int64[np.ndarray, "*n k k1"],
) -> tuple[Int64[np.ndarray, "*n k"], Int64[np.ndarray, "*n k"], Int64[np.ndarray, "*n k"]]:
    """Of each class: pixels that are right, true pixels, predicted pixels."""
    matrix = counts[..., :-1]
    return np.diagonal(matrix, axis1=-2, axis2=-1), counts.sum(axis=-1), matrix.sum(axis=-2)


def ratio(part: Any, whole: Any) -> Any:
    """Part / whole in float64; NaN where the whole is 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole != 0)


def plain(value: float) -> float | None:
    """For a JSON file: None where there is no number."""
    return None if np.isnan(value) else float(value)
