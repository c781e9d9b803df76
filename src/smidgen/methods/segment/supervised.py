"""Supervised segmentation (DeepLab-v2's recipe: Chen et al., TPAMI 2018): a network learns the labels it is given, pixel by pixel.

Reading order: supervised, Training.terms. Where labels come from - people, scribbles, heatmaps - makes no difference:
pixels of value 255 are not learned from; nor whether they are pictures, volumes or slices of volumes. Settings: settings.Supervised.
Differs: random scales are drawn evenly and not in steps; the batch statistics of a pretrained encoder stay those of its pretraining.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from torch import Tensor, nn

from smidgen.core.errors import SettingsError
from smidgen.core.fit import Step, Stream
from smidgen.core.run import Run
from smidgen.data.building import network_of, segmenter_of
from smidgen.data.dataset import Dataset
from smidgen.data.pairs import Pair, labeled
from smidgen.data.transforms import Augmentation
from smidgen.data.views import weak
from smidgen.data.volume_transforms import VolumeAugmentation
from smidgen.methods.segment import settings
from smidgen.parts.imaging.channels import as_channels
from smidgen.parts.losses.ce import ce
from smidgen.parts.losses.settings import Ce
from smidgen.parts.losses.sums import LossFactory, mean_over_labeled
from smidgen.parts.networks.encoders import EncoderFactory
from smidgen.parts.networks.factories import HeadFactory
from smidgen.parts.networks.network import Network
from smidgen.parts.networks.optimizing import network_optimizer, rate
from smidgen.products.labels import LabelMap
from smidgen.products.segmenter import Segmenter
from smidgen.products.warm import WarmStart


def supervised(
    run: Run,
    settings: settings.Supervised,
    data: Dataset,
    encoder: EncoderFactory,
    head: HeadFactory,
    loss: LossFactory,
    labels: Mapping[str, LabelMap] | None = None,
    warm_from: WarmStart | None = None,
) -> Segmenter:
    """Train encoder and head on the train images that have a label.

    Args:
        run: Trains.
        settings: How.
        data: Images, volumes or slices; classes.
        encoder: Makes the encoder.
        head: Makes the head.
        loss: What is minimized.
        labels: Made labels by image id; None: the masks of the data.
        warm_from: Networks to start from.

    Returns:
        The network with its last weights.

    Raises:
        NeedError: No train image has a label.
        SettingsError: The sides of a view are not as many as the axes of an image.
    """
    pairs = labeled(data, labels)
    augment = view_of(settings, data)
    network = network_of(encoder, head, data, warm_from)
    run.fit("train", Training(network, pairs, loss, settings, encoder.in_channels, augment))
    return segmenter_of(network, encoder, head, data, settings)


def view_of(settings: settings.Supervised, data: Dataset) -> Augmentation | VolumeAugmentation:
    """What draws views of these data.

    Raises:
        SettingsError: The sides of a view, or the axes that are mirrored, are not as many as the axes of an image.
    """
    for name, given in (("patch", settings.patch), ("flips", settings.flips)):
        if given and data.zscored and len(given) != data.dims:
            what = f"supervised.{name} has {len(given)} values, and {'volumes' if data.dims == 3 else 'slices'} have {data.dims} axes"
            raise SettingsError(f"{what}: give {data.dims}")
    return weak(settings, data)


def prepare(pair: Pair, augment: Augmentation | VolumeAugmentation, channels: int, use_confidence: bool) -> dict[str, Tensor]:
    """One random view of one image, with the label moved along.

    Args:
        pair: Image and label.
        augment: Draws the view.
        channels: What the network takes; gray images are repeated.
        use_confidence: Hand the labels' confidence on.
    """
    image, known = pair.read()
    confidence = None
    if use_confidence:
        confidence = np.ones(known.label.shape, np.float32) if known.confidence is None else known.confidence
    if isinstance(augment, VolumeAugmentation):
        augment = replace(augment, spacing_mm=pair.sample.spacing_mm)
    view = augment(as_channels(image, channels, pair.path or pair.id, len(pair.sample.size)), known.label, confidence)
    batch = {"image": view.image, "label": view.label}
    return batch if view.confidence is None else batch | {"confidence": view.confidence}


class Training:
    """The learner: one network, one optimizer, one stream of labeled images.

    Args:
        network: Encoder and head.
        pairs: Images with labels.
        loss: What is minimized.
        settings: How.
        channels: Channels of the images.
        augment: Draws views; None: views of pictures, as the settings say.
    """

    def __init__(
        self,
        network: Network,
        pairs: Sequence[Pair],
        loss: LossFactory,
        settings: settings.Supervised,
        channels: int,
        augment: Augmentation | VolumeAugmentation | None = None,
    ):
        augment = augment or Augmentation(settings.crop, settings.size, settings.scale, settings.flip, settings.color)
        self.loss, self.settings = loss, settings
        self.networks = nn.ModuleDict({"segmenter": network})
        self.optimizers = {"all": network_optimizer([network], settings)}
        ready = partial(prepare, augment=augment, channels=channels, use_confidence=settings.use_confidence)
        self.streams = {"labeled": Stream(pairs, settings.batch, ready)}
        self.steps = math.ceil(settings.epochs * len(pairs) / settings.batch) if settings.epochs else settings.steps
        self.clip = settings.clip or None

    def schedule(self, progress: float) -> float:
        """Factor on the learning rates."""
        return rate(progress, self.steps, self.settings.warmup, self.settings.power)

    def terms(self, batch: dict, turn: str, at: Step) -> Mapping[str, Tensor]:
        """The loss of the logits, and cross-entropy of what the head predicts on the way."""
        views = batch["labeled"]
        label, confidence = views["label"].long(), views.get("confidence")
        predicted = self.networks["segmenter"](views["image"])
        main = self.loss(predicted.logits, label, confidence, at.progress)
        terms = {self.loss.expression: mean_over_labeled(main, label)}
        for aux in predicted.aux:
            terms[f"aux-{aux.name}"] = aux.weight * mean_over_labeled(ce(Ce(), aux.logits, label, confidence, at.progress), label)
        return terms
