"""Balanced cross entropy (DSRG, Huang et al., CVPR 2018, eq. 1): background and objects averaged apart, then added.

Small objects weigh as much as the background around them. Source: AdvCAM's segmentation networks are trained with it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor

from smidgen.parts.losses import settings as losses
from smidgen.parts.losses.pixels import IGNORED, compared, mean_of


def balanced(
    settings: losses.Balanced,
    logits: Float[Tensor, "b k *h"],
    label: Integer[Tensor, "b *H"],
    confidence: Float[Tensor, "b *H"] | None = None,
    progress: float = 0.0,
) -> Float[Tensor, "b"]:
    """Mean of -log p over background pixels plus mean of -log p over all object pixels, per image.

    Args:
        settings: Which class is background.
        logits: At any stride; they are upsampled.
        label: Class indices, 255 = ignored.
        confidence: Factor of each pixel, in [0, 1]; the sums are still divided by the numbers of pixels.
        progress: Of the training, in [0, 1]; unused.

    Returns:
        One value per image; a half without pixels adds 0.
    """
    with torch.autocast(logits.device.type, enabled=False):
        logits, label = compared(logits, label)
        surprise = F.cross_entropy(logits, label, ignore_index=IGNORED, reduction="none")
        surprise = surprise if confidence is None else surprise * confidence.float()
        background = label == settings.background
        return mean_of(surprise, background) + mean_of(surprise, ~background & (label != IGNORED))
