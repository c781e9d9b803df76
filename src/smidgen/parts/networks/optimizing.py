"""How weights move: the optimizer of a network's parts, and the course of the learning rates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Protocol, runtime_checkable

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from smidgen.parts.networks.network import Network


@runtime_checkable
class Moving(Protocol):
    """Settings of whoever trains."""

    @property
    def optimizer(self) -> Literal["sgd", "adamw"]:
        """SGD with momentum, or AdamW."""
        ...

    @property
    def momentum(self) -> float:
        """Momentum of SGD; AdamW uses its own."""
        ...

    @property
    def weight_decay(self) -> float:
        """Pull of the weights towards zero."""
        ...


def rate(progress: float, steps: int, warmup: int, power: float) -> float:
    """Factor on the learning rates: a polynomial fall, and in the first steps an even rise.

    Args:
        progress: Share of the steps that are done, in [0, 1).
        steps: All steps.
        warmup: Steps of the rise.
        power: Of the fall; 1 = a straight line.
    """
    risen = min(1.0, (progress * steps + 1) / warmup) if warmup else 1.0
    return risen * (1 - progress) ** power


@runtime_checkable
class Rates(Moving, Protocol):
    """Settings of whoever trains encoders and heads."""

    @property
    def lr_encoder(self) -> float:
        """Learning rate of the encoder."""
        ...

    @property
    def lr_head(self) -> float:
        """Learning rate of the head."""
        ...


def network_optimizer(networks: Iterable[Network], settings: Rates) -> Optimizer:
    """One optimizer for networks, whose encoders and heads have a learning rate each.

    Args:
        networks: Of encoder and head.
        settings: Kind, momentum, weight decay, learning rates.
    """
    return optimizer([part for one in networks for part in ((one.encoder, settings.lr_encoder), (one.head, settings.lr_head))], settings)


def optimizer(parts: Iterable[tuple[nn.Module, float]], settings: Moving) -> Optimizer:
    """One optimizer for modules with a learning rate each; what is frozen stays out.

    Args:
        parts: Modules with their learning rates.
        settings: Kind, momentum, weight decay.
    """
    groups = [{"params": [p for p in module.parameters() if p.requires_grad], "lr": lr} for module, lr in parts]
    groups = [group for group in groups if group["params"]]
    if settings.optimizer == "adamw":
        return AdamW(groups, weight_decay=settings.weight_decay)
    return SGD(groups, momentum=settings.momentum, weight_decay=settings.weight_decay)
