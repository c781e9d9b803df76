"""What the claims on voc_animals share: the chain from tags to pseudo-masks, each of its stages made once, and scores with known tags."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import _images
import numpy as np
from _images import RUNS, compared, miou
from _records import ROOT

from smidgen.core.processes import join
from smidgen.core.run import Run
from smidgen.core.settings import Machine
from smidgen.data.dataset import Dataset
from smidgen.parts.imaging.evidence import enlarged, ranked
from smidgen.parts.metrics.confusion import count
from smidgen.products.heatmaps import Heatmaps
from smidgen.recipes.choice import resolve
from smidgen.recipes.supplies import supplies

NAME = "voc_animals"
SUBSET = ROOT / "benchmarks" / "subsets" / "voc_animals_200.txt"
THRESHOLDS = tuple(round(0.05 * n, 2) for n in range(1, 15))


def full() -> Dataset:
    """All of it."""
    return _images.full(NAME)


@cache
def tagged() -> Dataset:
    """With tags only: no stage can read a mask of train."""
    return full().using("tags")


@cache
def subset(count: int = 200) -> Dataset:
    """The first of the fixed list of training images, with tags only."""
    return tagged().only("train", SUBSET.read_text(encoding="utf-8").split()[:count])


def opened(seed: int, words: Mapping[str, Any], recipe: str = "tags") -> Run:
    """A run with the preset small and these words."""
    resolved = resolve(recipe, "small", {"seed": seed, **words})
    return Run(RUNS / NAME, fabric(), resolved.methods, supplies(resolved, full()), seed=seed)


@cache
def fabric() -> Any:
    """This process alone."""
    return join(Machine())


# ------------------------------------------------------------------ scores with known tags


def counted(maps: Mapping[str, Heatmaps], thresholds: Sequence[float]) -> np.ndarray:
    """Confusion counts over images for each background threshold: a class wins where its evidence is strongest and exceeds it."""
    names = full().classes.names
    total = np.zeros((len(thresholds), len(names), len(names) + 1), np.int64)
    for id, heat in maps.items():
        truth = full().samples[id].label()
        if truth is None:
            continue
        if heat.ids:
            label, best, _ = ranked(enlarged(heat.maps.astype(np.float32), truth.shape), np.array(heat.ids, np.uint8))
        else:
            label, best = np.zeros(truth.shape, np.uint8), np.zeros(truth.shape, np.float32)
        for i, threshold in enumerate(thresholds):
            total[i] += count(truth, np.where(best > threshold, label, 0).astype(np.uint8), len(names))
    return total


def seed_quality(maps: Mapping[str, Heatmaps], thresholds: Sequence[float] = THRESHOLDS) -> dict[str, Any]:
    """MIoU in percent with the best threshold (found by looking at masks: an oracle), and what lies around it."""
    counts = counted(maps, thresholds)
    curve = [miou(one) for one in counts]
    best = int(np.argmax(curve))
    return {
        "value": curve[best],
        "threshold": thresholds[best],
        "pooled": pooled(counts[best]),
        "curve": curve,
        "classes": by_class(counts[best]),
    }


def quality(labels: Mapping[str, Any]) -> dict[str, Any]:
    """How well labels, or predictions, fit the people's masks of their images."""
    counts = compared({id: full().samples[id] for id in labels}, lambda id: labels[id].label, len(full().classes))
    return {"value": miou(counts), "pooled": pooled(counts), "classes": by_class(counts)}


def pooled(counts: np.ndarray) -> float:
    """Tp / (tp + fp + fn) over all classes but background, in percent: less noisy than the mean over classes."""
    hits = np.diagonal(counts)[1:].sum()
    return round(100 * float(hits / (counts.sum() - counts[0, 0])), 3)


def by_class(counts: np.ndarray) -> dict[str, float]:
    """IoU of each class, in percent."""
    return _images.by_class(counts, full().classes.names)


def words(text: str) -> dict[str, Any]:
    """Settings from JSON on the command line."""
    return json.loads(text) if text else {}
