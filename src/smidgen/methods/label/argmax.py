"""Argmax (as in IRN, Ahn et al., CVPR 2019): each pixel gets the class whose evidence is strongest there, background being one of them.

Reading order: argmax, decided, confidence. Settings: settings.Argmax.
Differs: pixels near a tie can be ignored; every label says how sure it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from smidgen.core.run import Results, Run
from smidgen.data.dataset import Dataset
from smidgen.methods.label import settings
from smidgen.parts.imaging.evidence import confidence, enlarged, ranked
from smidgen.products.heatmaps import Heatmaps
from smidgen.products.labels import LabelMap
from smidgen.products.sample import IGNORED


def argmax(run: Run, settings: settings.Argmax, data: Dataset, heatmaps: Mapping[str, Heatmaps]) -> Results[LabelMap]:
    """A label per pixel of every image that has heatmaps."""
    return run.map("labels", partial(decided, settings=settings, background=data.classes.background), heatmaps)


def decided(heatmaps: Heatmaps, settings: settings.Argmax, background: int | None) -> LabelMap:
    """The label map of one image, at the image's size. An image without any class is background all over.

    Args:
        heatmaps: Evidence of the classes that may be present.
        settings: How.
        background: Label value of the background; None where there is none.
    """
    evidence, ids = heatmaps.candidates(background)
    if not ids:
        return LabelMap(np.full(heatmaps.size, IGNORED, np.uint8), np.zeros(heatmaps.size, np.float16))
    label, best, second = ranked(enlarged(evidence.astype(np.float32, copy=False), heatmaps.size), np.array(ids, np.uint8))
    unsure = best - second < settings.margin
    unsure |= best <= 0
    if heatmaps.ignore is not None:
        unsure |= enlarged(heatmaps.ignore[None].astype(np.float32), heatmaps.size)[0] > 0.5
    label[unsure] = IGNORED
    sure = confidence(best, second)
    sure[unsure] = 0
    return LabelMap(label, sure)
