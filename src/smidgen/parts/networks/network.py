"""Network: encoder and head joined, for images of any size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from smidgen.parts.networks.encoders import Encoder
from smidgen.parts.networks.prediction import Prediction


class Network(nn.Module):
    """A segmentation network.

    Args:
        encoder: Gives the pyramid of features.
        head: Turns it into a Prediction; it has a `stride`.
    """

    def __init__(self, encoder: Encoder, head: nn.Module):
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, image: Float[Tensor, "b c *space"]) -> Prediction:
        """Logits at the head's stride: ceil(size / stride) places.

        The image is continued behind the end of each axis to a multiple of what the encoder asks for, by its last row, column, slice.

        Args:
            image: Values in [0, 1], or z-scored.
        """
        padded, size = self._continued(image), tuple(image.shape[2:])
        whole = tuple(padded.shape[2:])
        found: Prediction = self.head(self.encoder(padded), whole)
        aux = tuple(replace(one, logits=_cropped(one.logits, whole, size)) for one in found.aux)
        return Prediction(_cropped(found.logits, whole, size), aux)

    def regions(self, image: Float[Tensor, "b c *space"]) -> tuple[Tensor, ...] | None:
        """Where the head saw each class, and from which classes each place drew (see heads/ocr.py); None where it does not work so.

        Args:
            image: Values in [0, 1].
        """
        if not hasattr(self.head, "regions"):
            return None
        padded = self._continued(image)
        found = self.head.regions(self.encoder(padded))  # pyright: ignore[reportCallIssue]
        return None if found is None else tuple(_cropped(one, tuple(padded.shape[2:]), tuple(image.shape[2:])) for one in found)

    def _continued(self, image: Tensor) -> Tensor:
        """The image, continued to a multiple of what the encoder asks for."""
        missing = [-n % self.encoder.multiple for n in image.shape[2:]]
        return F.pad(image, [side for n in reversed(missing) for side in (0, n)], mode="replicate") if any(missing) else image


def _cropped(logits: Tensor, whole: Sequence[int], size: Sequence[int]) -> Tensor:
    """Leave out the places that see nothing but the continuation."""
    parts = (slice(0, math.ceil(n * places / all)) for n, places, all in zip(size, logits.shape[2:], whole, strict=True))
    return logits[(..., *parts)]
