"""Image tags and some masks in, a segmentation model out: labels are made from tags as by `tags`, and learned beside the masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smidgen.recipes.choice import Choice
from smidgen.recipes.fitting import Fitter

if TYPE_CHECKING:
    from smidgen.data.dataset import Dataset


def mixed(run: Any, data: Dataset, choice: Choice) -> Any:
    """Train from masks where there are some, and from tags elsewhere.

    Args:
        run: A Run, or a Plan that only notes the stages.
        data: Samples of train with known tags, some with masks.
        choice: Which method in each place.

    Returns:
        The Segmenter.
    """
    classifier = run.stage("classify", choice.classify, data)
    heatmaps = run.stage("localize", choice.localize, data, classifier=classifier)
    fit_segmenter = Fitter(run, data, choice.segment)
    for refiner in choice.refine:
        heatmaps = run.stage("refine", refiner, data, heatmaps=heatmaps, classifier=classifier, fit_segmenter=fit_segmenter)
    labels = run.stage("label", choice.label, data, heatmaps=heatmaps)
    return run.stage("semi", choice.semi, data, labels=labels)
