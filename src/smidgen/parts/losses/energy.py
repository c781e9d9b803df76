"""Energy of a dense CRF cut to windows (gated CRF, Obukhov et al., 2019): places that look alike cost where they are predicted unlike.

It needs an image and no label, so that ten strokes teach what lies between them. Any number of spatial axes.
Differs: places are those of the logits; every pair within a window is looked at once; colors count in deviations of the data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from smidgen.parts.losses.pixels import placed
from smidgen.parts.networks.upsample import stride_of

WIDTH = 6.0
"""Deviation of the distance, pixels (Obukhov et al.)."""
COLOR = 0.4
"""Deviation of the color, in deviations of the data: a tenth of a picture's range (Obukhov et al.)."""
MOST = {1: 5, 2: 5, 3: 2}
"""Places from the center of a window to its rim, by spatial axes (Obukhov et al.: 5)."""
POOLS = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}


def pairwise_energy(
    logits: Float[Tensor, "b k *h"], image: Float[Tensor, "b c *H"], spread: Float[Tensor, "b"], inside: Bool[Tensor, "b *H"]
) -> Float[Tensor, "b"]:
    """Σ w_ij (1 - Σ_k p_i p_j) over pairs of places, w = exp(-distance² / 2 WIDTH² - color² / 2 COLOR²), divided by the number of places.

    Args:
        logits: At any stride; no gradient reaches the image.
        image: What was seen.
        spread: Standard deviation of each image's data.
        inside: Where there is image; other places cost nothing.

    Returns:
        One value per image: 0 where all places have one class.
    """
    with torch.autocast(logits.device.type, enabled=False):
        probs, size = logits.float().softmax(dim=1), logits.shape[2:]
        scale = COLOR * spread.float().view(-1, *(1,) * (image.ndim - 1)) * (image.shape[1] / 3) ** 0.5
        colors = (POOLS[len(size)](image.float(), size) / scale).detach()
        valid = placed(inside, size, beyond=0).float()
        strides = [stride_of(places, pixels) for places, pixels in zip(size, image.shape[2:], strict=True)]
        total = torch.zeros(len(probs), device=probs.device)
        for step, here, there in _pairs(size, strides):
            far = sum((n * stride) ** 2 for n, stride in zip(step, strides, strict=True))
            apart = (colors[:, :, *here] - colors[:, :, *there]).square().sum(dim=1)
            weight = torch.exp(-far / (2 * WIDTH**2) - apart / 2) * valid[:, *here] * valid[:, *there]
            unlike = 1 - (probs[:, :, *here] * probs[:, :, *there]).sum(dim=1)
            total = total + 2 * (weight * unlike).flatten(1).sum(dim=1)
        return total / valid.flatten(1).sum(dim=1).clamp(min=1)


def _pairs(size: Sequence[int], strides: Sequence[int]) -> Iterator[tuple[tuple[int, ...], list[Any], list[Any]]]:
    """Half of the steps to neighbors in a window, and the places from which and to which each leads."""
    reach = [min(MOST[len(size)], n - 1, math.ceil(3 * WIDTH / stride)) for n, stride in zip(size, strides, strict=True)]
    for step in product(*(range(-n, n + 1) for n in reach)):
        if step > (0,) * len(step):  # the others are the same pairs, seen from the other end
            here = [slice(max(0, -n), side - max(0, n)) for n, side in zip(step, size, strict=True)]
            there = [slice(max(0, n), side - max(0, -n)) for n, side in zip(step, size, strict=True)]
            yield step, here, there
