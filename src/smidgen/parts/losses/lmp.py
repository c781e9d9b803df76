"""Loss max-pooling (Rota Bulò, Neuhold & Kontschieder, CVPR 2017): the largest weighted sum of pixel losses that bounded weights allow.

The weights w of an image's n labeled pixels have ‖w‖_p ≤ n^(1/p - 1), the norm of the uniform weights 1/n, and none exceeds what lets
`support` of all pixels share that norm. The largest sum gives the worst pixels the largest weight that is allowed, and the others one that
grows as a power of their loss. By Danskin's theorem the gradient is that of the sum with fixed weights.
Differs: weights are found exactly, by sorting, and per image.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor

from smidgen.parts.losses import settings as losses
from smidgen.parts.losses.pixels import IGNORED, compared


def lmp(
    settings: losses.Lmp,
    logits: Float[Tensor, "b k *h"],
    label: Integer[Tensor, "b *H"],
    confidence: Float[Tensor, "b *H"] | None = None,
    progress: float = 0.0,
) -> Float[Tensor, "b"]:
    """Σ w_i (-log p_i) with the largest weights, per image.

    Args:
        settings: The bounds.
        logits: At any stride; they are upsampled.
        label: Class indices, 255 = ignored.
        confidence: Factor of each pixel's loss, in [0, 1].
        progress: Of the training, in [0, 1]; unused.

    Returns:
        One value per image, never below its mean cross entropy; 0 where nothing is labeled.
    """
    with torch.autocast(logits.device.type, enabled=False):
        logits, label = compared(logits, label)
        surprise = F.cross_entropy(logits, label, ignore_index=IGNORED, reduction="none")  # 0 where ignored
        surprise = (surprise if confidence is None else surprise * confidence.float()).flatten(1)
        count = (label != IGNORED).flatten(1).sum(dim=1)
        weights = largest_weights(surprise.detach(), count, settings.norm, settings.support)
        return (weights * surprise).sum(dim=1) / count.clamp(min=1)


def largest_weights(values: Float[Tensor, "b n"], count: Integer[Tensor, "b"], norm: float, support: float) -> Float[Tensor, "b n"]:
    """Weights of the largest weighted sum, in multiples of 1/n: min(cap, α ℓ^(q - 1)), with Σ w^p = n.

    Args:
        values: Loss of each pixel, 0 or more; what does not count is 0.
        count: n, the pixels that count.
        norm: p.
        support: Share of the pixels that has at least to be weighted.
    """
    dual, cap = norm / (norm - 1), support ** (-1 / norm)
    ordered = values.sort(dim=1, descending=True).values
    most = ordered[:, :1].clamp(min=torch.finfo(values.dtype).tiny)
    power = (ordered / most) ** dual
    below = power.flip(1).cumsum(dim=1).flip(1)  # of a pixel and all that are easier
    capped = torch.arange(values.shape[1], device=values.device)  # so many pixels before this one, all at the cap
    left = (count[:, None] - capped / support).clamp(min=0)  # of Σ w^p = n
    factor = (left / below.clamp(min=torch.finfo(values.dtype).tiny)) ** (1 / norm)
    fits = factor * (ordered / most) ** (dual - 1) <= cap
    fits[:, -1] = True  # where all are alike, rounding decides
    first = fits.to(torch.uint8).argmax(dim=1, keepdim=True)  # the fewest at the cap with which the next one stays below it
    return (factor.gather(1, first) * (values / most) ** (dual - 1)).clamp(max=cap)
