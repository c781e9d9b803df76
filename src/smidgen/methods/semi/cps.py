"""Cross pseudo supervision (Chen et al., CVPR 2021): two networks that started differently label images for each other, without doubt.

Reading order: cps, Pair.terms (eq. 1-5), hard_labels; with CutMix, Pair._mixed (sec. 3.2, "Incorporation with CutMix").
Settings: settings.Cps.
Differs: the labels' loss is `--loss` in both places (the paper's is cross entropy: the default); with CutMix batch statistics of the passes
that only label are not kept; views may be changed in their values, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

from smidgen.core.fit import Step, Stream
from smidgen.core.run import Run
from smidgen.data.building import architecture_of, network_of
from smidgen.data.dataset import Dataset
from smidgen.data.pairs import Pair as Labeled
from smidgen.data.pairs import labeled
from smidgen.data.strong import Strong, cut
from smidgen.data.views import Views, steps_of, unlabeled, weak
from smidgen.methods.semi import settings
from smidgen.parts.losses.pixels import IGNORED
from smidgen.parts.losses.predicted import terms_of
from smidgen.parts.losses.ramps import gaussian_ramp
from smidgen.parts.losses.sums import LossFactory
from smidgen.parts.networks.adversarial import statistics_kept
from smidgen.parts.networks.encoders import EncoderFactory
from smidgen.parts.networks.factories import HeadFactory
from smidgen.parts.networks.network import Network
from smidgen.parts.networks.optimizing import network_optimizer, rate
from smidgen.parts.networks.upsample import to_size
from smidgen.products.peers import Peers
from smidgen.products.sample import Sample


def cps(run: Run, settings: settings.Cps, data: Dataset, encoder: EncoderFactory, head: HeadFactory, loss: LossFactory) -> Peers:
    """Train two networks on labeled images and on each other's labels.

    Args:
        run: Trains.
        settings: How.
        data: Images of which some have a mask; classes.
        encoder: Makes the encoders.
        head: Makes the heads.
        loss: What is minimized.

    Returns:
        The first network; the other one and their vote are in `peers`.

    Raises:
        NeedError: No train image has a label, or none is without.
    """
    networks = [network_of(encoder, head, data) for _ in range(2)]
    strong = Strong.of(settings)
    views = Views(weak(settings, data), encoder.in_channels, strong if settings.cutmix else None, 2)
    run.fit("train", Pair(networks, labeled(data, None), unlabeled(data), views, loss, settings))
    return Peers(networks, architecture_of(encoder, head, data, settings))


class Pair:
    """The learner: two networks, one optimizer over both, the same images for both.

    Args:
        networks: Two, with different initial weights.
        pairs: Images with labels.
        samples: Images without.
        views: Prepares both.
        loss: What is minimized.
        settings: How.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        pairs: Sequence[Labeled],
        samples: Sequence[Sample],
        views: Views,
        loss: LossFactory,
        settings: settings.Cps,
    ):
        self.loss, self.settings = loss, settings
        self.first, self.second = networks
        self.networks = nn.ModuleDict({"first": self.first, "second": self.second})
        self.optimizers = {"both": network_optimizer(networks, settings)}
        self.streams = {
            "labeled": Stream(pairs, settings.batch, views.labeled),
            "unlabeled": Stream(samples, settings.batch_unlabeled, views.unlabeled),
        }
        self.steps, self.clip = steps_of(settings, samples), settings.clip or None

    def schedule(self, progress: float) -> float:
        """Factor on the learning rates."""
        return rate(progress, self.steps, self.settings.warmup, self.settings.power)

    def terms(self, batch: dict, turn: str, at: Step) -> Mapping[str, Tensor]:
        """The supervision loss of both (eq. 1) and the weighted cross pseudo supervision loss (eq. 2-4) on all images, or on mixed ones."""
        few, many = batch["labeled"], batch["unlabeled"]
        found = [one(few["image"]) for one in (self.first, self.second)]
        terms: dict[str, Tensor] = {}
        for name, predicted in zip(("first", "second"), found, strict=True):
            terms |= terms_of(self.loss, predicted, few["label"], None, at.progress, f"{name}-")
        weight = self.settings.weight * gaussian_ramp(at.progress, self.settings.ramp[1], self.settings.ramp[0])
        if not weight:
            return terms
        if self.settings.cutmix:
            image, labels = self._mixed(many, few)
            asked = [one(image[:, n]) for n, one in enumerate((self.first, self.second))]
            return terms | self._cross(asked, labels, weight, at, "cross-")
        asked = [one(many["image"]) for one in (self.first, self.second)]
        labels = [hard_labels(one.logits, many["label"]) for one in asked]
        of_labeled = [hard_labels(one.logits, torch.zeros_like(few["label"])) for one in found]
        return terms | self._cross(asked, labels, weight, at, "cross-") | self._cross(found, of_labeled, weight, at, "cross-labeled-")

    def _cross(self, found: Sequence, labels: Sequence[Tensor], weight: float, at: Step, prefix: str) -> dict[str, Tensor]:
        """Each network learns the other's labels."""
        terms: dict[str, Tensor] = {}
        for name, predicted, label in zip(("first", "second"), found, reversed(labels), strict=True):
            terms |= terms_of(self.loss, predicted, label, None, at.progress, f"{prefix}{name}-", weight)
        return terms

    @torch.no_grad()
    def _mixed(self, many: Mapping[str, Tensor], few: Mapping[str, Tensor]) -> tuple[Float[Tensor, "b 2 c *h"], list[Tensor]]:
        """Unlabeled images with boxes of each other and of labeled ones, a strong view for each network; both networks' labels alike."""
        s, count, size, device = self.settings, len(many["image"]), many["image"].shape[2:], many["image"].device
        boxes, pasted = cut(count, size, s.cutmix, s.box).to(device), cut(count, size, s.paste, s.box, len(few["image"])).to(device)
        with statistics_kept(self.first, self.second):
            labels = [hard_labels(one(many["image"]).logits, many["label"]) for one in (self.first, self.second)]
        image = pasted.mix(boxes.mix(many["strong"], many["strong"]), few["strong"].repeat_interleave(2, dim=1))
        return image, [pasted.mix(boxes.mix(label, label), few["label"]) for label in labels]


def hard_labels(logits: Float[Tensor, "b k *h"], inside: Integer[Tensor, "b *H"]) -> Integer[Tensor, "b *H"]:
    """The most probable class of each pixel; 255 beyond the border of the image. No gradient passes.

    Args:
        logits: At any stride.
        inside: 255 beyond the border.
    """
    label = to_size(logits.detach().float(), inside.shape[1:]).argmax(dim=1).to(inside.dtype)
    return torch.where(inside == IGNORED, inside, label)
