"""Affinities of places under edges that are being learned: the same as in random_walk, with gradients (IRN, Ahn et al., CVPR 2019)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from smidgen.parts.imaging.random_walk import Path


def ends(maps: Shaped[Tensor, "b h w"], path: Path) -> tuple[Shaped[Tensor, "b i j"], Shaped[Tensor, "b i j"]]:
    """Values at the first and the second end of all pairs that have this offset."""
    size = (maps.shape[1], maps.shape[2])
    (rows, columns), (other_rows, other_columns) = path.window(size, (0, 0)), path.window(size, path.offset)
    return maps[:, rows, columns], maps[:, other_rows, other_columns]


def strongest_edges(edges: Float[Tensor, "b h w"], path: Path) -> Float[Tensor, "b i j"]:
    """The strongest edge on the path between all pairs that have this offset; affinity = 1 - this (IRN).

    The gradient reaches one place per pair: the one where the edge is strongest.
    """
    windows = path.windows((edges.shape[1], edges.shape[2]))
    # max along a dimension keeps one index per pair for its gradient; amax, or a chain of maxima, would keep the whole stack
    return torch.stack([edges[:, rows, columns] for rows, columns in windows]).max(dim=0).values
