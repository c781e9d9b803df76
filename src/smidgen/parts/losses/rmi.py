"""Region mutual information (Zhao, Wang, Yang & Cai, NeurIPS 2019): small regions of prediction and label shall tell about each other.

Each place is the vector of the probabilities in its region, and each region of the label likewise. Were both Gaussian, what is left
unknown of the label once the prediction is known would have the covariance M = Σ_y - Σ_yp Σ_p⁻¹ Σ_py; half the logarithm of its
determinant is minimized, per class, beside the cross entropy.
Differs: softmax and its cross entropy where the authors take sigmoids; a constant is added, so that 0 is the least and a class without a
pixel adds 0; images are not mixed. As in the authors' code the matrices are sums, not means, over the places.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Integer
from torch import Tensor

from smidgen.parts.losses import settings as losses
from smidgen.parts.losses.pixels import IGNORED, compared, mean_of

POOLS = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def rmi(
    settings: losses.Rmi,
    logits: Float[Tensor, "b k *h"],
    label: Integer[Tensor, "b *H"],
    confidence: Float[Tensor, "b *H"] | None = None,
    progress: float = 0.0,
) -> Float[Tensor, "b"]:
    """The sum share · cross entropy + (1 - share) · Σ over classes of log det(1 + M / ridge) / 2r, with r places in a region.

    Args:
        settings: Regions, pooling, shares.
        logits: At any stride; they are upsampled.
        label: Class indices, 255 = ignored.
        confidence: Factor of each pixel, in [0, 1]: of its cross entropy, of its probabilities and of its label.
        progress: Of the training, in [0, 1]; unused.

    Returns:
        One value per image; 0 where nothing is labeled.
    """
    with torch.autocast(logits.device.type, enabled=False):
        logits, label = compared(logits, label)
        seen = label != IGNORED
        surprise = F.cross_entropy(logits, label, ignore_index=IGNORED, reduction="none")
        weight = seen.float() if confidence is None else seen * confidence.float()
        classes = torch.arange(logits.shape[1], device=label.device).view(-1, *(1 for _ in label.shape[1:]))
        truth = (label[:, None] == classes) * weight[:, None]
        probs = logits.softmax(dim=1) * weight[:, None]
        steps = [max(1, min(settings.pooling, n // (2 * settings.radius + 1))) for n in label.shape[1:]]
        truth, probs = (regions(POOLS[len(steps)](map, steps), settings.radius) for map in (truth, probs))
        told = unknown(truth, probs, settings.ridge).sum(dim=1).to(logits.dtype)
        return settings.share * mean_of(surprise * weight, seen) + (1 - settings.share) * told


def regions(map: Float[Tensor, "b k *h"], radius: int) -> Float64[Tensor, "b k r n"]:
    """The values around each place that has a whole region; along an axis that is shorter than a region, all values."""
    size: Sequence[int] = map.shape[2:]
    wide = [min(2 * radius + 1, n) for n in size]
    unfolded = map.double()  # determinants of sums over many places have no room in 32 bits
    for axis, width in enumerate(wide, start=2):
        unfolded = unfolded.unfold(axis, width, 1)
    ahead = unfolded.movedim(list(range(2, 2 + len(size))), list(range(-len(size), 0)))
    return ahead.reshape(*map.shape[:2], math.prod(wide), -1)


def unknown(truth: Float64[Tensor, "b k r n"], probs: Float64[Tensor, "b k r n"], ridge: float) -> Float64[Tensor, "b k"]:
    """Half of log det(1 + M / ridge), per place of a region: 0 where the prediction tells all, or where there is nothing to tell.

    Args:
        truth: The label's regions.
        probs: The prediction's regions.
        ridge: Added to the diagonals.
    """
    truth, probs = (one - one.mean(dim=3, keepdim=True) for one in (truth, probs))
    one = torch.eye(truth.shape[2], dtype=truth.dtype, device=truth.device)
    both = truth @ probs.mT
    left = truth @ truth.mT - both @ torch.linalg.solve(probs @ probs.mT + ridge * one, both.mT)
    root = torch.linalg.cholesky(left / ridge + one)
    return root.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1) / truth.shape[2]
