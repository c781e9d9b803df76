"""Deep co-training (Peng et al., Pattern Recognition 2020): networks agree on unlabeled images, and withstand images that fool another one.

Reading order: cotraining, Cotraining.terms (eq. 6: L_sup + λ_cot L_cot + λ_div L_div), agreement (L_cot), diversity (L_div). What two
networks answer and how far apart it is: parts/losses/agreement; attacks: parts/networks/adversarial. Settings: settings.Cotraining.
Beyond the paper, by settings: strong views of one's own, and labels given by averaged networks in the place of JSD (`agreement`).
Differs: remainders of labeled groups are handed out; attacks and clean answers come from the passes that there are anyway, with the batch
statistics of training; attacked images leave no trace in running statistics; sizes of attacks are per pixel and in shares of the range of
values, so that z-scored images bear them; the loss of labeled images is `--loss`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import nll_loss

from smidgen.core.fit import Step, Stream
from smidgen.core.run import Run
from smidgen.data.building import architecture_of, network_of
from smidgen.data.dataset import Dataset
from smidgen.data.pairs import Pair, labeled
from smidgen.data.splits import group_of, shuffled
from smidgen.data.strong import Strong, cut
from smidgen.data.subsets import subsets
from smidgen.data.views import Views, steps_of, unlabeled, weak
from smidgen.methods.semi import settings
from smidgen.parts.losses.agreement import jsd, kl, log_probs, vote
from smidgen.parts.losses.pixels import IGNORED, mean_of, placed
from smidgen.parts.losses.predicted import terms_of
from smidgen.parts.losses.ramps import gaussian_ramp
from smidgen.parts.losses.sums import LossFactory
from smidgen.parts.networks.adversarial import fgsm, input_gradient, moved, statistics_kept, virtual_direction, weights_held
from smidgen.parts.networks.averaging import averaged, decay_at, follow
from smidgen.parts.networks.encoders import EncoderFactory
from smidgen.parts.networks.factories import HeadFactory
from smidgen.parts.networks.network import Network
from smidgen.parts.networks.optimizing import network_optimizer, rate
from smidgen.parts.networks.prediction import Prediction
from smidgen.parts.networks.upsample import to_size
from smidgen.products.peers import Peers, Vote
from smidgen.products.sample import Sample

Mix = Callable[[int, Tensor, Tensor], Tensor]
"""Puts boxes into something of the unlabeled views of one network: number of the network, what it is of, the same of its labeled views."""
PROBE = 0.01
"""Small step of the virtual direction, as share of the range of values: 1e-6 would be lost in 32 bits."""


def cotraining(
    run: Run, settings: settings.Cotraining, data: Dataset, encoder: EncoderFactory, head: HeadFactory, loss: LossFactory
) -> Peers:
    """Train several networks on (partly) different labeled groups and on the same unlabeled images.

    Args:
        run: Trains.
        settings: How.
        data: Images of which some have a mask; classes; groups stay together.
        encoder: Makes the encoders.
        head: Makes the heads.
        loss: What is minimized where there are labels.

    Returns:
        The first network, or one that learned from all (`keep`); all of them and their vote are in `peers`.

    Raises:
        NeedError: No train image has a label, or none is without.
    """
    pairs, samples = labeled(data, None), unlabeled(data)
    groups = shuffled((group_of(pair.sample) for pair in pairs), run.seed, "views")
    overlap = settings.overlap if len(groups) >= settings.networks else 1.0  # fewer groups than networks: all learn from all
    shares = [frozenset(one) for one in subsets(groups, settings.networks, overlap)]
    handed = [[pair for pair in pairs if group_of(pair.sample) in share] for share in shares]
    networks = [network_of(encoder, head, data) for _ in shares]
    strong = Strong.of(settings)
    views = Views(weak(settings, data), encoder.in_channels, strong if settings.strong else None, settings.networks)
    networks = run.fit("train", Cotraining(networks, handed, samples, views, loss, settings)).kept
    names = [str(n + 1) for n in range(settings.networks)]
    if settings.keep == "distilled":
        every = [sample.without_label() for sample in data.train.values()]
        learned = Distillation(network_of(encoder, head, data), networks, every, views, settings)
        networks, names = [run.fit("distill", learned).student, *networks], ["distilled", *names]
    return Peers(networks, architecture_of(encoder, head, data, settings), names)


@dataclass(frozen=True)
class Pass:
    """One network's answer to one batch, from which others are made.

    Args:
        network: Who answered.
        image: What was asked; requires a gradient where it will be attacked.
        predicted: The answer.
        label: Class indices, 255 = ignored.
        low: Smallest value that each image may take.
        high: Largest.
        known: Labels are people's; else they say where the image is.
    """

    network: Network
    image: Float[Tensor, "b c *h"]
    predicted: Prediction
    label: Tensor
    low: Float[Tensor, "b"]
    high: Float[Tensor, "b"]
    known: bool

    @cached_property
    def logs(self) -> Float[Tensor, "b k *i"]:
        """Log-probabilities at the stride of the logits."""
        return log_probs(self.predicted.logits)

    def surprise(self) -> Float[Tensor, ""]:
        """Cross entropy with the labels, or with the most probable classes where there are none; a sum over pixels."""
        if self.known:
            full = log_probs(to_size(self.predicted.logits, self.label.shape[1:]))
            return nll_loss(full, self.label.long(), ignore_index=IGNORED, reduction="sum")
        return nll_loss(self.logs, self.logs.detach().argmax(dim=1), reduction="sum")


class Cotraining:
    """The learner: S networks, one optimizer over all of them, a labeled stream for each and one unlabeled stream.

    Args:
        networks: With different initial weights.
        pairs: Images with labels, for each network.
        samples: Images without, for all.
        views: Prepares both.
        loss: What is minimized where there are labels.
        settings: How.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        pairs: Sequence[Sequence[Pair]],
        samples: Sequence[Sample],
        views: Views,
        loss: LossFactory,
        settings: settings.Cotraining,
    ):
        self.loss, self.settings, self.students = loss, settings, tuple(networks)
        self.teachers = () if settings.agreement == "jsd" else tuple(averaged(one) for one in networks)
        named = {f"network-{n}": one for n, one in enumerate(self.students, 1)} | {
            f"mean-{n}": one for n, one in enumerate(self.teachers, 1)
        }
        self.networks = nn.ModuleDict(named)
        self.optimizers = {"all": network_optimizer(networks, settings)}
        self.streams = {f"labeled-{n}": Stream(own, settings.batch, views.labeled) for n, own in enumerate(pairs, 1)}
        if settings.agreement_weight or settings.diversity_weight:
            self.streams["unlabeled"] = Stream(samples, settings.batch_unlabeled, views.unlabeled)
        self.steps, self.clip = steps_of(settings, samples), settings.clip or None

    @property
    def kept(self) -> tuple[Network, ...]:
        """The networks that are the result: averaged ones, where there are."""
        return self.teachers or self.students

    def schedule(self, progress: float) -> float:
        """Factor on the learning rates."""
        return rate(progress, self.steps, self.settings.warmup, self.settings.power)

    def terms(self, batch: dict, turn: str, at: Step) -> Mapping[str, Tensor]:
        """L_sup of each network, λ_cot L_cot and λ_div L_div (eq. 6); both weights rise (eq. 7), and are exactly 0 at first."""
        s = self.settings
        cot = s.agreement_weight * gaussian_ramp(at.progress, s.ramp[1], s.ramp[0])
        div = s.diversity_weight * gaussian_ramp(at.progress, s.diversity_ramp[1], s.diversity_ramp[0])
        fools = torch.randperm(len(self.students), generator=at.generator)[:2].tolist() if div and at.n % s.every == 0 else []
        few = [batch[f"labeled-{n}"] for n in range(1, len(self.students) + 1)]
        known = [self._asked(n, views, views["image"], n in fools, known=True) for n, views in enumerate(few)]
        terms: dict[str, Tensor] = {}
        for n, one in enumerate(known, 1):
            terms |= terms_of(self.loss, one.predicted, one.label, None, at.progress, f"{n}-")
        if cot or fools:
            seen, mix = self._unlabeled(batch["unlabeled"], few, fools)
            terms |= self._agreement(seen, known, batch["unlabeled"], mix, cot, at) if cot else {}
            if fools:
                pairs = [(one[i], self.students[j]) for one in (known, seen) for i, j in (fools, fools[::-1])]
                terms["diversity"] = div * s.every * torch.stack([self._diversity(fooled, other) for fooled, other in pairs]).mean()
        return terms

    def _asked(self, n: int, views: Mapping[str, Tensor], image: Tensor, attacked: bool, known: bool) -> Pass:
        image = image.detach().requires_grad_() if attacked else image
        return Pass(self.students[n], image, self.students[n](image), views["label"], views["low"], views["high"], known)

    def _unlabeled(self, views: Mapping[str, Tensor], few: Sequence[Mapping[str, Tensor]], fools: Sequence[int]) -> tuple[list[Pass], Mix]:
        """What each network says of the unlabeled images: all of the same view; or each of its own, with the same boxes of each other.

        Where made labels are learned, each view may get a box of a labeled one, too; JSD is for images that are the same.
        """
        count = range(len(self.students))
        if not self.settings.strong:
            return [self._asked(n, views, views["image"], n in fools, known=False) for n in count], lambda n, one, labeled: one
        s, size, device = self.settings, views["label"].shape[1:], views["label"].device
        boxes = cut(len(views["label"]), size, s.cutmix, s.box).to(device)
        paste = s.paste if self.teachers else 0.0
        pasted = [cut(len(views["label"]), size, paste, s.box, len(own["label"])).to(device) for own in few]

        def mix(n: int, one: Tensor, labeled: Tensor) -> Tensor:
            return pasted[n].mix(boxes.mix(one, one), labeled)

        images = [mix(n, views["strong"][:, n], few[n]["strong"][:, 0]) for n in count]
        inside = boxes.mix(views["label"], views["label"])
        return [self._asked(n, {**views, "label": inside}, images[n], n in fools, known=False) for n in count], mix

    def _agreement(
        self, seen: Sequence[Pass], known: Sequence[Pass], views: Mapping[str, Tensor], mix: Mix, weight: float, at: Step
    ) -> dict[str, Tensor]:
        """L_cot: JSD (eq. 2), or the loss with labels of averaged networks."""
        if not self.teachers:
            return {"agreement": weight * agreement(torch.stack([one.logs for one in seen]), seen[0].label)}
        terms: dict[str, Tensor] = {}
        for n, (one, (label, sure)) in enumerate(zip(seen, self._taught(views), strict=True)):
            label, sure = mix(n, label, known[n].label), mix(n, sure, torch.ones_like(known[n].label, dtype=sure.dtype))
            terms |= terms_of(self.loss, one.predicted, label, sure, at.progress, f"{n + 1}-taught-", weight)
        return terms

    @torch.no_grad()
    def _taught(self, views: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
        """For each network the label of each pixel, from the averaged networks that teach it, and 1 where they are sure, else 0."""
        logs = torch.stack([log_probs(to_size(one.eval()(views["image"]).logits, views["label"].shape[1:])) for one in self.teachers])
        found = []
        for n in range(len(self.students)):
            voters = {"cross": [m for m in range(len(logs)) if m != n], "own": [n]}.get(self.settings.agreement, list(range(len(logs))))
            confidence, label = vote(logs[voters]).exp().max(dim=1)
            label = torch.where(views["label"] == IGNORED, views["label"], label.to(views["label"].dtype))
            found.append((label, (confidence >= self.settings.confidence).float()))
        return found

    def _diversity(self, fooled: Pass, other: Network) -> Float[Tensor, ""]:
        """L_div of one pair (eq. 5): the other network is asked about images that fool this one."""
        with statistics_kept(other):
            return diversity(fooled.logs, log_probs(other(self._attacked(fooled)).logits))

    def _attacked(self, one: Pass) -> Float[Tensor, "b c *h"]:
        """Images that fool the network that was asked (eq. 4): against their labels, its own ones, or along its virtual direction."""
        size = one.high - one.low
        if one.known or self.settings.attack == "fgsm":
            return fgsm(one.image, input_gradient(one.surprise(), one.image), self.settings.epsilon * size, one.low, one.high)
        with statistics_kept(one.network), weights_held(one.network):
            direction = virtual_direction(lambda image: one.network(image).logits, one.image, one.logs, PROBE * size)
        return moved(one.image, direction, self.settings.epsilon * size, one.low, one.high)

    def after(self, at: Step) -> None:
        """Averaged networks follow theirs."""
        for teacher, student in zip(self.teachers, self.students, strict=False):
            follow(teacher, student, decay_at(at.n, self.settings.ema))


class Distillation:
    """The learner of one network from what several say together; labels are not looked at.

    Args:
        student: With initial weights.
        voters: Trained.
        samples: Images.
        views: Prepares them; the student sees their strong views, where there are any.
        settings: How.
    """

    def __init__(self, student: Network, voters: Sequence[Network], samples: Sequence[Sample], views: Views, settings: settings.Cotraining):
        self.student, self.voters, self.settings = student, Vote(voters), settings
        self.networks = nn.ModuleDict({"student": student, "voters": self.voters})
        self.optimizers = {"student": network_optimizer([student], settings)}
        self.streams = {"images": Stream(samples, settings.batch + settings.batch_unlabeled, views.unlabeled)}
        self.steps, self.clip = settings.distill_steps, settings.clip or None

    def schedule(self, progress: float) -> float:
        """Factor on the learning rates."""
        return rate(progress, self.steps, self.settings.warmup, self.settings.power)

    def terms(self, batch: dict, turn: str, at: Step) -> Mapping[str, Tensor]:
        """KL(vote || student) over the pixels that lie in the image."""
        views = batch["images"]
        with torch.no_grad():
            target = log_probs(self.voters.eval()(views["image"]).logits)
        found = log_probs(self.student(views["strong"][:, 0] if "strong" in views else views["image"]).logits)
        inside = placed(views["label"] != IGNORED, found.shape[2:], beyond=False)
        return {"distill": mean_of(kl(target, found), inside).mean()}


def agreement(logs: Float[Tensor, "s b k *h"], inside: Tensor) -> Float[Tensor, ""]:
    """L_cot (eq. 2): JSD, averaged over the pixels that lie in the image.

    Args:
        logs: Log-probabilities of all networks.
        inside: 255 beyond the border.
    """
    return mean_of(jsd(logs), placed(inside != IGNORED, logs.shape[3:], beyond=False)).mean()


def diversity(clean: Float[Tensor, "b k *h"], fooled: Float[Tensor, "b k *h"]) -> Float[Tensor, ""]:
    """L_div (eq. 5): KL(clean answer of the network that is fooled || answer of the other one to the image that fools it), over all pixels.

    Args:
        clean: Log-probabilities; no gradient reaches them.
        fooled: Log-probabilities.
    """
    return kl(clean.detach(), fooled).mean()
