"""DTC, dual-task consistency (Luo et al., AAAI 2021): class scores and level sets of one network mean the same mask, on any image.

Reading order: dtc, Tasks.terms (eq. 7), then dice (eq. 4), regression (eq. 5), consistency (eq. 6), ramped (eq. 8). Level sets are
measured in parts/imaging/distance (eq. 1), after augmentation; they become masks in parts/networks/heads/dual (eq. 2).
Settings: settings.Dtc.
Differs: any number of classes and axes, by softmax: for two classes that is the paper's sigmoid of the difference of two scores; objects
that are missing or fill the view have level sets of 1 and -1; no term counts pixels that are unknown or beyond the image; strong views with
an averaged network's labels, and that network as the result, can be had beside the paper's terms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor, nn

from smidgen.core.fit import Step, Stream
from smidgen.core.run import Run
from smidgen.data.building import network_of, segmenter_of
from smidgen.data.dataset import Dataset
from smidgen.data.pairs import Pair, labeled
from smidgen.data.strong import Strong
from smidgen.data.teaching import mixed, said
from smidgen.data.views import Views, unlabeled, weak
from smidgen.methods.semi import settings
from smidgen.parts.imaging.distance import level_sets
from smidgen.parts.losses.ce import ce
from smidgen.parts.losses.pixels import IGNORED, mean_of, placed
from smidgen.parts.losses.predicted import terms_of
from smidgen.parts.losses.settings import Ce
from smidgen.parts.losses.sums import LossFactory, mean_over_labeled
from smidgen.parts.networks.averaging import averaged, decay_at, follow
from smidgen.parts.networks.encoders import EncoderFactory
from smidgen.parts.networks.factories import HeadFactory
from smidgen.parts.networks.heads.dual import LEVEL_SET, around, levels_of
from smidgen.parts.networks.network import Network
from smidgen.parts.networks.optimizing import network_optimizer, rate
from smidgen.parts.networks.prediction import Prediction
from smidgen.parts.networks.upsample import to_size
from smidgen.products.sample import Sample
from smidgen.products.segmenter import Segmenter

SMOOTH = 1e-5
"""Keeps Dice defined where there is no object (the authors' code)."""


def dtc(run: Run, settings: settings.Dtc, data: Dataset, encoder: EncoderFactory, head: HeadFactory, loss: LossFactory) -> Segmenter:
    """Train one network on two tasks.

    Args:
        run: Trains.
        settings: How.
        data: Images of which some have a mask; classes.
        encoder: Makes the encoder.
        head: Makes class scores and, with as many channels more, level sets.
        loss: What class scores learn by, where `supervision` says so.

    Returns:
        The network, or its average (`ema`).

    Raises:
        NeedError: No train image has a label, or none is without.
    """
    both = around(head, settings.steepness, settings.answer)
    strong = Strong.of(settings)
    views = Views(weak(settings, data), encoder.in_channels, strong if settings.strong or settings.labeled_weight else None)
    samples = unlabeled(data) if settings.batch_unlabeled else []
    tasks = run.fit("train", Tasks(network_of(encoder, both, data), labeled(data, None), samples, views, loss, settings, len(data.classes)))
    return segmenter_of(tasks.mean, encoder, both, data, settings)


@dataclass(frozen=True)
class Measured:
    """Prepares labeled images; runs in loader workers.

    Args:
        views: Draws views.
        classes: How many there are.
        settings: Which level sets.
    """

    views: Views
    classes: int
    settings: settings.Dtc

    def __call__(self, pair: Pair) -> dict[str, Tensor]:
        """A view with its `levels`, measured in the view itself: distances of mixed or moved masks are not mixed or moved distances.

        Where a label is sparse there is no rim; its level sets are no numbers, which `regression` leaves out.
        """
        view = self.views.labeled(pair)
        spacing = pair.sample.spacing_mm
        levels = level_sets(view["label"].numpy(), self.classes, spacing, self.settings.target, self.settings.reach)
        return view | {"levels": torch.from_numpy(levels if not pair.sample.sparse else levels * float("nan"))}


class Tasks:
    """The learner: one network with two tasks, and its average where one is wanted.

    Args:
        network: Encoder and dual head.
        pairs: Images with labels.
        samples: Images without.
        views: Prepares both.
        loss: What class scores learn by, where `supervision` says so.
        settings: How.
        classes: How many there are.
    """

    def __init__(
        self,
        network: Network,
        pairs: Sequence[Pair],
        samples: Sequence[Sample],
        views: Views,
        loss: LossFactory,
        settings: settings.Dtc,
        classes: int,
    ):
        self.loss, self.settings, self.network = loss, settings, network
        self.mean = averaged(network) if settings.ema else network
        self.networks = nn.ModuleDict({"network": network} | ({"mean": self.mean} if settings.ema else {}))
        self.optimizers = {"all": network_optimizer([network], settings)}
        self.streams = {"labeled": Stream(pairs, settings.batch, Measured(views, classes, settings))}
        if settings.batch_unlabeled:
            self.streams["unlabeled"] = Stream(samples, settings.batch_unlabeled, views.unlabeled)
        counted, size = (samples, settings.batch_unlabeled) if settings.batch_unlabeled else (pairs, settings.batch)
        self.steps = max(1, math.ceil(settings.epochs * len(counted) / size)) if settings.epochs else settings.steps
        self.clip = settings.clip or None

    def schedule(self, progress: float) -> float:
        """Factor on the learning rates."""
        if not self.settings.falls:
            return rate(progress, self.steps, self.settings.warmup, self.settings.power)
        return rate(progress, self.steps, self.settings.warmup, 0.0) * 0.1 ** sum(progress >= fall for fall in self.settings.falls)

    def terms(self, batch: dict, turn: str, at: Step) -> Mapping[str, Tensor]:
        """Supervision and regression where there are labels, the consistency on all images (eq. 7); one pass for all."""
        few, parts = batch["labeled"], self._parts(batch)
        found = self.network(torch.cat([part.image for part in parts]))
        assert found.aux[-1].name == LEVEL_SET
        terms: dict[str, Tensor] = {}
        for part, rows in zip(parts, _rows(parts), strict=True):
            scores = Prediction(found.logits[rows], tuple(replace(one, logits=one.logits[rows]) for one in found.aux[:-1]))
            terms |= self._supervised(part, scores, at)
            if part.levels is not None and self.settings.distance_weight:
                levels, weight = levels_of(found.aux[-1].logits[rows], self.settings.steepness), part.weight * self.settings.distance_weight
                terms[f"{part.prefix}distance"] = weight * regression(levels, part.levels, part.label != IGNORED)
        weight = self.settings.weight * ramped(at.progress, self.settings.ramp, self.settings.stairs)
        if weight:
            inside = torch.cat([part.label for part in parts]) != IGNORED
            chosen = slice(0, len(few["image"]) if self.settings.consistency_on == "labeled" else None)
            terms["consistency"] = weight * consistency(found.logits[chosen], found.aux[-1].logits[chosen], inside[chosen])
        return terms

    def _parts(self, batch: dict) -> list[Part]:
        """What goes through the network in this step."""
        few, many, settings = batch["labeled"], batch.get("unlabeled"), self.settings
        certain = torch.ones_like(few["image"][:, 0])
        parts = [Part(few["image"], few["label"], None, "", 1.0, few["levels"])]
        if settings.labeled_weight:
            parts.append(Part(*mixed(few, few["label"], certain, few, settings), "strong-", settings.labeled_weight))
        if many is not None and settings.strong:
            label, sure = said(self.mean, many)
            sure = (sure >= settings.confidence).float()
            parts.append(Part(*mixed(many, label, sure, few, settings), "taught-", settings.unlabeled_weight))
        elif many is not None:
            parts.append(Part(many["image"], many["label"], None, "", 0.0))
        return parts

    def _supervised(self, part: Part, scores: Prediction, at: Step) -> dict[str, Tensor]:
        """What class scores learn from labels, and what the head says on the way."""
        if not part.weight:
            return {}
        if part.levels is None or self.settings.supervision == "loss":
            return terms_of(self.loss, scores, part.label, part.sure, at.progress, part.prefix, part.weight)
        label = part.label.long()
        aux = {f"aux-{one.name}": one.weight * mean_over_labeled(ce(Ce(), one.logits, label), label) for one in scores.aux}
        return {"dice": dice(scores.logits, label)} | aux

    def after(self, at: Step) -> None:
        """The averaged network follows."""
        if self.settings.ema:
            follow(self.mean, self.network, decay_at(at.n, self.settings.ema))


@dataclass(frozen=True)
class Part:
    """Rows of a step's batch that are treated alike.

    Args:
        image: What the network sees.
        label: What class scores learn, 255 = unknown or beyond the image.
        sure: Weight of each pixel's label; None: all are certain.
        prefix: Of the names of its terms.
        weight: Of them; 0: nothing is learned from labels, which only say where the image is.
        levels: What level sets learn; None: nothing.
    """

    image: Tensor
    label: Tensor
    sure: Tensor | None
    prefix: str
    weight: float
    levels: Tensor | None = None


def _rows(parts: Sequence[Part]) -> list[slice]:
    ends = list(accumulate(len(part.image) for part in parts))
    return [slice(end - len(part.image), end) for part, end in zip(parts, ends, strict=True)]


def dice(logits: Float[Tensor, "b k *h"], label: Integer[Tensor, "b *H"]) -> Float[Tensor, ""]:
    """1 - (2 Σ p y + ε) / (Σ p² + Σ y² + ε) over all images at once (eq. 4), averaged over the classes but the first.

    Args:
        logits: At any stride.
        label: Class indices, 255 = unknown.
    """
    with torch.autocast(logits.device.type, enabled=False):
        probs = to_size(logits.float(), label.shape[1:]).softmax(dim=1)
        known = label != IGNORED
        found = []
        for value in range(1, probs.shape[1]):
            p, y = (probs[:, value] * known).flatten(), (label == value).flatten().float()
            found.append(1 - (2 * (p * y).sum() + SMOOTH) / (p.square().sum() + y.sum() + SMOOTH))
        return torch.stack(found).mean()


def regression(levels: Float[Tensor, "b l *h"], target: Float[Tensor, "b l *H"], known: Bool[Tensor, "b *H"]) -> Float[Tensor, ""]:
    """Mean of (z - t)² over known pixels and classes (eq. 5); images whose target is no number have no part in it.

    Args:
        levels: z, at any stride.
        target: t.
        known: Which pixels count.
    """
    measured = known & target[:, 0].isfinite()
    apart = (to_size(levels.float(), known.shape[1:]) - target.float().nan_to_num()).square().mean(dim=1)
    return (apart * measured).sum() / measured.sum().clamp(min=1)


def consistency(scores: Float[Tensor, "b k *h"], masks: Float[Tensor, "b k *h"], inside: Bool[Tensor, "b *H"]) -> Float[Tensor, ""]:
    """Mean of (T⁻¹(z) - p)² (eq. 6), both sides taught; the mean over two classes is the square of the paper's one difference.

    Args:
        scores: Logits of the classes.
        masks: Logits of the masks that level sets mean.
        inside: Which pixels count.
    """
    with torch.autocast(scores.device.type, enabled=False):
        apart = (masks.float().softmax(dim=1) - scores.float().softmax(dim=1)).square().mean(dim=1)
        return mean_of(apart, placed(inside, scores.shape[2:], beyond=0).bool()).mean()


def ramped(progress: float, ramp: tuple[float, float], stairs: int) -> float:
    """exp(-5 (1 - e / R)²) with e, the stairs that are climbed, of R (eq. 8); 0 before the ramp begins, 1 behind its end.

    Args:
        progress: Of the training, in [0, 1].
        ramp: Where it begins and ends.
        stairs: R.
    """
    begin, end = ramp
    if progress < begin:
        return 0.0
    climbed = min(1.0, math.floor((progress - begin) / (end - begin) * stairs + 1e-9) / stairs) if end > begin else 1.0
    return math.exp(-5 * (1 - climbed) ** 2)
