"""Prediction: what a segmentation head answers."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Aux:
    """Logits of an auxiliary head; they are trained with cross entropy beside the main ones.

    Args:
        name: Of its term in the log.
        logits: At a stride of their own.
        weight: Factor of its term.
    """

    name: str
    logits: Float[Tensor, "b k *space"]
    weight: float


@dataclass(frozen=True)
class Prediction:
    """Logits at the head's own stride; whoever wants another size resizes (`upsample.to_size`).

    Args:
        logits: Before softmax.
        aux: Auxiliary logits, none in evaluation.
    """

    logits: Float[Tensor, "b k *space"]
    aux: tuple[Aux, ...] = ()
