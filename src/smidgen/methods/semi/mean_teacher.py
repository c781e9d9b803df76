"""Mean teacher (Tarvainen & Valpola, NIPS 2017): a network agrees with the moving average of itself, each seeing its own noise.

Reading order: mean_teacher, Teaching.terms (sec. 2: classification cost, consistency cost J), Teaching.after (eq. 1), consistency.
With `uncertainty` it is UA-MT (Yu et al., MICCAI 2019): entropy and certain. Settings: settings.MeanTeacher.
Differs: pixels are classified and not images, with the values of UA-MT (Yu et al., MICCAI 2019); the teacher looks with the averaged batch
statistics; noise is not cut off; nothing is dropped out, so the passes that tell certainty differ by noise alone; all images have a part
in the consistency, not the unlabeled ones only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from smidgen.core.fit import Step, Stream
from smidgen.core.run import Run
from smidgen.data.building import network_of, segmenter_of
from smidgen.data.dataset import Dataset
from smidgen.data.pairs import Pair, labeled
from smidgen.data.views import Views, steps_of, unlabeled, weak
from smidgen.methods.semi import settings
from smidgen.parts.losses.pixels import IGNORED, mean_of, placed
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

CERTAIN = 0.75
"""At first a pixel counts whose entropy is below so large a share of the largest one (UA-MT)."""


def mean_teacher(
    run: Run,
    settings: settings.MeanTeacher,
    data: Dataset,
    encoder: EncoderFactory,
    head: HeadFactory,
    loss: LossFactory,
    warm_from: WarmStart | None = None,
) -> Segmenter:
    """Train a student on labeled images and on its teacher's view of all images.

    Args:
        run: Trains.
        settings: How.
        data: Images of which some have a mask; classes.
        encoder: Makes the encoder.
        head: Makes the head.
        loss: What is minimized where there are labels.
        warm_from: Networks to start from.

    Returns:
        The teacher, or the student (`keep`).

    Raises:
        NeedError: No train image has a label, or none is without.
    """
    student, views = network_of(encoder, head, data, warm_from), Views(weak(settings, data), encoder.in_channels)
    teaching = run.fit("train", Teaching(student, labeled(data, None), unlabeled(data), views, loss, settings))
    return segmenter_of(teaching.kept, encoder, head, data, settings)


class Teaching:
    """The learner: a student that is trained, and a teacher that follows it.

    Args:
        student: Encoder and head.
        pairs: Images with labels.
        samples: Images without.
        views: Prepares both.
        loss: What is minimized where there are labels.
        settings: How.
    """

    def __init__(
        self,
        student: Network,
        pairs: Sequence[Pair],
        samples: Sequence[Sample],
        views: Views,
        loss: LossFactory,
        settings: settings.MeanTeacher,
    ):
        self.loss, self.settings = loss, settings
        self.student, self.teacher = student, averaged(student)
        self.networks = nn.ModuleDict({"student": self.student, "teacher": self.teacher})
        self.optimizers = {"student": network_optimizer([student], settings)}
        self.streams = {
            "labeled": Stream(pairs, settings.batch, views.labeled),
            "unlabeled": Stream(samples, settings.batch_unlabeled, views.unlabeled),
        }
        self.steps, self.clip = steps_of(settings, samples), settings.clip or None

    @property
    def kept(self) -> Network:
        """The network that is the result."""
        return self.teacher if self.settings.keep == "teacher" else self.student

    def schedule(self, progress: float) -> float:
        """Factor on the learning rates."""
        return rate(progress, self.steps, self.settings.warmup, self.settings.power)

    def terms(self, batch: dict, turn: str, at: Step) -> Mapping[str, Tensor]:
        """The loss where there are labels, and the consistency of student and teacher on all images."""
        few, many = batch["labeled"], batch["unlabeled"]
        image, spread = (torch.cat([few[name], many[name]]) for name in ("image", "spread"))
        label = torch.cat([few["label"], torch.full_like(many["label"], IGNORED)])
        inside = torch.cat([torch.zeros_like(few["label"]), many["label"]]) != IGNORED
        predicted = self.student(self._noisy(image, spread))
        terms = terms_of(self.loss, predicted, label, None, at.progress)
        weight = self.settings.weight * gaussian_ramp(at.progress, self.settings.ramp[1], self.settings.ramp[0])
        if weight:
            taught = self._taught(image, spread)
            counted = placed(inside, taught.shape[2:], beyond=False)
            if self.settings.uncertainty:
                passes = torch.stack([self._taught(image, spread).float().softmax(dim=1) for _ in range(self.settings.passes)])
                counted = counted & certain(passes, at.progress)
            terms["consistency"] = weight * consistency(predicted.logits, taught, counted)
        return terms

    @torch.no_grad()
    def _taught(self, image: Float[Tensor, "b c *h"], spread: Float[Tensor, "b"]) -> Float[Tensor, "b k *H"]:
        """The teacher's logits in a pass with noise of its own."""
        return self.teacher.eval()(self._noisy(image, spread)).logits

    def _noisy(self, image: Float[Tensor, "b c *h"], spread: Float[Tensor, "b"]) -> Float[Tensor, "b c *h"]:
        """The images with noise of its own."""
        return image + self.settings.noise * spread.view(-1, *(1,) * (image.ndim - 1)) * torch.randn_like(image)

    def after(self, at: Step) -> None:
        """The teacher follows (eq. 1)."""
        follow(self.teacher, self.student, decay_at(at.n, self.settings.ema))


def consistency(student: Float[Tensor, "b k *h"], teacher: Float[Tensor, "b k *h"], counted: Bool[Tensor, "b *h"]) -> Float[Tensor, ""]:
    """Mean square difference of the probabilities (J, sec. 2), over classes and the pixels that count.

    Args:
        student: Logits.
        teacher: Logits; no gradient reaches them.
        counted: Pixels that lie in the image and, with `uncertainty`, of which the teacher is certain.
    """
    apart = (student.float().softmax(dim=1) - teacher.float().softmax(dim=1).detach()).square().mean(dim=1)
    return mean_of(apart, counted).mean()


def entropy(probs: Float[Tensor, "t b k *h"]) -> Float[Tensor, "b *h"]:
    """Predictive entropy of several passes, -Σ μ log μ of their mean μ, in nats (UA-MT, eq. 2).

    Args:
        probs: Probabilities in each pass.
    """
    mean = probs.mean(dim=0)
    return -torch.xlogy(mean, mean).sum(dim=1)


def certain(probs: Float[Tensor, "t b k *h"], progress: float) -> Bool[Tensor, "b *h"]:
    """Where the entropy is below a threshold that rises from 3/4 of the largest one, the logarithm of the number of classes, to all of it.

    It rises as the weight does (UA-MT, sec. 2.2: a Gaussian ramp over the whole training).

    Args:
        probs: Probabilities in each pass.
        progress: Of the training, in [0, 1].
    """
    share = CERTAIN + (1 - CERTAIN) * gaussian_ramp(progress, 1.0)
    return entropy(probs) < share * math.log(probs.shape[2])
