"""Soft Dice (Milletari, Navab & Ahmadi, V-Net, 3DV 2016): one minus the overlap of probabilities and label, averaged over classes.

Differs: for several classes, per image; denominators of plain sums by default, `smooth` in both parts.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from smidgen.parts.losses import settings as losses
from smidgen.parts.losses.pixels import IGNORED, compared


def dice(
    settings: losses.Dice,
    logits: Float[Tensor, "b k *h"],
    label: Integer[Tensor, "b *H"],
    confidence: Float[Tensor, "b *H"] | None = None,
    progress: float = 0.0,
) -> Float[Tensor, "b"]:
    """1 - (2 Σ p y + smooth) / (Σ p + Σ y + smooth) per class, averaged over classes.

    Args:
        settings: Which classes, which denominator.
        logits: At any stride; they are upsampled.
        label: Class indices, 255 = ignored.
        confidence: Weight of each pixel in all sums, in [0, 1].
        progress: Of the training, in [0, 1]; unused.

    Returns:
        One value per image in [0, 1]; 0 where nothing is labeled.
    """
    with torch.autocast(logits.device.type, enabled=False):  # a sum over 10⁶ pixels has no room in 16 bits
        logits, label = compared(logits, label)
        seen = (label != IGNORED).float()
        weight = (seen if confidence is None else seen * confidence.float()).flatten(1)[:, None]
        classes = torch.arange(logits.shape[1], device=logits.device)[:, None]
        truth = label.flatten(1)[:, None] == classes
        probs = logits.softmax(dim=1).flatten(2)
        overlap = (weight * probs * truth).sum(dim=2)
        mass = (weight * (probs**2 if settings.squared else probs)).sum(dim=2) + (weight * truth).sum(dim=2)
        cost = 1 - (2 * overlap + settings.smooth) / (mass + settings.smooth)
        counted = truth.any(dim=2) if settings.over == "present" else (seen.flatten(1).amax(dim=1, keepdim=True) > 0).expand_as(cost)
        return (cost * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)
