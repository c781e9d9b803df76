"""A few masks and many images without: one method that learns from both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smidgen.recipes.choice import Choice

if TYPE_CHECKING:
    from smidgen.data.dataset import Dataset


def semi(run: Any, data: Dataset, choice: Choice) -> Any:
    """Train from labeled and unlabeled images.

    Args:
        run: A Run, or a Plan that only notes the stages.
        data: Samples of train, some with masks.
        choice: Which method in each place.

    Returns:
        The Segmenter.
    """
    return run.stage("semi", choice.semi, data)
