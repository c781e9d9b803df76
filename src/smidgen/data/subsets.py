"""Subsets: labeled groups handed out to several networks, some to all of them, the others each to one. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Sequence

from smidgen.core.errors import SettingsError


def subsets(groups: Sequence[str], count: int, overlap: float) -> tuple[tuple[str, ...], ...]:
    """Views of the groups: the first ⌊overlap n⌋ belong to all views, the others are dealt out until none is left.

    Args:
        groups: Patients, videos, single images, in the order in which they are handed out.
        count: How many views there are.
        overlap: Share of groups that all views have, in [0, 1]; 1 = all views are the same.

    Raises:
        SettingsError: A view would get nothing.

    Source: deep co-training (Peng et al., Pattern Recognition 2020); there a remainder that can't be shared evenly is left out.

    Example:
        >>> subsets("abcde", count=2, overlap=0.2)
        (('a', 'b', 'd'), ('a', 'c', 'e'))
    """
    common = math.floor(overlap * len(groups) + 1e-9)
    own = groups[common:]
    views = tuple((*groups[:common], *own[n::count]) for n in range(count))
    if not all(views):
        what = f"{len(groups)} labeled groups can't be shared by {count} networks at an overlap of {overlap:g}"
        raise SettingsError(f"{what}: set overlap = 1, take fewer networks or label more")
    return views
