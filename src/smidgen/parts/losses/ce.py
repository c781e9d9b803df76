"""Cross entropy: how surprising the labels are, averaged over an image's labeled pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor

from smidgen.parts.losses import settings as losses
from smidgen.parts.losses.pixels import IGNORED, compared, mean_of


def ce(
    settings: losses.Ce,
    logits: Float[Tensor, "b k *h"],
    label: Integer[Tensor, "b *H"],
    confidence: Float[Tensor, "b *H"] | None = None,
    progress: float = 0.0,
) -> Float[Tensor, "b"]:
    """Mean of -log p(label) per image.

    Args:
        settings: Smoothing.
        logits: At any stride; they are upsampled.
        label: Class indices, 255 = ignored.
        confidence: Factor of each pixel, in [0, 1]; the sum is still divided by the number of labeled pixels.
        progress: Of the training, in [0, 1]; unused.

    Returns:
        One value per image; 0 where nothing is labeled.
    """
    with torch.autocast(logits.device.type, enabled=False):
        logits, label = compared(logits, label)
        surprise = F.cross_entropy(logits, label, ignore_index=IGNORED, reduction="none", label_smoothing=settings.smoothing)
        return mean_of(surprise if confidence is None else surprise * confidence.float(), label != IGNORED)
