"""Eleven learners, small enough to read at once: five shapes that methods have, and six that broke an earlier training loop.

Each is a class without arguments; its networks come from torch's global generator, as a method's do.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import cross_entropy, log_softmax, mse_loss, one_hot, softmax

from smidgen.core.fit import Step, Stream

SIZE, CLASSES, STEPS = 12, 3, 12
Terms = dict[str, Tensor]


def network(out: int = CLASSES, channels: int = 3, norm: type[nn.Module] | None = None) -> nn.Sequential:
    middle = norm(8) if norm else nn.GroupNorm(2, 8)
    return nn.Sequential(nn.Conv2d(channels, 8, 3, padding=1), middle, nn.ReLU(), nn.Conv2d(8, out, 3, padding=1))


def codes(label: Tensor) -> Tensor:
    return one_hot(label, CLASSES).movedim(-1, -3).float()


def scenes(count: int, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Images whose color is their label, and some noise."""
    random = torch.Generator().manual_seed(seed)
    labels = [torch.randint(CLASSES, (SIZE, SIZE), generator=random) for _ in range(count)]
    return [(0.7 * codes(label) + 0.1 * torch.rand(3, SIZE, SIZE, generator=random), label) for label in labels]


def labeled(scene: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    image, label = scene
    if torch.rand(()) < 0.5:
        image, label = image.flip(-1), label.flip(-1)
    return {"image": image + 0.05 * torch.randn(image.shape), "label": label}


def two_views(scene: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    return {"weak": scene[0], "strong": scene[0] + 0.2 * torch.randn(scene[0].shape)}


# ---------------------------------------------------------------- five shapes


class Supervised:
    def __init__(self):
        self.networks = nn.ModuleDict({"net": network()})
        self.optimizers = {"all": torch.optim.SGD(self.networks.parameters(), 0.1, momentum=0.9)}
        self.streams = {"labeled": Stream(scenes(20), 8, labeled)}
        self.steps = STEPS

    def schedule(self, progress: float) -> float:
        return (1 - progress) ** 0.9

    def terms(self, batch: dict, turn: str, at: Step) -> Terms:
        return {"ce": cross_entropy(self.networks["net"](batch["labeled"]["image"]), batch["labeled"]["label"])}


class AdversarialPair:
    """Label -> image. The painted image is made once a step; the judge sees it every second step."""

    clip = 1.0

    def __init__(self):
        self.networks = nn.ModuleDict({"paint": network(3, CLASSES), "judge": network(1, 3 + CLASSES)})
        self.optimizers = {
            name: torch.optim.Adam(self.networks[name].parameters(), 2e-3, betas=(0.5, 0.999)) for name in ("paint", "judge")
        }
        self.streams = {"pairs": Stream(scenes(20), 8, labeled)}
        self.steps = STEPS

    def judged(self, image: Tensor, mask: Tensor) -> Tensor:
        return self.networks["judge"](torch.cat([image, mask], dim=1))

    def terms(self, batch: dict, turn: str, at: Step) -> Terms:
        image, mask = batch["pairs"]["image"], codes(batch["pairs"]["label"])
        if turn == "paint":
            batch["painted"] = painted = self.networks["paint"](mask)
            score = self.judged(painted, mask)
            return {"fool": bce(score, torch.ones_like(score)), "l1": 10 * (painted - image).abs().mean()}
        if at.n % 2:
            return {}
        false, true = self.judged(batch["painted"].detach(), mask), self.judged(image, mask)
        return {"painted": bce(false, torch.zeros_like(false)), "real": bce(true, torch.ones_like(true))}


class MeanTeacher:
    """A student on two streams, and its moving average."""

    def __init__(self):
        student = network()
        self.networks = nn.ModuleDict({"student": student, "teacher": copy.deepcopy(student)})
        self.optimizers = {"student": torch.optim.SGD(student.parameters(), 0.1, momentum=0.9)}
        self.streams = {"labeled": Stream(scenes(6), 4, labeled), "unlabeled": Stream(scenes(30, seed=1), 8, two_views)}
        self.steps = STEPS

    def terms(self, batch: dict, turn: str, at: Step) -> Terms:
        student, teacher = self.networks["student"], self.networks["teacher"]
        probs_student = softmax(student(batch["unlabeled"]["strong"]), dim=1)
        probs_teacher = softmax(teacher(batch["unlabeled"]["weak"]), dim=1)
        ce = cross_entropy(student(batch["labeled"]["image"]), batch["labeled"]["label"])
        return {"ce": ce, "agree": 0.5 * at.progress * mse_loss(probs_student, probs_teacher)}

    def after(self, at: Step) -> None:
        for mean, value in zip(self.networks["teacher"].parameters(), self.networks["student"].parameters(), strict=True):
            mean.lerp_(value, 1 - min(0.99, (at.n + 1) / (at.n + 10)))


class CoTraining:
    """Three networks on four streams; they agree on unlabeled images and resist each other's adversarial inputs."""

    norm: type[nn.Module] | None = None

    def __init__(self):
        self.networks = nn.ModuleDict({str(i): network(norm=self.norm) for i in range(3)})
        self.optimizers = {"all": torch.optim.Adam(self.networks.parameters(), 1e-2)}
        self.streams = {f"labeled-{i}": Stream(scenes(8, seed=i), 4, labeled) for i in range(3)}
        self.streams["unlabeled"] = Stream(scenes(30, seed=9), 8, two_views)
        self.steps = STEPS

    def terms(self, batch: dict, turn: str, at: Step) -> Terms:
        nets = list(self.networks.values())
        ce = torch.stack([cross_entropy(net(batch[f"labeled-{i}"]["image"]), batch[f"labeled-{i}"]["label"]) for i, net in enumerate(nets)])
        logs = torch.stack([log_softmax(net(batch["unlabeled"]["weak"]), dim=1) for net in nets])
        mixed = logs.logsumexp(dim=0) - torch.tensor(3.0).log()
        i, j = torch.randperm(3, generator=at.generator)[:2].tolist()
        image, label = batch[f"labeled-{i}"]["image"].clone().requires_grad_(), batch[f"labeled-{i}"]["label"]
        (gradient,) = torch.autograd.grad(cross_entropy(nets[i](image), label), image)
        target = softmax(nets[i](image.detach()), dim=1).detach()
        moved = log_softmax(nets[j](image.detach() + 0.03 * gradient.sign()), dim=1)
        return {
            "ce": ce.sum(),
            "agree": 0.5 * (logs.exp() * (logs - mixed)).sum(dim=2).mean(),
            "differ": 0.05 * (target * (target.clamp_min(1e-8).log() - moved)).sum(dim=1).mean(),
        }


def by_theme(random: Generator) -> Sequence[int]:
    """Pairs that share a theme, every image once."""
    return [i for first in torch.randperm(10, generator=random).tolist() for i in (first, first + 10)]


class Groups(Supervised):
    """A stream in groups: whoever shares a theme shares a batch."""

    def __init__(self):
        super().__init__()
        self.streams = {"labeled": Stream(scenes(20), 8, labeled, by_theme)}


# ---------------------------------------------------------------- six awkward ones


class TrainedStatistics(CoTraining):
    """BatchNorm in training mode under several forwards a step."""

    norm = nn.BatchNorm2d


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.first, self.second = network(8), nn.Conv2d(8, CLASSES, 1), nn.Conv2d(8, 1, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(image)
        return self.first(features), self.second(features)

    def only_first(self, image: Tensor) -> Tensor:
        return self.first(self.body(image))


class SometimesUnused(Supervised):
    """A head that some steps use, and then some processes only: no such label in their share."""

    def __init__(self):
        super().__init__()
        self.networks = nn.ModuleDict({"net": TwoHeads()})
        self.optimizers = {"all": torch.optim.SGD(self.networks.parameters(), 0.05)}

    def terms(self, batch: dict, turn: str, at: Step) -> Terms:
        logits, other = self.networks["net"](batch["labeled"]["image"])
        terms = {"ce": cross_entropy(logits, batch["labeled"]["label"])}
        return terms | ({"other": other.square().mean()} if batch["labeled"]["label"][0, 0, 0] == 1 else {})


class KeptReference(Supervised):
    """Calls its network by a reference of its own."""

    def __init__(self):
        super().__init__()
        self.net = self.networks["net"]

    def terms(self, batch: dict, turn: str, at: Step) -> Terms:
        return {"ce": cross_entropy(self.net(batch["labeled"]["image"]), batch["labeled"]["label"])}


class OtherMethod(SometimesUnused):
    """Calls a method of its network, not the network."""

    def terms(self, batch: dict, turn: str, at: Step) -> Terms:
        return {"ce": cross_entropy(self.networks["net"].only_first(batch["labeled"]["image"]), batch["labeled"]["label"])}


class GradientPenalty(AdversarialPair):
    """A term that is made of gradients."""

    def terms(self, batch: dict, turn: str, at: Step) -> Terms:
        terms = super().terms(batch, turn, at)
        if turn == "judge" and terms:
            image = batch["pairs"]["image"].clone().requires_grad_()
            (gradient,) = torch.autograd.grad(self.judged(image, codes(batch["pairs"]["label"])).sum(), image, create_graph=True)
            terms["penalty"] = gradient.square().sum(dim=(1, 2, 3)).mean()
        return terms


class FrozenAtFirst(Supervised):
    """A first layer that rests for some steps."""

    def terms(self, batch: dict, turn: str, at: Step) -> Terms:
        self.networks["net"][0].requires_grad_(at.n >= 4)
        return super().terms(batch, turn, at)


SHAPES = (Supervised, AdversarialPair, MeanTeacher, CoTraining, Groups)
AWKWARD = (TrainedStatistics, SometimesUnused, KeptReference, OtherMethod, GradientPenalty, FrozenAtFirst)
LEARNERS = SHAPES + AWKWARD
PER_PROCESS = (TrainedStatistics, SometimesUnused)
"""Depend on what shares a process: batch statistics, and terms that exist on one process only."""
