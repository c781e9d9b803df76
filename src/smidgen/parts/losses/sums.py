"""LossFactory: a weighted sum of losses, each found by its name in this folder."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping

from jaxtyping import Float, Integer
from torch import Tensor

from smidgen.core import registry
from smidgen.core.errors import SettingsError
from smidgen.core.keys import key, source
from smidgen.core.settings import Frozen
from smidgen.parts.losses.expression import parse
from smidgen.parts.losses.pixels import IGNORED

Loss = Callable[..., Tensor]


class LossFactory:
    """A loss per image, from words.

    Args:
        expression: Weighted sum of names, such as `0.5*dice+ce`.
        settings: Of the losses, by name; one that is not in it gets its defaults.

    Raises:
        SettingsError: The expression is none, or names a loss that is not there (with the nearest known one).
    """

    def __init__(self, expression: str, settings: Mapping[str, Frozen] | None = None):
        self.expression, self.terms = expression, parse(expression)
        given = settings or {}
        kinds = {name: registry.part_settings("loss", name) for _, name in self.terms}
        self.settings = {name: given[name] if name in given else kind() for name, kind in kinds.items()}
        for name, kind in kinds.items():
            if not isinstance(self.settings[name], kind):
                found = type(self.settings[name]).__name__
                raise SettingsError(f"loss '{name}': expected settings {kind.__name__}, came {found}: give those of '{name}'")

    @property
    def key(self) -> str:
        """What the values depend on."""
        plain = {name: settings.model_dump(mode="json") for name, settings in self.settings.items()}
        return key("loss", self.terms, plain, [source(_module(name)) for _, name in self.terms])

    def __call__(
        self,
        logits: Float[Tensor, "b k *h"],
        label: Integer[Tensor, "b *H"],
        confidence: Float[Tensor, "b *H"] | None = None,
        progress: float = 0.0,
    ) -> Float[Tensor, "b"]:
        """The weighted sum, per image; `mean_over_labeled` makes one number of it.

        Args:
            logits: At the head's stride.
            label: Class indices, 255 = ignored.
            confidence: Per pixel, in [0, 1].
            progress: Of the training, in [0, 1].
        """
        values = [weight * _loss(name)(self.settings[name], logits, label, confidence, progress) for weight, name in self.terms]
        return sum(values[1:], start=values[0])


def mean_over_labeled(values: Float[Tensor, "b"], label: Integer[Tensor, "b *H"]) -> Float[Tensor, ""]:
    """The mean over the images that have labels; 0 where none has.

    Args:
        values: Of a loss, per image.
        label: Class indices, 255 = ignored.
    """
    labeled = (label != IGNORED).flatten(1).any(dim=1)
    return (values * labeled).sum() / labeled.sum().clamp(min=1)


def _module(name: str) -> str:
    return f"smidgen.parts.losses.{name}"


def _loss(name: str) -> Loss:
    return getattr(importlib.import_module(_module(name)), name)
