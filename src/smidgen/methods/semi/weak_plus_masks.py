"""Weak plus masks (AdvCAM, Lee et al., CVPR 2021, semi-supervised setting): true masks where they exist, pseudo-masks from tags elsewhere.

Reading order: weak_plus_masks, Training.terms; then Training._decoded with Decoders, which is CCT (Ouali et al., CVPR 2020), or
Training._seen, the simple strong alternative after weak to strong (FixMatch, Sohn et al., NeurIPS 2020). Settings: settings.WeakPlusMasks.
Differs: features of all levels are disturbed, as our heads take several; three of CCT's seven disturbances, those that need no further
pass; there may be no pseudo-masks, or not for all images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from smidgen.core.fit import Step, Stream
from smidgen.core.run import Run
from smidgen.data.building import network_of, segmenter_of
from smidgen.data.dataset import Dataset
from smidgen.data.pairs import Pair, labeled
from smidgen.data.strong import Strong, values_of
from smidgen.data.teaching import mixed, said
from smidgen.data.transforms import View
from smidgen.data.views import Views, steps_of, unlabeled, weak
from smidgen.methods.semi import settings
from smidgen.parts.losses.ce import ce
from smidgen.parts.losses.energy import pairwise_energy
from smidgen.parts.losses.pixels import IGNORED, mean_of, placed
from smidgen.parts.losses.predicted import terms_of
from smidgen.parts.losses.ramps import gaussian_ramp
from smidgen.parts.losses.settings import Ce
from smidgen.parts.losses.sums import LossFactory, mean_over_labeled
from smidgen.parts.networks.averaging import averaged, decay_at, follow
from smidgen.parts.networks.encoders import EncoderFactory
from smidgen.parts.networks.factories import HeadFactory
from smidgen.parts.networks.network import Network
from smidgen.parts.networks.optimizing import optimizer, rate
from smidgen.parts.networks.prediction import Aux, Prediction
from smidgen.products.labels import LabelMap
from smidgen.products.sample import Classes
from smidgen.products.segmenter import Segmenter
from smidgen.products.warm import WarmStart

NOISE = 0.3
"""Features are changed by up to this share (CCT)."""
MOST_ACTIVE = (0.7, 0.9)
"""Places whose activity is above a random share of the largest are left out (CCT)."""
DROPPED = 0.5
"""Share of channels that are left out (CCT)."""


def weak_plus_masks(
    run: Run,
    settings: settings.WeakPlusMasks,
    data: Dataset,
    encoder: EncoderFactory,
    head: HeadFactory,
    loss: LossFactory,
    labels: Mapping[str, LabelMap] | None = None,
    warm_from: WarmStart | None = None,
) -> Segmenter:
    """Train on masks, dense or sparse, and on pseudo-masks.

    Args:
        run: Trains.
        settings: How.
        data: Images of which some have a mask; classes; tags.
        encoder: Makes the encoder.
        head: Makes the decoders.
        loss: What is minimized where there are masks.
        labels: Pseudo-masks by image id; those of images with dense masks are not read. None: there are none.
        warm_from: Networks to start from; further decoders start anew.

    Returns:
        The network, or its average (`ema`).

    Raises:
        NeedError: No train image has a mask, or all have.
    """
    strong = Strong.of(settings)
    views = Views(weak(settings, data), encoder.in_channels, strong if settings.how == "strong_views" or settings.labeled_weight else None)
    made = labels or {}
    pairs = [Pair(sample, made if sample.id in made else None) for sample in unlabeled(data)]
    prepared = Pseudo(views, data.classes, settings.use_confidence)
    network = network_of(encoder, head, data, warm_from)
    body = network.encoder
    others = [head(body.channels, body.strides, len(data.classes)) for _ in settings.disturbed] if settings.how == "decoders" else []
    learner = run.fit("train", Training(network, others, labeled(data, None), pairs, prepared, loss, settings))
    return segmenter_of(learner.mean, encoder, head, data, settings)


@dataclass(frozen=True)
class Pseudo:
    """Prepares images without true masks; runs in loader workers.

    Args:
        views: Draws views.
        classes: What label values mean.
        use_confidence: Hand the confidence of pseudo-masks on.
    """

    views: Views
    classes: Classes
    use_confidence: bool

    def __call__(self, pair: Pair) -> dict[str, Tensor]:
        """A view as of an unlabeled image, with its `pseudo` label (255 = none), how much that counts (`trust`), and `allowed` classes."""
        image, known = pair.read()
        trust = known.confidence if self.use_confidence and known.confidence is not None else np.ones(known.label.shape, np.float32)
        told = (1 + trust.astype(np.float32)) / 2  # beyond the image it becomes 0, which tells where that is
        view = self.views.seen(image, known.label, pair.sample, told)
        assert view.confidence is not None
        inside = torch.where(view.confidence > 0, 0, IGNORED).to(view.label.dtype)
        batch = self.views.batch(View(view.image, inside), values_of(pair.sample))
        return batch | {"pseudo": view.label, "trust": (2 * view.confidence - 1).clamp(min=0), "allowed": self._allowed(pair)}

    def _allowed(self, pair: Pair) -> Tensor:
        tags, background = pair.sample.tags, self.classes.background
        allowed = torch.full((len(self.classes),), tags is None, dtype=torch.bool)
        allowed[[*(tags or ()), *(() if background is None else (background,))]] = True
        return allowed


class Decoders(nn.Module):
    """The main decoder, and in training further ones that see disturbed features; their logits are auxiliary.

    Args:
        main: Its answer is the answer.
        others: One for each disturbance.
        disturbances: Their names.
    """

    def __init__(self, main: nn.Module, others: nn.ModuleList, disturbances: Sequence[str]):
        super().__init__()
        self.main, self.others, self.disturbances = main, others, tuple(disturbances)
        self.stride = main.stride

    def forward(self, features: Sequence[Tensor], size: Sequence[int]) -> Prediction:
        """What all say.

        Args:
            features: The pyramid.
            size: Of the image.
        """
        found = [one([disturbed(map, kind) for map in features], size) for one, kind in zip(self.others, self.disturbances, strict=True)]
        aux = tuple(Aux(f"{kind}-{n}", one.logits, 1.0) for n, (kind, one) in enumerate(zip(self.disturbances, found, strict=True)))
        return Prediction(self.main(features, size).logits, aux)


def disturbed(features: Float[Tensor, "b c *h"], kind: str) -> Float[Tensor, "b c *h"]:
    """Features that a further decoder sees (CCT, sec. 3.2).

    Args:
        features: One level.
        kind: noise: each value times 1 ± 0.3; drop: the most active places become 0; dropout: half of the channels do, others double.
    """
    if kind == "noise":
        return features * (1 + torch.empty_like(features).uniform_(-NOISE, NOISE))
    if kind == "dropout":
        kept = torch.rand(*features.shape[:2], *(1,) * (features.ndim - 2), device=features.device) >= DROPPED
        return features * kept / (1 - DROPPED)
    activity = features.detach().mean(dim=1, keepdim=True)
    low, high = (bound.view(-1, *(1,) * (features.ndim - 1)) for bound in activity.flatten(1).aminmax(dim=1))
    share = torch.empty_like(high).uniform_(*MOST_ACTIVE)
    return features * (activity <= low + share * (high - low))


class Training:
    """The learner: one network, its average where one is wanted, and further decoders where these are what pseudo-masks teach.

    Args:
        network: Encoder and main decoder.
        others: Further decoders, with initial weights of their own; none with `strong_views`.
        masked: Images with masks.
        unmasked: Images without, or with sparse ones, which stay out of reach here; with pseudo-masks where there are.
        prepared: Prepares both.
        loss: What is minimized where there are masks.
        settings: How.
    """

    def __init__(
        self,
        network: Network,
        others: Sequence[nn.Module],
        masked: Sequence[Pair],
        unmasked: Sequence[Pair],
        prepared: Pseudo,
        loss: LossFactory,
        settings: settings.WeakPlusMasks,
    ):
        self.loss, self.settings, self.network = loss, settings, network
        self.mean = averaged(network) if settings.ema else network
        further = nn.ModuleList(others)
        self.crossed = Network(network.encoder, Decoders(network.head, further, settings.disturbed)) if others else None
        self.networks = nn.ModuleDict({"network": network, "decoders": further} | ({"mean": self.mean} if settings.ema else {}))
        parts = [(network.encoder, settings.lr_encoder), *((one, settings.lr_head) for one in (network.head, *others))]
        self.optimizers = {"all": optimizer(parts, settings)}
        self.streams = {
            "masks": Stream(masked, settings.batch, prepared.views.labeled),
            "rest": Stream(unmasked, settings.batch_unlabeled, prepared),
        }
        self.steps, self.clip = steps_of(settings, unmasked), settings.clip or None

    def schedule(self, progress: float) -> float:
        """Factor on the learning rates."""
        return rate(progress, self.steps, self.settings.warmup, self.settings.power)

    def terms(self, batch: dict, turn: str, at: Step) -> Mapping[str, Tensor]:
        """What masks teach, and what the other images do."""
        few, many, s = batch["masks"], batch["rest"], self.settings
        found = self.network(few["image"])
        terms = terms_of(self.loss, found, few["label"], None, at.progress)
        if s.smooth_weight:
            inside = torch.ones_like(few["label"], dtype=torch.bool)
            terms["smooth"] = s.smooth_weight * pairwise_energy(found.logits, few["image"], few["spread"], inside).mean()
        if s.labeled_weight:
            seen = mixed(few, few["label"], torch.ones_like(few["image"][:, 0]), few, s)
            terms |= terms_of(self.loss, self.network(seen.image), seen.label, None, at.progress, "strong-", s.labeled_weight)
        risen = gaussian_ramp(at.progress, s.ramp[1], s.ramp[0])
        return terms | (self._decoded(many, risen) if self.crossed is not None else self._seen(many, few, risen, at))

    def _decoded(self, many: Mapping[str, Tensor], risen: float) -> dict[str, Tensor]:
        """CCT: each further decoder agrees with the main one, and learns the pseudo-masks (its sec. 3.4)."""
        if not risen or self.crossed is None:
            return {}
        found, terms = self.crossed(many["image"]), {}
        main, inside = found.logits.float().softmax(dim=1).detach(), many["label"] != IGNORED
        for one in found.aux:
            share = 1 / len(found.aux)
            terms[f"agreement-{one.name}"] = risen * share * self.settings.agreement_weight * agreement(one.logits, main, inside)
            if self.settings.weak_weight:
                surprise = mean_over_labeled(ce(Ce(), one.logits, many["pseudo"].long(), many["trust"]), many["pseudo"])
                terms[f"weak-{one.name}"] = risen * share * self.settings.weak_weight * surprise
        return terms

    def _seen(self, many: Mapping[str, Tensor], few: Mapping[str, Tensor], risen: float, at: Step) -> dict[str, Tensor]:
        """Strong views: the label of what the average is sure of, and elsewhere the pseudo-mask's, which counts less."""
        s = self.settings
        label, sure = said(self.mean, many, many["allowed"] if s.use_tags else None)
        taught = (sure >= s.confidence) & (label != IGNORED)
        falling = s.weak_weight + (s.weak_end - s.weak_weight) * at.progress
        trust = torch.where(taught, risen, falling * many["trust"] * (many["pseudo"] != IGNORED))
        label = torch.where(taught | (many["pseudo"] == IGNORED), label, many["pseudo"])
        seen = mixed(many, label, trust, few, s)
        found = self.network(seen.image)
        terms = terms_of(self.loss, found, seen.label, seen.sure, at.progress, "taught-", s.unlabeled_weight)
        if s.smooth_weight:
            energy = pairwise_energy(found.logits, seen.image, many["spread"], seen.label != IGNORED).mean()
            terms["taught-smooth"] = s.unlabeled_weight * s.smooth_weight * energy
        return terms

    def after(self, at: Step) -> None:
        """The averaged network follows."""
        if self.settings.ema:
            follow(self.mean, self.network, decay_at(at.n, self.settings.ema))


def agreement(logits: Float[Tensor, "b k *h"], main: Float[Tensor, "b k *h"], inside: Tensor) -> Float[Tensor, ""]:
    """Mean square difference of a decoder's probabilities from the main one's, which are not taught (CCT, eq. 2), over all classes.

    Args:
        logits: Of the decoder.
        main: Probabilities.
        inside: Where there is image.
    """
    apart = (logits.float().softmax(dim=1) - main).square().mean(dim=1)
    return mean_of(apart, placed(inside, logits.shape[2:], beyond=0).bool()).mean()
