"""Training a segmenter on labels that are still being made: what a recipe hands to methods that ask for `fit_segmenter`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smidgen.data.dataset import Dataset


class Fitter:
    """`fit_segmenter(labels)`: the recipe's own training of a segmentation network, as a stage within the stage that calls it.

    Args:
        run: A Run, or a Plan that only notes the stages.
        data: What is trained on.
        method: The method of the stage segment.
    """

    def __init__(self, run: Any, data: Dataset, method: str):
        self._later = run.later("segment", method, data)
        self.key: str = self._later.key

    def __call__(self, labels: Mapping[str, Any]) -> Any:
        """The segmenter that these labels teach."""
        return self._later(labels=labels)
