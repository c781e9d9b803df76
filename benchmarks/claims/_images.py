"""What claims on real images share: a data set whose files are checked once, and how well label maps fit its masks."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from _records import ROOT

from smidgen.data.checks import verify
from smidgen.data.dataset import Dataset
from smidgen.parts.metrics.confusion import count, iou
from smidgen.products.sample import Sample

RUNS = ROOT / "runs" / "claims"
"""Stages of the claims, which several may share; may be deleted at any time."""


@cache
def full(name: str, label_folder: str | None = None) -> Dataset:
    """All of a data set, every file checked once; leaves with a sentence where it is not there."""
    place = os.environ.get("SMIDGEN_DATA", "")
    if not place or not (Path(place) / name).is_dir():
        print(f"skipped: {name} is not there; set SMIDGEN_DATA to the folder that holds it")
        sys.exit(0)
    data = Dataset.open(Path(place) / name, label_folder=label_folder)
    folder = RUNS / name
    folder.mkdir(parents=True, exist_ok=True)
    problems = verify(data, folder / f"checked{label_folder or ''}.json")
    if problems:
        raise SystemExit(f"{name}: {problems[0]}")
    return data


def compared(samples: Mapping[str, Sample], label: Callable[[str], np.ndarray], classes: int) -> np.ndarray:
    """Confusion counts over the images that have masks.

    Args:
        samples: Whose masks are the truth.
        label: The label of the image with this id.
        classes: How many there are.
    """
    total = np.zeros((classes, classes + 1), np.int64)
    for id, sample in samples.items():
        truth = sample.label()
        if truth is not None:
            total += count(truth, label(id), classes)
    return total


def miou(counts: np.ndarray) -> float:
    """Mean IoU over the classes that are there, in percent."""
    return round(100 * float(np.nanmean(iou(counts))), 3)


def by_class(counts: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """IoU of each class that is there, in percent."""
    return {name: round(100 * float(value), 1) for name, value in zip(names, iou(counts), strict=True) if np.isfinite(value)}
