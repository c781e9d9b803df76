"""`supervised`, with the network scored on a few further images while it learns: how many steps a loss needs.

A method of our own, named `_watched:watched` on the command line. The curve lies in a buffer beside the network, so it survives a kill.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from _images import compared
from torch import nn

from smidgen.core.fit import Step
from smidgen.core.run import Run
from smidgen.data.dataset import Dataset
from smidgen.data.pairs import labeled
from smidgen.methods.segment import settings as segment
from smidgen.methods.segment.supervised import Training
from smidgen.parts.losses.sums import LossFactory
from smidgen.parts.metrics.confusion import iou
from smidgen.parts.networks.encoders import EncoderFactory
from smidgen.parts.networks.factories import HeadFactory
from smidgen.parts.networks.network import Network
from smidgen.products.sample import Sample
from smidgen.products.segmenter import Architecture, Segmenter


class Watched(segment.Supervised):
    """As `supervised`; some train images are looked at and not learned from."""

    every: int = 100
    """Steps between two looks."""
    watched: tuple[str, ...] = ()
    """Ids of the train images that are looked at."""


class Learner(Training):
    """The same training; `after` every so many steps it writes mIoU in percent into the curve."""

    def __init__(
        self, network: Network, pairs: Any, loss: LossFactory, settings: Watched, architecture: Architecture, seen: Mapping[str, Sample]
    ):
        super().__init__(network, pairs, loss, settings, architecture.channels)
        self.every, self.seen, self.architecture = settings.every, seen, architecture
        self.curve = nn.Module()
        self.curve.register_buffer("miou", torch.full((self.steps // settings.every,), float("nan")))
        self.networks["curve"] = self.curve

    def after(self, at: Step) -> None:
        """Look, where it is time to."""
        done = at.n + 1
        if done % self.every or not self.seen:
            return
        network = self.networks["segmenter"]
        network.eval()
        segmenter, names = Segmenter(network, self.architecture), self.architecture.classes.names  # pyright: ignore[reportArgumentType]
        counts = compared(self.seen, lambda id: segmenter.predict(self.seen[id].image()).label, len(names))
        network.train()
        self.curve.get_buffer("miou")[done // self.every - 1] = 100 * float(np.nanmean(iou(counts)))


def watched(run: Run, settings: Watched, data: Dataset, encoder: EncoderFactory, head: HeadFactory, loss: LossFactory) -> Segmenter:
    """Train on the masks of train but those of the watched images; the curve is the attribute `curve` of what comes back."""
    seen = {id: data.train[id] for id in settings.watched}
    pairs = [pair for pair in labeled(data, None) if pair.id not in seen]
    body = encoder()
    network = Network(body, head(body.channels, body.strides, len(data.classes)))
    architecture = Architecture(
        encoder.settings, head.name, head.settings, data.classes, encoder.in_channels, settings.size, settings.crop, data.value_range
    )
    learner = Learner(network, pairs, loss, settings, architecture, seen)
    run.fit("train", learner)
    segmenter = Segmenter(network, architecture)
    segmenter.curve = [round(float(one), 2) for one in learner.curve.get_buffer("miou")]  # pyright: ignore[reportAttributeAccessIssue]
    return segmenter
