"""The terms of one prediction: the loss of its logits, and cross entropy of what the head says on the way."""

from __future__ import annotations

from jaxtyping import Float, Integer
from torch import Tensor

from smidgen.parts.losses.ce import ce
from smidgen.parts.losses.settings import Ce
from smidgen.parts.losses.sums import LossFactory, mean_over_labeled
from smidgen.parts.networks.prediction import Prediction


def terms_of(
    loss: LossFactory,
    predicted: Prediction,
    label: Integer[Tensor, "b *H"],
    confidence: Float[Tensor, "b *H"] | None = None,
    progress: float = 0.0,
    prefix: str = "",
    weight: float = 1.0,
) -> dict[str, Tensor]:
    """Named terms of one prediction, as learners hand them over.

    Args:
        loss: What is minimized.
        predicted: Logits, and auxiliary ones.
        label: Class indices, 255 = ignored.
        confidence: Of each pixel, in [0, 1]; the mean is still over all labeled pixels.
        progress: Of the training, in [0, 1].
        prefix: Of the names.
        weight: Factor of all.
    """
    label = label.long()
    terms = {f"{prefix}{loss.expression}": weight * mean_over_labeled(loss(predicted.logits, label, confidence, progress), label)}
    for aux in predicted.aux:
        surprise = mean_over_labeled(ce(Ce(), aux.logits, label, confidence, progress), label)
        terms[f"{prefix}aux-{aux.name}"] = weight * aux.weight * surprise
    return terms
