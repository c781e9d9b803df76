"""Mean teacher (Tarvainen & Valpola, NIPS 2017): a network agrees with the moving average of itself, each seeing its own noise.

Reading order: mean_teacher, Teaching.terms (sec. 2: classification cost, consistency cost J), Teaching.after (eq. 1), consistency.
Settings: settings.MeanTeacher.
Differs: pixels are classified and not images, with the values of UA-MT (Yu et al., MICCAI 2019); the teacher looks with the averaged batch
statistics; noise is not cut off; nothing is dropped out.
"""

from __future__ import annotations

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
from smidgen.parts.networks.optimizing import optimizer, rate
from smidgen.products.sample import Sample
from smidgen.products.segmenter import Segmenter


def mean_teacher(
    run: Run, settings: settings.MeanTeacher, data: Dataset, encoder: EncoderFactory, head: HeadFactory, loss: LossFactory
) -> Segmenter:
    """Train a student on labeled images and on its teacher's view of all images.

    Args:
        run: Trains.
        settings: How.
        data: Images of which some have a mask; classes.
        encoder: Makes the encoder.
        head: Makes the head.
        loss: What is minimized where there are labels.

    Returns:
        The teacher, or the student (`keep`).

    Raises:
        NeedError: No train image has a label, or none is without.
    """
    student, views = network_of(encoder, head, data), Views(weak(settings, data), encoder.in_channels)
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
        self.optimizers = {"student": optimizer(((student.encoder, settings.lr_encoder), (student.head, settings.lr_head)), settings)}
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
            with torch.no_grad():
                taught = self.teacher.eval()(self._noisy(image, spread)).logits
            terms["consistency"] = weight * consistency(predicted.logits, taught, inside)
        return terms

    def _noisy(self, image: Float[Tensor, "b c *h"], spread: Float[Tensor, "b"]) -> Float[Tensor, "b c *h"]:
        """The images with noise of its own."""
        return image + self.settings.noise * spread.view(-1, *(1,) * (image.ndim - 1)) * torch.randn_like(image)

    def after(self, at: Step) -> None:
        """The teacher follows (eq. 1)."""
        follow(self.teacher, self.student, decay_at(at.n, self.settings.ema))


def consistency(student: Float[Tensor, "b k *h"], teacher: Float[Tensor, "b k *h"], inside: Bool[Tensor, "b *H"]) -> Float[Tensor, ""]:
    """Mean square difference of the probabilities (J, sec. 2), over classes and the pixels that lie in the image.

    Args:
        student: Logits.
        teacher: Logits; no gradient reaches them.
        inside: Where the image is.
    """
    apart = (student.float().softmax(dim=1) - teacher.float().softmax(dim=1).detach()).square().mean(dim=1)
    return mean_of(apart, placed(inside, student.shape[2:], beyond=False)).mean()
