"""What to distrust: sentences that follow from the numbers alone, worst news first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int64

from smidgen.parts.metrics.confusion import Confusion
from smidgen.parts.metrics.objects import LIMITS

SMALL = 0.02
"""A class that covers less than this share of an image's labeled pixels counts as small there."""
OFTEN = 0.05
"""Pairs are named when at least this share of the true class's pixels is taken for the other."""
PERCENT = "\N{NO-BREAK SPACE}%"


@dataclass(frozen=True)
class Note:
    """One thing to know.

    Args:
        kind: "warning" = the numbers or the model are not to be trusted there; "note" = where it is weak.
        text: A sentence or two, plain text.
    """

    kind: Literal["warning", "note"]
    text: str


def notes(
    confusion: Confusion,
    images: Mapping[str, Int64[np.ndarray, "k k1"]] | None = None,
    where: str = "val",
    sizes: Int64[np.ndarray, "3 4"] | None = None,
) -> tuple[Note, ...]:
    """All that can be told from one model's counts.

    Args:
        confusion: Counts over all images.
        images: Counts of each image; without them, and without `sizes`, nothing is said about small objects.
        where: Name of the split, for the sentences.
        sizes: Objects by size (`objects.found_by_size`), where they were counted.
    """
    found = [
        _one_class(confusion),
        _no_better_than_the_commonest(confusion),
        _unseen(confusion, where),
        _never_predicted(confusion),
        _worst(confusion),
        _confused(confusion),
        _small(confusion, list((images or {}).values())) if sizes is None else _small_objects(sizes),
    ]
    return tuple(note for note in found if note is not None)


def _one_class(confusion: Confusion) -> Note | None:
    if confusion.one_class is None:
        return None
    text = f"The model predicts one class only, {confusion.one_class}."
    return Note("warning", f"{text} Its pixel accuracy of {percent(confusion.pixel_accuracy)} is the share of that class.")


def _no_better_than_the_commonest(confusion: Confusion) -> Note | None:
    least = confusion.commonest_class_miou()
    if confusion.one_class is not None or not confusion.miou <= least:
        return None
    return Note("warning", f"The model is no better than answering “{confusion.commonest_class}” everywhere ({percent(least)} mIoU).")


def _unseen(confusion: Confusion, where: str) -> Note | None:
    if not confusion.unseen or not confusion.pixels:
        return None
    alarms = [name for name in confusion.unseen if name not in confusion.absent]
    text = f"{listed(confusion.unseen)}: not a single true pixel in {where}, so nothing is known about finding {them(confusion.unseen)}."
    if alarms:
        text += (
            f" {listed(alarms)} {'was' if len(alarms) == 1 else 'were'} predicted all the same and {_counts(alarms)} as IoU 0 in the mean."
        )
    if confusion.absent:
        text += f" {listed(confusion.absent)} {'is' if len(confusion.absent) == 1 else 'are'} not part of the mean."
    return Note("warning", text)


def _never_predicted(confusion: Confusion) -> Note | None:
    never = [confusion.names[i] for i in np.flatnonzero((confusion.truth > 0) & (confusion.predicted == 0))]
    return Note("warning", f"Never predicted although there: {listed(never)}.") if never and confusion.one_class is None else None


def _worst(confusion: Confusion) -> Note | None:
    real = [i for i in np.flatnonzero(confusion.truth) if i != confusion.background]
    if len(real) < 4:
        return None
    worst = sorted(real, key=lambda i: (confusion.iou[i], i))[:3]
    return Note("note", "Weakest classes: " + listed([f"{confusion.names[i]} (IoU {percent(confusion.iou[i])})" for i in worst]) + ".")


def _confused(confusion: Confusion) -> Note | None:
    pairs = [pair for pair in confusion.confused(5) if pair[2] >= OFTEN]
    if not pairs:
        return None
    return Note(
        "note",
        "Most confused: " + "; ".join(f"{percent(share)}{PERCENT} of {true} taken for {other}" for true, other, share in pairs) + ".",
    )


def _small(confusion: Confusion, images: Sequence[Int64[np.ndarray, "k k1"]]) -> Note | None:
    if not images:
        return None
    counts = np.stack(images)
    truth, hits = counts.sum(axis=-1), np.diagonal(counts[..., :-1], axis1=-2, axis2=-1)
    share = truth / np.maximum(truth.sum(axis=-1, keepdims=True), 1)
    real = truth > 0
    if confusion.background is not None:
        real[:, confusion.background] = False
    small, large = real & (share < SMALL), real & (share >= SMALL)
    if small.sum() < 5 or not large.any():
        return None
    found_small, found_large = hits[small].sum() / truth[small].sum(), hits[large].sum() / truth[large].sum()
    if found_small > 0.8 * found_large:
        return None
    text = (
        f"Small things are missed more often: where a class covers less than {100 * SMALL:.0f}{PERCENT} of an image ({small.sum()} cases), "
        f"{percent(found_small)}{PERCENT} of its pixels are found; elsewhere {percent(found_large)}{PERCENT}."
    )
    return Note("note", text)


def _small_objects(sizes: Int64[np.ndarray, "3 4"]) -> Note | None:
    """By objects; the same limits of what is worth a note as by pixels."""
    (small, found_small), (large, found_large) = sizes[0, :2], sizes[-1, :2]
    if small < 5 or not large or found_small / small > 0.8 * found_large / large:
        return None
    text = (
        f"Small objects are missed more often: of {small} that cover less than {100 * LIMITS[0]:.2f}{PERCENT} of their image "
        f"{percent(found_small / small)}{PERCENT} are found, of {large} large ones {percent(found_large / large)}{PERCENT}."
    )
    return Note("note", text)


def percent(value: float) -> str:
    """A share as percent with one decimal, "n/a" where there is none."""
    return "n/a" if np.isnan(value) else f"{100 * value:.1f}"


def listed(names: Sequence[str]) -> str:
    """Names as an English list."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def them(names: Sequence[str]) -> str:
    """The pronoun for them."""
    return "it" if len(names) == 1 else "them"


def _counts(names: Sequence[str]) -> str:
    return "counts" if len(names) == 1 else "count"
