"""What a step of deep co-training costs. Aim: with diversity at most 2.6 times as much as the supervised and the agreement part alone.

Two networks learn from four labeled and four unlabeled slices each. A direct form of diversity (an attack with a pass of its own, a clean
answer with another, then the attacked image) takes 3.3 times as much; passes are reused here. Operations are counted, forward and backward,
and CPU seconds of whole steps of terms and backward pass are measured in turn.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from _records import Question, in_turn, measured, record
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from smidgen.core.fit import Step
from smidgen.data.transforms import Augmentation
from smidgen.data.views import Views
from smidgen.methods.semi import settings
from smidgen.methods.semi.cotraining import Cotraining
from smidgen.parts.losses.sums import LossFactory
from smidgen.parts.networks.encoders import EncoderFactory
from smidgen.parts.networks.factories import HeadFactory
from smidgen.parts.networks.network import Network
from smidgen.parts.networks.settings import Encoder

SIDE, CLASSES, BATCH, ROUNDS, AIM = 64, 4, 4, 5, 2.6
ARMS: dict[str, dict[str, Any]] = {
    "diversity, fgsm": {},
    "diversity, vat": {"attack": "vat"},
    "diversity every second step": {"every": 2},
    "labels of averaged networks, crossed": {"agreement": "cross", "diversity_weight": 0.0},
}

ASKED = Question(
    name="cotraining",
    claim="Diversity by adversarial images costs at most 2.6 times as much as agreement",
    question="What does a step of two networks cost?",
    data="random slices of one channel",
    metric="CPU s",
    baseline="supervised + agreement (JSD)",
    settings={"side": SIDE, "classes": CLASSES, "batch": BATCH, "rounds": ROUNDS, "network": "resunet, width 16", "threads": 1},
    aim=f"operations and time with fgsm at most {AIM} times those of the baseline",
)


def learner(**changed: Any) -> Cotraining:
    """Two networks, ramps at their top; it gets its batches from here."""
    torch.manual_seed(0)
    made = []
    for _ in range(2):
        body = EncoderFactory(Encoder(name="resunet", weights="none", width=16), 1)()
        made.append(Network(body, HeadFactory("point")(body.channels, body.strides, CLASSES)))
    words = {"batch": BATCH, "batch_unlabeled": BATCH, "ramp": (0.0, 0.0), "diversity_ramp": (0.0, 0.0), **changed}
    chosen = settings.Cotraining.model_validate(words)
    found = Cotraining(made, [[], []], [], Views(Augmentation(SIDE), 1), LossFactory("ce"), chosen)
    found.networks.train()
    return found


def batch() -> dict[str, dict[str, Tensor]]:
    """Random labeled slices for both, and unlabeled ones."""
    torch.manual_seed(1)
    limits = {"low": torch.zeros(BATCH), "high": torch.ones(BATCH)}
    shape = BATCH, SIDE, SIDE
    labels = {"labeled-1": CLASSES, "labeled-2": CLASSES, "unlabeled": 1}
    return {
        name: {"image": torch.rand(BATCH, 1, SIDE, SIDE), "label": torch.randint(high, shape).to(torch.uint8), **limits}
        for name, high in labels.items()
    }


def steps(made: Cotraining, given: dict[str, dict[str, Tensor]], count: int) -> None:
    """Terms and gradients of so many steps."""
    for n in range(count):
        sum(made.terms(given, "all", Step(n, 100, torch.Generator().manual_seed(n))).values()).backward()  # pyright: ignore


class Counting(TorchDispatchMode):
    """Counts operations of convolutions and products, forward and backward; torch's own counter can't bear gradients of inputs."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.total += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=found)
        return found


def gflop(made: Cotraining, given: dict[str, dict[str, Tensor]], count: int) -> float:
    """Billions of operations, forward and backward."""
    with Counting() as counter:
        steps(made, given, count)
    return counter.total / 1e9


def compared(changed: dict[str, Any]) -> tuple[list[float], list[float], dict[str, Any]]:
    """An arm beside supervised and agreement; two steps each, so that every second one is among them."""
    base, ours, given = learner(diversity_weight=0.0), learner(**changed), batch()
    counted = {"gflop": round(gflop(ours, given, 2) / 2, 3), "gflop_baseline": round(gflop(base, given, 2) / 2, 3)}
    counted["gflop_ratio"] = round(counted["gflop"] / counted["gflop_baseline"], 3)
    times = in_turn(lambda: steps(base, given, 2), lambda: steps(ours, given, 2), ROUNDS, per=2)
    return *times, counted


def main() -> int:
    """Measure; 0 if the aim is reached."""
    torch.set_num_threads(1)
    parts = [measured(ASKED, name, lambda changed=changed: compared(changed)) for name, changed in ARMS.items()]
    return record(ASKED, parts, reached=parts[0].more["gflop_ratio"] <= AIM and parts[0].ratio["median"] <= AIM)


if __name__ == "__main__":
    sys.exit(main())
