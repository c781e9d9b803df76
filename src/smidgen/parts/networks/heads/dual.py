"""Two tasks in one head (Luo et al., AAAI 2021): class scores, and for each class but the first a level set, below zero inside of it.

Reading order: Dual, levels_of, mask_logits (eq. 2). Any other head makes both: it gets as many channels more, so all but its last layer is
shared, as in the paper, and with a last layer of 1x1 a level set costs as little as a class. The first class is what lies outside of all
level sets. Level sets leave the head as logits of the masks that they mean; in training as auxiliary ones of the name `level_set`.
Differs: any number of classes, by softmax, which for two is the paper's sigmoid.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import torch
import yaml
from jaxtyping import Float
from torch import Tensor, nn

from smidgen.core import registry
from smidgen.core.errors import SettingsError
from smidgen.core.settings import Frozen, validated
from smidgen.parts.networks.factories import HeadFactory
from smidgen.parts.networks.heads import settings as heads
from smidgen.parts.networks.prediction import Aux, Prediction

LEVEL_SET = "level_set"
"""Name of the auxiliary logits."""


class Dual(nn.Module):
    """A head that answers twice.

    Args:
        settings: Which head makes both, and which of the two answers in the end.
        channels: Of each level of the encoder's pyramid.
        strides: Of each level, ascending.
        classes: Number of logits.
        dims: Dimensions of space, 2 or 3.

    Raises:
        SettingsError: There is one class only, or the head that makes both can't be had.
    """

    stride: int

    def __init__(self, settings: heads.Dual, channels: Sequence[int], strides: Sequence[int], classes: int, dims: int = 2):
        if classes < 2:
            raise SettingsError(
                f"head 'dual': expected two classes at least, came {classes}: there is no rim where there is one class only"
            )
        super().__init__()
        self.settings, self.classes = settings, classes
        self.base = HeadFactory(settings.base, base_settings(settings), dims)(channels, strides, 2 * classes - 1)
        self.stride = int(self.base.stride)  # pyright: ignore[reportArgumentType]

    def forward(self, features: Sequence[Tensor], size: Sequence[int]) -> Prediction:
        """Class scores with the level sets' beside them in training, one answer in evaluation.

        Args:
            features: The pyramid.
            size: Of the image.
        """
        found: Prediction = self.base(features, size)
        scores, levels = found.logits[:, : self.classes], mask_logits(torch.tanh(found.logits[:, self.classes :].float()), self.steepness)
        if not self.training:
            return Prediction(answer(scores, levels, self.settings.answer))
        aux = (replace(one, logits=one.logits[:, : self.classes]) for one in found.aux)
        return Prediction(scores, (*aux, Aux(LEVEL_SET, levels, 1 / self.steepness)))

    @property
    def steepness(self) -> float:
        """Factor of the level sets, see `mask_logits`."""
        return self.settings.steepness


def around(head: HeadFactory, steepness: float, answer: str) -> HeadFactory:
    """A factory of dual heads that another head makes.

    Args:
        head: The other head.
        steepness: See `mask_logits`.
        answer: See `answer`.
    """
    words = tuple(f"{name}={json.dumps(value)}" for name, value in head.settings.model_dump(mode="json").items())
    how = {"base": head.name, "base_settings": words, "steepness": steepness, "answer": answer}
    return HeadFactory("dual", validated(heads.Dual, how, "dual"), head.dims)


def base_settings(settings: heads.Dual) -> Frozen:
    """The settings of the head that makes both.

    Raises:
        SettingsError: That head has no such settings.
    """
    if settings.base == "dual":
        raise SettingsError("dual.base: dual itself can't be in it: name another head")
    said = {}
    for word in settings.base_settings:
        name, there, value = word.partition("=")
        if not there:
            raise SettingsError(f"dual.base_settings: expected NAME=VALUE, found '{word}'")
        said[name] = yaml.safe_load(value)
    return validated(registry.part_settings("head", settings.base), said, f"dual.base_settings, of {settings.base}")


def mask_logits(levels: Float[Tensor, "b l *space"], steepness: float) -> Float[Tensor, "b k *space"]:
    """Logits of the masks that level sets mean (eq. 2): 0 for the first class, -κ z for the others.

    Their softmax is, for two classes, σ(-κ z) = 1 / (1 + exp(κ z)): nearly a step where κ is large. Of several classes the one wins that a
    place lies deepest inside of, and the first where it lies outside of all.

    Args:
        levels: z in [-1, 1], below 0 inside.
        steepness: κ.
    """
    scaled = -steepness * levels.float()
    return torch.cat([torch.zeros_like(scaled[:, :1]), scaled], dim=1)


def levels_of(logits: Float[Tensor, "b k *space"], steepness: float) -> Float[Tensor, "b l *space"]:
    """The level sets that `mask_logits` was given."""
    return logits[:, 1:] / -steepness


def answer(scores: Float[Tensor, "b k *space"], levels: Float[Tensor, "b k *space"], which: str) -> Float[Tensor, "b k *space"]:
    """What both tasks say together, as logits.

    Args:
        scores: Of the classes.
        levels: Logits of the level sets' masks.
        which: `scores` or `level_sets` = one of them; `both` = the logarithm of their mean probability.
    """
    if which != "both":
        return scores if which == "scores" else levels
    mean = (scores.float().softmax(dim=1) + levels.softmax(dim=1)) / 2
    return mean.clamp(min=torch.finfo(mean.dtype).tiny).log()
