"""Ramps: terms that rest while networks know little, and grow with the training."""

from __future__ import annotations

import math


def gaussian_ramp(t: float | int, end: float | int, begin: float | int = 0.0) -> float:
    """exp(-5 (1 - (t - begin) / (end - begin))²), exactly 0 up to `begin` and 1 from `end` on; 1 throughout where both are 0.

    Args:
        t: Where the training stands: epochs, steps or its progress, as `begin` and `end`.
        end: When the ramp is at its top.
        begin: When it starts to rise.

    Source: Laine & Aila, ICLR 2017; its start from deep co-training (Peng et al., Pattern Recognition 2020, eq. 7).

    Example:
        >>> [round(0.5 * gaussian_ramp(t, 50), 6) for t in (0, 1, 25, 50)]
        [0.0, 0.004107, 0.143252, 0.5]
    """
    if t >= end:
        return 1.0
    return 0.0 if t <= begin else math.exp(-5 * (1 - (t - begin) / (end - begin)) ** 2)
