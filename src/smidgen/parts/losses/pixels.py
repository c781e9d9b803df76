"""What all losses do to pixels first and last: bring logits to the label, average over some pixels of each image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Float32, Int64, Integer, Shaped
from torch import Tensor

from smidgen.core.conventions import IGNORED
from smidgen.parts.networks.upsample import stride_of, to_size

__all__ = ["IGNORED", "compared", "mean_of", "placed"]


def compared(logits: Float[Tensor, "b k *h"], label: Integer[Tensor, "b *H"]) -> tuple[Float32[Tensor, "b k *H"], Int64[Tensor, "b *H"]]:
    """Logits in 32 bits at the label's size, and the label as indices."""
    return to_size(logits.float(), label.shape[1:]), label.long()


def placed(map: Shaped[Tensor, "b *H"], places: Sequence[int], beyond: int | float) -> Shaped[Tensor, "b *h"]:
    """A label or confidence at the places of coarser logits: the pixel nearest to the middle of each place.

    Args:
        map: One value per pixel.
        places: Size of the logits.
        beyond: Value of places that lie outside of the image.
    """
    for axis, (many, wanted) in enumerate(zip(places, map.shape[1:], strict=True), start=1):
        stride = stride_of(many, wanted)
        first = torch.arange(many, device=map.device) * stride
        map = map.index_select(axis, (first + stride // 2).clamp(max=wanted - 1))
        inside = (first < wanted).view(-1, *(1 for _ in map.shape[axis + 1 :]))
        map = torch.where(inside, map, beyond)
    return map


def mean_of(values: Float[Tensor, "b *H"], chosen: Bool[Tensor, "b *H"]) -> Float[Tensor, "b"]:
    """Per image, the mean over the chosen pixels; 0 where there are none."""
    return (values * chosen).flatten(1).sum(dim=1) / chosen.flatten(1).sum(dim=1).clamp(min=1)
