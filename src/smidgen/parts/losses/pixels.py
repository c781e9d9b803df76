"""What all losses do to pixels first and last: bring logits to the label, average over some pixels of each image."""

from __future__ import annotations

from jaxtyping import Bool, Float, Float32, Int64, Integer
from torch import Tensor

from smidgen.core.conventions import IGNORED
from smidgen.parts.networks.upsample import to_size

__all__ = ["IGNORED", "compared", "mean_of"]


def compared(logits: Float[Tensor, "b k *h"], label: Integer[Tensor, "b *H"]) -> tuple[Float32[Tensor, "b k *H"], Int64[Tensor, "b *H"]]:
    """Logits in 32 bits at the label's size, and the label as indices."""
    return to_size(logits.float(), label.shape[1:]), label.long()


def mean_of(values: Float[Tensor, "b *H"], chosen: Bool[Tensor, "b *H"]) -> Float[Tensor, "b"]:
    """Per image, the mean over the chosen pixels; 0 where there are none."""
    return (values * chosen).flatten(1).sum(dim=1) / chosen.flatten(1).sum(dim=1).clamp(min=1)
