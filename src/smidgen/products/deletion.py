"""Deletion: what hiding places of one image does to the probabilities of its tags."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float


@dataclass(frozen=True)
class Deletion:
    """One image, an entry per class whose place was found; the first axis is empty where none was.

    Args:
        ids: Label value of each class.
        before: Probability of its tag, nothing hidden.
        without_found: The same with the found region hidden.
        without_random: The same with the region hidden elsewhere, once per draw.
        found: The found regions, at the size at which the classifier looked.
        elsewhere: The first draw of each.
        left_out: Label values of tags that could not be tried: nothing was found, or all of the image.
    """

    ids: tuple[int, ...]
    before: Float[np.ndarray, " k"]
    without_found: Float[np.ndarray, " k"]
    without_random: Float[np.ndarray, "k r"]
    found: Bool[np.ndarray, "k h w"]
    elsewhere: Bool[np.ndarray, "k h w"]
    left_out: tuple[int, ...]

    @property
    def drop_found(self) -> Float[np.ndarray, " k"]:
        """By how much each tag's probability falls when the found region is hidden."""
        return self.before - self.without_found

    @property
    def drop_random(self) -> Float[np.ndarray, " k"]:
        """The same for the region elsewhere, mean over the draws."""
        return self.before - self.without_random.mean(axis=1)
