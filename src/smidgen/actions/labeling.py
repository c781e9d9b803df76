"""Which images to label next: those of which the model is least sure, spread over groups (docs/decisions/0018-label-next.md)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from smidgen.core.conventions import IGNORED
from smidgen.data.dataset import Dataset

ASKED = 10
"""Images that are named."""


@dataclass(frozen=True)
class ToLabel:
    """An image whose mask would teach much.

    Args:
        id: Id of the image.
        confidence: Mean probability of the predicted classes in [0, 1].
        agreement: Share of the pseudo-mask's pixels that the model predicts alike; None where there is no pseudo-mask.
    """

    id: str
    confidence: float
    agreement: float | None = None

    def record(self) -> Mapping[str, Any]:
        """For a JSON file."""
        return {"image": self.id, "confidence": self.confidence, "agreement_with_pseudo_mask": self.agreement}


def label_next(data: Dataset, predictions: Mapping[str, Any], labels: Mapping[str, Any] | None, asked: int = ASKED) -> tuple[ToLabel, ...]:
    """The images without a mask of which the model is least sure, least sure first.

    Args:
        data: Images that were looked at.
        predictions: Image id -> Scores.
        labels: Image id -> pseudo-mask, where there are any.
        asked: How many at most. No group (a patient, a video) gets more than its even share of them: its images teach much the same.
    """
    confidence = {
        id: float(np.mean(predictions[id].confidence))
        for id, sample in data.samples.items()
        if sample.read_label is None and id in predictions
    }
    group = {id: data.samples[id].group or f"alone {id}" for id in confidence}
    share, taken, chosen = -(-asked // max(1, len(set(group.values())))), Counter[str](), []
    for id in sorted(confidence, key=lambda id: (confidence[id], id)):
        if len(chosen) < asked and taken[group[id]] < share:
            taken[group[id]] += 1
            chosen.append(
                ToLabel(id, confidence[id], _agreement(predictions[id].label, labels[id].label if labels and id in labels else None))
            )
    return tuple(chosen)


def _agreement(said: np.ndarray, pseudo: np.ndarray | None) -> float | None:
    known = None if pseudo is None else pseudo != IGNORED
    return None if known is None or not known.any() else float((said == pseudo)[known].mean())


def score_next(val: Dataset, seed: int, asked: int = ASKED) -> tuple[str, ...]:
    """Val images whose masks would give a score: drawn at random, for a score of the hard ones only would be too low."""
    ids = sorted(id for id, sample in val.samples.items() if sample.read_label is None)
    return tuple(sorted(random.Random(seed).sample(ids, min(asked, len(ids)))))
