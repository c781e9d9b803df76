"""Logits at a head's stride brought to the size of the image, in 2D and 3D."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

MODES = {3: "linear", 4: "bilinear", 5: "trilinear"}


def to_size(logits: Float[Tensor, "b k *h"], size: Sequence[int]) -> Float[Tensor, "b k *H"]:
    """(Bi-, tri-)linear upsampling by the stride, then the part that the image covers.

    A map of ceil(size / stride) places covers a little more than the image where the stride does not divide the size; stretching it onto
    the image would shift it by up to a stride. The stride is the power of two that leads from one size to the other.
    """
    size = tuple(size)
    if tuple(logits.shape[2:]) == size:
        return logits
    covered = [_covered(places, wanted) for places, wanted in zip(logits.shape[2:], size, strict=True)]
    full = F.interpolate(logits, size=covered, mode=MODES[logits.ndim], align_corners=False)
    return full[(..., *(slice(0, wanted) for wanted in size))]


def stride_of(places: int, wanted: int) -> int:
    """The power of two that leads from the places of a map to the pixels of an image, along one axis."""
    return 1 if wanted <= places else 2 ** math.ceil(math.log2(wanted / places))


def _covered(places: int, wanted: int) -> int:
    return min(places, wanted) * stride_of(places, wanted)
