"""Boundary F-score (BF; Csurka, Larlus, Perronnin, BMVC 2013): whether borders are drawn where they are, up to a small distance.

A pixel is on a class's border when it has the class and one of its neighbors along an axis has not; the edge of the image is no border.
Precision is the share of predicted border pixels that have a true border pixel of their class within the tolerance, recall the share of
true ones that have a predicted one, F their harmonic mean. The tolerance is the paper's: 0.75 % of the image's diagonal (3.2 to 4.7 pixels
in VOC; DAVIS takes 0.8 %), and one pixel at least.

Differs: border pixels are counted over all images before anything is divided, as in `confusion`, so the order of images and the batch size
change nothing, and an image with a long border counts for more (the paper averages F over images).

Unlabeled pixels (255 in the truth): the narrow bands that annotators leave along outlines hide the very thing that is measured, so an
unlabeled pixel takes the class of the nearest labeled one where the band is narrow (all of it within the tolerance of labeled pixels):
the border runs through its middle. What lies in a wider unlabeled region is removed, on both sides. A prediction of 255 (no answer) is a
region that belongs to no class.

Example:
    >>> import numpy as np
    >>> truth, shifted = np.zeros((100, 100), np.uint8), np.zeros((100, 100), np.uint8)
    >>> truth[20:60, 20:60], shifted[20:60, 21:61] = 1, 1
    >>> boundary = Boundary(("background", "cat", "dog"))
    >>> boundary.add(truth, shifted)
    >>> str(boundary.mean())  # one pixel to the right is not seen
    '100.0 over 2 of 3 classes with background (no border in truth or prediction: dog)'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int64, Integer, UInt16
from scipy.spatial import KDTree

from smidgen.core.conventions import IGNORED
from smidgen.core.errors import ShapeError
from smidgen.parts.metrics.confusion import Mean, mean_over_present, plain, ratio

TOLERANCE = 0.0075
"""Distance up to which a border counts as found, as a share of the image's diagonal (Csurka 2013, section 4)."""
NO_BORDER = "no border in truth or prediction"
SILENT = 256
"""Stands for what is not known, and for what is outside of the image; no label value, for those end at 255."""
WALKED = 200
"""Steps that are tried one after the other. What is open after them (large images, far off borders) is looked up in a tree, whose cost
does not grow with the tolerance."""


def tolerance(size: Sequence[int], share: float = TOLERANCE) -> float:
    """The distance in pixels for an image of this size; one at least, for borders lie between pixels."""
    return max(1.0, share * float(np.linalg.norm(size)))


def count_borders(
    label: Integer[np.ndarray, "..."], prediction: Integer[np.ndarray, "..."], classes: int, share: float = TOLERANCE
) -> Int64[np.ndarray, "k 4"]:
    """Border pixels of each class: predicted, predicted and right, true, true and found.

    Args:
        label: True class per pixel, 255 = unlabeled.
        prediction: Predicted class per pixel, 255 = no answer; same shape.
        classes: Number of classes.
        share: Tolerance as a share of the diagonal.

    Raises:
        ShapeError: Shapes differ.
    """
    if label.shape != prediction.shape:
        raise ShapeError(
            f"expected a prediction of the mask's size {label.shape}, found {prediction.shape}; resize it (nearest) before scoring"
        )
    reach = tolerance(label.shape, share)
    truth, answer = _filled(_padded(label, reach), reach), _padded(prediction, reach)
    answer[truth == SILENT] = SILENT
    true_border, said_border = border(truth), border(answer) & (answer != IGNORED)
    right = _near(said_border, answer, true_border, truth, reach)
    found = _near(true_border, truth, said_border, answer, reach)
    sides = ((answer, said_border), (answer, right), (truth, true_border), (truth, found))
    return np.stack([np.bincount(values[where], minlength=classes)[:classes] for values, where in sides], axis=1).astype(np.int64)


def border(label: UInt16[np.ndarray, "*space"]) -> Bool[np.ndarray, "*space"]:
    """Pixels one of whose neighbors along an axis has another value; what is `SILENT` makes no border."""
    found = np.zeros(label.shape, bool)
    for axis in range(label.ndim):
        one, values = found.swapaxes(0, axis), label.swapaxes(0, axis)
        differs = (values[1:] != values[:-1]) & (values[1:] != SILENT) & (values[:-1] != SILENT)
        one[1:] |= differs
        one[:-1] |= differs
    return found


def _padded(label: Integer[np.ndarray, "*space"], reach: float) -> UInt16[np.ndarray, "*big"]:
    return np.pad(label.astype(np.uint16), int(reach), constant_values=SILENT)


@lru_cache
def _ball(dimensions: int, reach: float) -> Int64[np.ndarray, "n d"]:
    """Steps that are not longer than `reach`, the shortest first."""
    r = int(reach)
    steps = np.indices((2 * r + 1,) * dimensions).reshape(dimensions, -1).T - r
    far = np.square(steps).sum(axis=1)
    order = np.argsort(far, kind="stable")
    return steps[order][far[order] <= reach**2]


def _jumps(shape: tuple[int, ...], reach: float) -> list[int]:
    """The shortest steps within reach, at least `WALKED`, as jumps in a flattened array; its padding keeps them from leaving it."""
    strides = np.cumprod((1, *shape[:0:-1]))[::-1]
    return (_ball(len(shape), min(reach, _walked(len(shape)))) @ strides).tolist()


@lru_cache
def _walked(dimensions: int) -> float:
    """A length within which there are `WALKED` steps."""
    length = 1.0
    while len(_ball(dimensions, length)) < WALKED:
        length += 1
    return length


def _places(flat: Int64[np.ndarray, " n"], shape: tuple[int, ...]) -> Int64[np.ndarray, "n d"]:
    """Coordinates of places in a flattened array."""
    return np.stack(np.unravel_index(flat, shape), axis=1).astype(np.int64)


def _rim(mask: Bool[np.ndarray, "*space"]) -> Bool[np.ndarray, "*space"]:
    """Pixels of a mask that touch others along an axis: whatever lies outside of a mask, its nearest pixel of it is one of these."""
    return mask & border(mask.astype(np.uint16))


def _filled(label: UInt16[np.ndarray, "*space"], reach: float) -> UInt16[np.ndarray, "*space"]:
    """Unlabeled pixels take the class of the nearest labeled one where they belong to a narrow band, and are silent elsewhere.

    A band is narrow where all of it is within reach of labeled pixels (a closing of what is labeled).
    """
    filled, flat = label.copy(), label.ravel()
    open_ = np.flatnonzero(flat == IGNORED)
    for jump in _jumps(label.shape, reach):
        if not len(open_):
            return filled
        there = flat[open_ + jump]
        told = (there != IGNORED) & (there != SILENT)
        filled.ravel()[open_[told]] = there[told]
        open_ = open_[~told]
    if len(open_) and reach > _walked(label.ndim):
        sources = np.flatnonzero(_rim(label != IGNORED) & (label != SILENT))
        nearest = _nearest(_places(open_, label.shape), _places(sources, label.shape), reach)
        filled.ravel()[open_[nearest >= 0]] = flat[sources[nearest[nearest >= 0]]]
    deep, none = filled == IGNORED, np.zeros_like(label)
    rim = _near((label == IGNORED) & ~deep, none, _rim(deep), none, reach)
    filled[deep | rim] = SILENT
    return filled


def _near(
    these: Bool[np.ndarray, "*space"],
    values: UInt16[np.ndarray, "*space"],
    those: Bool[np.ndarray, "*space"],
    others: UInt16[np.ndarray, "*space"],
    reach: float,
) -> Bool[np.ndarray, "*space"]:
    """Which of `these` pixels have one of `those` with their own value within reach. Most are found after a few steps and asked no more."""
    found = np.zeros(these.shape, bool)
    targets = np.where(those, others, SILENT).ravel()
    open_ = np.flatnonzero(these)
    own = values.ravel()[open_]
    for jump in _jumps(these.shape, reach):
        hit = targets[open_ + jump] == own
        found.ravel()[open_[hit]] = True
        open_, own = open_[~hit], own[~hit]
        if not len(open_):
            return found
    for value in np.unique(own) if reach > _walked(these.ndim) else ():
        asked = open_[own == value]
        nearest = _nearest(_places(asked, these.shape), _places(np.flatnonzero(targets == value), these.shape), reach)
        found.ravel()[asked[nearest >= 0]] = True
    return found


def _nearest(asked: Int64[np.ndarray, "n d"], known: Int64[np.ndarray, "m d"], reach: float) -> Int64[np.ndarray, " n"]:
    """Position of the nearest known place of each asked one; -1 where none is within reach."""
    if not len(known):
        return np.full(len(asked), -1)
    farther = float(np.sqrt(np.floor(reach**2) + 0.5))  # squares of distances between pixels are whole numbers: no distance ties with this
    _, nearest = KDTree(known).query(asked, distance_upper_bound=farther)
    return np.where(nearest < len(known), nearest, -1)


def f_score(counts: Integer[np.ndarray, "*n k 4"] | Float[np.ndarray, "*n k 4"]) -> Float[np.ndarray, "*n k"]:
    """F per class; NaN where the class has no border in truth or prediction, 0 where it has one on one side only."""
    said, right, true, found = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    precision, recall = np.nan_to_num(ratio(right, said)), np.nan_to_num(ratio(found, true))
    f = np.nan_to_num(ratio(2 * precision * recall, precision + recall))
    return np.where(said + true > 0, f, np.nan)


class Boundary:
    """Border pixels of a whole dataset; grows by `add` and `merge`.

    Args:
        names: One per class; the position is the label value.
        background: Label value of the background, or None. Its border is where any object begins.
        counts: What to start from (as `count_borders` gives it); None: nothing.
    """

    reach: tuple[float, float] | None = None
    """Smallest and largest tolerance among the images, in pixels; None: no image was added."""

    def __init__(self, names: Sequence[str], background: int | None = 0, counts: Int64[np.ndarray, "k 4"] | None = None):
        self.names, self.background = tuple(names), background
        self.counts: Int64[np.ndarray, "k 4"] = np.zeros((len(names), 4), np.int64) if counts is None else counts.astype(np.int64)

    def add(self, label: Integer[np.ndarray, "..."], prediction: Integer[np.ndarray, "..."]) -> None:
        """Count one image; label 255 = unlabeled, prediction 255 = no answer."""
        self.counts = self.counts + count_borders(label, prediction, len(self.names))
        self._reached(tolerance(label.shape))

    def merge(self, other: Boundary) -> None:
        """Count what another one has counted, over the same classes."""
        if (other.names, other.background) != (self.names, self.background):
            raise ShapeError(f"expected borders of {self.names}, found those of {other.names}; score both with one list of classes")
        self.counts = self.counts + other.counts
        self._reached(*(other.reach or ()))

    def _reached(self, *pixels: float) -> None:
        known = (*(self.reach or ()), *pixels)
        self.reach = (min(known), max(known)) if known else None

    @property
    def tolerance(self) -> str:
        """The tolerance in words: "0.75 % of the diagonal, 3.2 to 4.7 pixels"."""
        share = f"{100 * TOLERANCE:g} % of the diagonal"
        return share if self.reach is None else f"{share}, {self.pixels}"

    @property
    def pixels(self) -> str:
        """The same in pixels alone: "3.2 to 4.7 pixels"; of no image 0."""
        least, most = (f"{pixels:.1f}" for pixels in self.reach or (0.0, 0.0))
        return f"{least if least == most else f'{least} to {most}'} pixels"

    @property
    def f(self) -> Float[np.ndarray, " k"]:
        """F per class; NaN: no border in truth or prediction."""
        return f_score(self.counts)

    @property
    def precision(self) -> Float[np.ndarray, " k"]:
        """Share of predicted border pixels that are right; NaN: none was predicted."""
        return ratio(self.counts[:, 1], self.counts[:, 0])

    @property
    def recall(self) -> Float[np.ndarray, " k"]:
        """Share of true border pixels that were found; NaN: there is none."""
        return ratio(self.counts[:, 3], self.counts[:, 2])

    def mean(self, background: bool = True) -> Mean:
        """Mean F over the classes that have a border, and what it is about."""
        asked = [i for i in range(len(self.names)) if background or i != self.background]
        values = self.f[asked]
        excluded = tuple(self.names[i] for i, value in zip(asked, values, strict=True) if np.isnan(value))
        about = None if self.background is None else background
        return Mean(float(mean_over_present(values)), len(asked) - len(excluded), len(asked), about, excluded, NO_BORDER)

    def record(self) -> Mapping[str, Any]:
        """All figures as plain values for a JSON file, in [0, 1]; None where there is no score."""
        mean, foreground = self.mean(), self.mean(background=False)
        sides = {"f": self.f, "precision": self.precision, "recall": self.recall}
        return {
            "tolerance": f"{100 * TOLERANCE:g} % of the image's diagonal, at least 1 pixel",
            "tolerance_share_of_diagonal": TOLERANCE,
            "tolerance_pixels": None if self.reach is None else {"least": self.reach[0], "most": self.reach[1]},
            "mean_f": plain(mean.value),
            "mean_f_is_mean_of": mean.over,
            "mean_f_without_background": plain(foreground.value) if self.background is not None else None,
            "without_border": list(mean.excluded),
            **{side: {name: plain(value) for name, value in zip(self.names, values, strict=True)} for side, values in sides.items()},
        }
