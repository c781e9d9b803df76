"""From factories to a network for these data, and from a trained network to a Segmenter."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np

from smidgen.data.dataset import Dataset
from smidgen.parts.networks.encoders import EncoderFactory
from smidgen.parts.networks.factories import HeadFactory
from smidgen.parts.networks.network import Network
from smidgen.products.sample import Sample
from smidgen.products.segmenter import Architecture, Segmenter
from smidgen.products.warm import WarmStart, start_from


@runtime_checkable
class Sized(Protocol):
    """Settings that say at what size images are seen."""

    size: int
    crop: int
    patch: tuple[int, ...]


def network_of(encoder: EncoderFactory, head: HeadFactory, data: Dataset, warm_from: WarmStart | None = None) -> Network:
    """A new network with its initial weights, or with those of an earlier one.

    Args:
        encoder: Makes the encoder.
        head: Makes the head.
        data: Its classes.
        warm_from: Networks to start from; where none of them learned masks, it changes nothing.

    Raises:
        WeightsError: The earlier network has another architecture.
    """
    body = encoder()
    network = Network(body, head(body.channels, body.strides, len(data.classes)))
    if warm_from is not None and warm_from.segmenter is not None:
        start_from(network, warm_from.segmenter, data.classes.names, partial(head, body.channels, body.strides))
    return network


def architecture_of(encoder: EncoderFactory, head: HeadFactory, data: Dataset, settings: Sized) -> Architecture:
    """What has to be known of such a network once it is trained."""
    return Architecture(
        encoder.settings,
        head.name,
        head.settings,
        data.classes,
        encoder.in_channels,
        0 if data.zscored else settings.size,
        settings.patch or settings.crop,
        data.value_range,
        ids=data.ids,
        mask_values=data.mask_values,
        dims=data.dims,
        zscored=data.zscored,
        spacing_mm=spacing_of(data.train.values()) if data.zscored else None,
    )


def spacing_of(samples: Iterable[Sample]) -> tuple[float, ...] | None:
    """The middle spacing along each axis; None where not all samples have one that can be trusted."""
    known = [sample.spacing_mm if sample.spacing_trusted else None for sample in samples]
    if not known or None in known:
        return None
    return tuple(round(float(middle), 6) for middle in np.median(np.array(known), axis=0))


def segmenter_of(network: Network, encoder: EncoderFactory, head: HeadFactory, data: Dataset, settings: Sized) -> Segmenter:
    """A trained network with what it needs to be used."""
    return Segmenter(network, architecture_of(encoder, head, data, settings))
