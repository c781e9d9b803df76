"""Masks in, a segmentation model out: full masks, scribbles and points are one thing, with 255 where nothing is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smidgen.recipes.choice import Choice

if TYPE_CHECKING:
    from smidgen.data.dataset import Dataset


def masks(run: Any, data: Dataset, choice: Choice) -> Any:
    """Train from the masks there are.

    Args:
        run: A Run, or a Plan that only notes the stages.
        data: Samples of train with masks, dense or sparse.
        choice: Which method in each place.

    Returns:
        The Segmenter.
    """
    return run.stage("segment", choice.segment, data)
