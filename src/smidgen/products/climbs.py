"""How climbs went: what a localizer that climbs notes of each, for reports; its maps are not read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from smidgen.core import codec

STEP = "climbs"
"""Name of the step in which a localizer keeps them: a file per image that has at least the fields of `Signals`."""


@dataclass(frozen=True)
class Signals:
    """What is known of the climbs of one image, an entry per class of its tags; averages over scales.

    Args:
        ids: Label value of each class.
        logit_first: Mean positive logit before climbing.
        logit_last: The same at the last step.
        on: Share of places in [0, 1] that are on at the last step.
        clipped: Share of values in [0, 1] that the last step wanted to move out of their range.
    """

    ids: tuple[int, ...]
    logit_first: Float[np.ndarray, " k"]
    logit_last: Float[np.ndarray, " k"]
    on: Float[np.ndarray, " k"]
    clipped: Float[np.ndarray, " k"]


def read(stage: Path, ids: tuple[str, ...]) -> Iterator[tuple[str, Signals]]:
    """The signals of each image that climbed.

    Args:
        stage: Folder of a localizer's stage; one that did not climb gives nothing.
        ids: Image ids.
    """
    for folder in stage.glob(f"*-{STEP}"):
        for id in ids:
            path = folder / f"{codec.portable(id)}{codec.SUFFIX}"
            if path.is_file():
                yield id, codec.load_part(path, Signals)
