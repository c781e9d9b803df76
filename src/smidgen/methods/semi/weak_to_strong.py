"""Weak to strong (FixMatch, Sohn et al., NeurIPS 2020): what a teacher is sure of in a weak view, the student learns in a strong one.

Reading order: weak_to_strong, Training.terms (l_s and l_u, eq. 3-4), Training.after; said and mixed (data/teaching) make the teacher's
labels and put boxes in. Settings: settings.WeakToStrong.
Strong views are UniMatch's (Yang et al., CVPR 2023): values are changed and boxes of other images put in; boxes of labeled images, too.
The same learner without unlabeled images is the control: strong views of labeled images only (`unlabeled_weight` 0, `labeled_weight` 1).
Differs: for pixels; the teacher is the moving average of the student (Tarvainen & Valpola, NIPS 2017); the weak view moves and scales.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from smidgen.core.fit import Step, Stream
from smidgen.core.run import Run
from smidgen.data.building import network_of, segmenter_of
from smidgen.data.dataset import Dataset
from smidgen.data.pairs import Pair, labeled
from smidgen.data.strong import Strong
from smidgen.data.teaching import mixed, said
from smidgen.data.views import Views, steps_of, unlabeled, weak
from smidgen.methods.semi import settings
from smidgen.parts.losses.predicted import terms_of
from smidgen.parts.losses.ramps import gaussian_ramp
from smidgen.parts.losses.sums import LossFactory
from smidgen.parts.networks.averaging import averaged, decay_at, follow
from smidgen.parts.networks.encoders import EncoderFactory
from smidgen.parts.networks.factories import HeadFactory
from smidgen.parts.networks.network import Network
from smidgen.parts.networks.optimizing import network_optimizer, rate
from smidgen.products.sample import Sample
from smidgen.products.segmenter import Segmenter
from smidgen.products.warm import WarmStart


def weak_to_strong(
    run: Run,
    settings: settings.WeakToStrong,
    data: Dataset,
    encoder: EncoderFactory,
    head: HeadFactory,
    loss: LossFactory,
    warm_from: WarmStart | None = None,
) -> Segmenter:
    """Train a student on labeled images, and on its teacher's sure labels of strong views.

    Args:
        run: Trains.
        settings: How.
        data: Images of which some have a mask; classes.
        encoder: Makes the encoder.
        head: Makes the head.
        loss: What is minimized, with people's labels and with the teacher's.
        warm_from: Networks to start from.

    Returns:
        The teacher, or the student (`keep`).

    Raises:
        NeedError: No train image has a label, or none is without although these are to be learned from.
    """
    strong = Strong.of(settings)
    views = Views(weak(settings, data), encoder.in_channels, strong)
    samples = unlabeled(data) if settings.unlabeled_weight else []
    student = network_of(encoder, head, data, warm_from)
    training = run.fit("train", Training(student, labeled(data, None), samples, views, loss, settings))
    return segmenter_of(training.kept, encoder, head, data, settings)


class Training:
    """The learner: a student that is trained, and a teacher that follows it.

    Args:
        student: Encoder and head.
        pairs: Images with labels.
        samples: Images without; none are needed where `unlabeled_weight` is 0.
        views: Prepares both.
        loss: What is minimized.
        settings: How.
    """

    def __init__(
        self,
        student: Network,
        pairs: Sequence[Pair],
        samples: Sequence[Sample],
        views: Views,
        loss: LossFactory,
        settings: settings.WeakToStrong,
    ):
        self.loss, self.settings = loss, settings
        self.student, self.teacher = student, averaged(student)
        self.networks = nn.ModuleDict({"student": self.student, "teacher": self.teacher})
        self.optimizers = {"student": network_optimizer([student], settings)}
        self.streams = {"labeled": Stream(pairs, settings.batch, views.labeled)}
        if settings.unlabeled_weight:
            self.streams["unlabeled"] = Stream(samples, settings.batch_unlabeled, views.unlabeled)
        self.steps, self.clip = steps_of(settings, samples or pairs), settings.clip or None

    @property
    def kept(self) -> Network:
        """The network that is the result."""
        return self.teacher if self.settings.keep == "teacher" else self.student

    def schedule(self, progress: float) -> float:
        """Factor on the learning rates."""
        return rate(progress, self.steps, self.settings.warmup, self.settings.power)

    def terms(self, batch: dict, turn: str, at: Step) -> Mapping[str, Tensor]:
        """The loss of weak views with people's labels (eq. 3), and of strong views with the teacher's (eq. 4)."""
        few, s = batch["labeled"], self.settings
        terms = terms_of(self.loss, self.student(few["image"]), few["label"], None, at.progress)
        if s.labeled_weight:
            seen = mixed(few, few["label"], torch.ones_like(few["label"], dtype=torch.float32), few, s)
            terms |= terms_of(self.loss, self.student(seen.image), seen.label, None, at.progress, "strong-", s.labeled_weight)
        weight = s.unlabeled_weight * gaussian_ramp(at.progress, s.ramp[1], s.ramp[0])
        if weight:
            label, probability = said(self.teacher, batch["unlabeled"])
            seen = mixed(batch["unlabeled"], label, (probability >= s.confidence).float(), few, s)
            terms |= terms_of(self.loss, self.student(seen.image), seen.label, seen.sure, at.progress, "taught-", weight)
        return terms

    def after(self, at: Step) -> None:
        """The teacher follows the student."""
        follow(self.teacher, self.student, decay_at(at.n, self.settings.ema))
