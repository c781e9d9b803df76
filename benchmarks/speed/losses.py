"""What losses cost on a CPU. Aims: `lal` in at most twice the memory of cross entropy, and in at most 5 % of a training step.

21 classes on 321 x 321 pixels, one image, logits at the label's resolution, forwards and backwards, against PyTorch's cross entropy: `lal`
with one, two and three pixels around each center, its variants, the same written plainly (unfolded windows, gradients by autograd), and the
losses it is compared with. Then a training step of the preset small (8 views of 288 pixels, 13 classes): the loss at the logits' stride of
4, against the rest of the step.
Memory is the most that a call holds at once beside logits and label, from the allocator's own log.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from _memory import peak_bytes
from _records import Question, in_turn, measured, record
from torch import Tensor

from smidgen.parts.losses.settings import Lal
from smidgen.parts.losses.sums import LossFactory
from smidgen.parts.networks.encoders import EncoderFactory
from smidgen.parts.networks.factories import HeadFactory
from smidgen.parts.networks.network import Network
from smidgen.parts.networks.settings import Encoder

CLASSES, SIDE, ROUNDS = 21, 321, 9
STEP = {"classes": 13, "side": 288, "batch": 8, "rounds": 5}
MEMORY_AIM, STEP_AIM = 2.0, 0.05
IN_A_STEP = "in a training step"
CASES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "lal, r = 1": ("lal", {}),
    "lal, r = 2": ("lal", {"radius": 2}),
    "lal, r = 3": ("lal", {"radius": 3}),
    "lal, r = 0": ("lal", {"radius": 0}),
    "lal, r = 1, stride 2": ("lal", {"stride": 2}),
    "lal, r = 1, probabilities": ("lal", {"merge": "prob"}),
    "lal, r = 1, all classes": ("lal", {"anchor": "all"}),
    "lal, r = 1, written plainly": ("plain", {}),
    "ce": ("ce", {}),
    "dice": ("dice", {}),
    "lmp": ("lmp", {}),
    "rmi": ("rmi", {}),
}

ASKED = Question(
    name="losses",
    claim="A loss that looks at regions, for little more than one that does not",
    question="What does a loss cost, forwards and backwards?",
    data="random logits, labels in patches",
    metric="CPU s",
    baseline="cross entropy of PyTorch",
    settings={"classes": CLASSES, "side": SIDE, "rounds": ROUNDS, "threads": 1, "step": STEP},
    aim="memory of lal at most twice that of cross entropy; at most 5 % of a training step",
)


def scene(batch: int, classes: int, side: int) -> Tensor:
    """Labels in patches of several sizes, a few of them ignored."""
    noise = torch.Generator().manual_seed(0)
    coarse = torch.randint(classes, (batch, 1, 8, 8), generator=noise).float()
    fine = torch.where(torch.rand(batch, 1, 40, 40, generator=noise) < 0.05, 255.0, F.interpolate(coarse, (40, 40)))
    return F.interpolate(fine, (side, side))[:, 0].long()


def plain(logits: Tensor, label: Tensor) -> Tensor:
    """The locally adaptive loss of 3 x 3 windows as its definition reads."""
    (b, k, h, w), none = logits.shape, 255
    gain = torch.tensor([0.6065307] * 4 + [1.0] + [0.6065307] * 4)
    vectors = F.unfold(logits, 3, padding=1).view(b, k, 9, h * w)
    labels = F.unfold(F.pad(label[:, None].float(), (1, 1, 1, 1), value=none), 3).view(b, 9, h * w)
    chosen = (labels == label.view(b, 1, -1)) & (label.view(b, 1, -1) != none)
    weight = chosen * gain[:, None]
    mean = (vectors * weight[:, None]).sum(dim=2) / weight.sum(dim=1, keepdim=True).clamp(min=1e-6)
    return F.cross_entropy(mean, label.view(b, -1), ignore_index=none)


def both_ways(logits: Tensor, value: Callable[[], Tensor]) -> Callable[[], None]:
    """Value and gradient."""

    def work() -> None:
        logits.grad = None
        value().backward()

    return work


def loss(name: str, words: Mapping[str, Any], logits: Tensor, label: Tensor) -> Callable[[], None]:
    """One of ours, at the end of a training, when the exponent has risen."""
    if name == "plain":
        return both_ways(logits, lambda: plain(logits, label))
    made = LossFactory(name, {"lal": Lal(**words)} if name == "lal" else {})
    return both_ways(logits, lambda: made(logits, label, None, 1.0).sum())


def peak_mib(logits: Tensor, work: Callable[[], None]) -> float:
    """Most memory that a call holds beyond what is there already."""
    work()
    logits.grad = None  # else its end would count as memory given back
    return peak_bytes(work) / 2**20


def compared(name: str, words: Mapping[str, Any]) -> tuple[Sequence[float], Sequence[float], dict[str, Any]]:
    """CPU seconds of PyTorch's cross entropy and of a loss, and how much memory it takes."""
    logits, label = torch.randn(1, CLASSES, SIDE, SIDE, requires_grad=True), scene(1, CLASSES, SIDE)
    base = both_ways(logits, lambda: F.cross_entropy(logits, label, ignore_index=255))
    ours = loss(name, words, logits, label)
    theirs, held = peak_mib(logits, base), peak_mib(logits, ours)
    return *in_turn(base, ours, ROUNDS), {"mib": round(held, 1), "memory_ratio": round(held / theirs, 2)}


def in_a_step() -> tuple[Sequence[float], Sequence[float], dict[str, Any]]:
    """CPU seconds of a step of the preset small without its loss, and of `lal` at its logits."""
    torch.manual_seed(0)
    batch, classes, side, rounds = (STEP[word] for word in ("batch", "classes", "side", "rounds"))
    encoder = EncoderFactory(Encoder(weights="none", frozen=3))()
    network = Network(encoder, HeadFactory("fpn")(encoder.channels, encoder.strides, classes)).train()
    images, label = torch.rand(batch, 3, side, side), scene(batch, classes, side)
    logits = network(images).logits.detach().requires_grad_()
    pull = torch.randn_like(logits) * 1e-3
    step, ours = in_turn(lambda: network(images).logits.backward(pull), loss("lal", {}, logits, label), rounds)
    return step, ours, {"logits": list(logits.shape)}


def main() -> int:
    """Measure; 0 if the aims are reached."""
    torch.set_num_threads(1)
    parts = [measured(ASKED, name, lambda case=case: compared(*case)) for name, case in CASES.items()]
    parts.append(measured(ASKED, IN_A_STEP, in_a_step))
    light = parts[0].more["memory_ratio"] <= MEMORY_AIM
    return record(ASKED, parts, reached=light and statistics.median(parts[-1].method) <= STEP_AIM * statistics.median(parts[-1].baseline))


if __name__ == "__main__":
    sys.exit(main())
