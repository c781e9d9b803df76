"""TagClassifier: what a classifier of image tags offers to those who ask it where it looked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32
from torch import Tensor, nn


@runtime_checkable
class TagClassifier(Protocol):
    """A trained multi-label classifier whose logits can be asked per place (INTERFACES, section 3).

    It is frozen and in evaluation mode: nothing that is done with it changes it. Logit j speaks of the class with label value `ids[j]`.
    """

    key: str
    ids: tuple[int, ...]
    points: tuple[str, ...]
    """Where a climb may start: "pixels", then named feature maps on the way to the last one."""
    stride: int
    """Pixels per place of `class_maps`."""
    head_weights: Float[Tensor, "k c"] | None
    """Weights of the last, linear layer; None where the head is not linear."""

    def prepare(self, image: Float32[np.ndarray, "c h w"]) -> Float[Tensor, "c h w"]:
        """The tensor that `class_maps` takes: values in [0, 1], channels as the encoder wants them."""
        ...

    def features(self, x: Float[Tensor, "b ..."], at: str = "pixels", to: str | None = None) -> Float[Tensor, "b c h w"]:
        """From the activations at one point to those at another (None: the last feature map)."""
        ...

    def class_maps(self, x: Float[Tensor, "b ..."], at: str = "pixels", companions: Tensor | None = None) -> Float[Tensor, "b k h w"]:
        """Logits per place, without bias; gradients reach x."""
        ...

    def layers(self) -> Sequence[nn.Module] | None:
        """The network as a plain chain, for peak back-propagation; None where it is not one."""
        ...


@runtime_checkable
class HasLean(Protocol):
    """A classifier that knows a shorter way to the same logits."""

    def lean(self) -> TagClassifier:
        """The same function up to rounding, in fewer steps."""
        ...


def leaner(classifier: TagClassifier) -> TagClassifier:
    """The shorter way of a classifier that knows one, else the classifier itself."""
    return classifier.lean() if isinstance(classifier, HasLean) else classifier
