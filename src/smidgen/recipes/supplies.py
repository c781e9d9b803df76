"""Needs that come from the settings, not from a stage: factories of encoder and head, and the loss."""

from __future__ import annotations

from typing import Any

from smidgen.data.dataset import Dataset
from smidgen.data.statistics import channel_statistics
from smidgen.parts.imaging.channels import ChannelStatistics
from smidgen.parts.losses.sums import LossFactory
from smidgen.parts.networks.encoders import EncoderFactory
from smidgen.parts.networks.factories import HeadFactory
from smidgen.recipes.choice import Resolved


def supplies(resolved: Resolved, data: Dataset) -> dict[str, Any]:
    """What `run.stage` hands to methods that ask for `encoder`, `head` or `loss`; each has a `key`.

    Args:
        resolved: The settings.
        data: Its images say how many channels the encoder gets: 1 where all are gray; a gray one among color ones is repeated. What
            other numbers of channels are like is measured on training images; volumes come z-scored and stay as they are.
    """
    choice, count = resolved.choice, channels(data)
    pixels = ChannelStatistics((0.0,) * count, (1.0,) * count) if data.zscored else channel_statistics(data.train, count)
    return {
        "encoder": EncoderFactory(resolved.encoder, count, pixels=pixels, dims=data.dims),
        "head": HeadFactory(choice.head, resolved.methods[choice.head], data.dims),
        "loss": LossFactory(choice.loss, resolved.methods),
    }


def channels(data: Dataset) -> int:
    """Channels of the images: the most that any has."""
    return max((sample.channels for sample in data.samples.values()), default=3)
