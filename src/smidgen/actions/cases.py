"""Volumes as a report shows them: where to cut, which way up, and the slice of which a model is least sure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from smidgen.actions.scoring import Scored
from smidgen.data.dataset import Dataset
from smidgen.products.sample import Sample
from smidgen.report.content import BY_CONFIDENCE, BY_SCORE, arrange
from smidgen.report.volumes import VolumePicture, cuts, stretched

EACH = 2
"""Cases in each group: best, median, worst."""


def volume_pictures(
    data: Dataset, predictions: Mapping[str, Any], scored: Scored | None, confidence: Mapping[str, float], each: int = EACH
) -> Iterator[VolumePicture]:
    """The best, the median and the worst cases by mean Dice; where there are no masks, by the model's confidence.

    Args:
        data: Volumes.
        predictions: Id -> what was said, with a `label`.
        scored: How good it was, where it could be told.
        confidence: Mean probability of each volume, where it is known.
        each: Cases in each group.
    """
    by = scored.by_image if scored is not None else confidence
    for group, ids in arrange(by, each, BY_SCORE if scored is not None else BY_CONFIDENCE).items():
        for id in ids:
            yield _picture(data.samples[id], predictions[id].label, scored, confidence.get(id), group, data.classes.background)


def _picture(
    sample: Sample, prediction: np.ndarray, scored: Scored | None, confidence: float | None, group: str, background: int | None
) -> VolumePicture:
    shown = cuts(sample.image(), prediction, sample.label(), sample.spacing_mm, background, is_oriented(sample))
    cases = scored.cases if scored is not None else None
    dice = None
    if cases is not None and sample.id in cases.found:
        dice = {name: None if one is None else one.dice for name, one in zip(cases.names, cases.found[sample.id], strict=True)}
    score = cases.dice[sample.id] if cases is not None and sample.id in cases.dice else None
    return VolumePicture(sample.id, shown, score, dice, confidence, group)


def is_oriented(sample: Sample) -> bool:
    """Whether it is known where the axes of a volume point."""
    frame = getattr(sample.read_image, "frame", None)
    return frame is not None and frame.affine is not None


def least_sure_slice(
    image: Float[np.ndarray, "c d h w"], prediction: UInt8[np.ndarray, "d h w"], sure: Float[np.ndarray, "d h w"], turned: bool
) -> tuple[int, Float[np.ndarray, "c h w"], UInt8[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """Of a volume the slice of which the model is least sure: its number, and image in [0, 1], prediction and probability of it.

    Args:
        image: The volume.
        prediction: Class indices.
        sure: Probability of the predicted class.
        turned: Axes point to the head, to the front and to the right: the front is shown at the top and right at the left.
    """
    z = int(sure.mean(axis=(1, 2)).argmin())
    way = (slice(None, None, -1 if turned else 1),) * 2
    shown, said, known = (np.ascontiguousarray(one[(..., *way)]) for one in (stretched(image)[:, z], prediction[z], sure[z]))
    return z, shown, said, known


def known_cases(job_data: Dataset, full: Dataset) -> frozenset[str]:
    """Ids in the full data of all that is labeled in train: slices of one volume are one."""
    return frozenset(id if id in full.samples else id.rpartition("/z")[0] for id in job_data.labeled)
