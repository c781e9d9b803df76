"""What the channels of a dataset's training images are like, where they are no colors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from jaxtyping import Float32

from smidgen.core.errors import DataError
from smidgen.data.scaling import PHOTO_CHANNELS
from smidgen.data.splits import shuffled
from smidgen.parts.imaging.channels import ChannelStatistics, statistics_of
from smidgen.products.sample import Sample

SEEN = 32
"""So many images are decoded."""


def channel_statistics(train: Mapping[str, Sample], channels: int) -> ChannelStatistics | None:
    """Mean and deviation of each channel of some training images; None for gray and color images.

    Args:
        train: Images that are learned from.
        channels: What all images get.
    """
    if channels in PHOTO_CHANNELS:
        return None  # they are normalized as the pretrained network's photos were
    return statistics_of(_readable(train[id] for id in shuffled(train, "channels")[:SEEN]))


def _readable(samples: Iterable[Sample]) -> Iterator[Float32[np.ndarray, "c *space"]]:
    for sample in samples:
        try:
            yield sample.image()
        except DataError:
            continue  # verification names it
