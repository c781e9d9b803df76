"""Frozen batch statistics folded into the convolutions before them: the same function in fewer steps, for climbs and predictions."""

from __future__ import annotations

import copy
import itertools
from typing import TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage] (there is no public name for all of them)
from torch.nn.utils.fusion import fuse_conv_bn_weights

from smidgen.parts.networks.encoders import Encoder

M = TypeVar("M", bound=nn.Module)
SAME, SIDE = 1e-6, 64
"""Features may differ by this share of the largest one, in 64 bits, on an image of this side in pixels."""


def lean(encoder: Encoder) -> Encoder:
    """A trained encoder for those who only look: folded where that is the same function, else the encoder itself.

    Folded and compared in 64 bits on the CPU, so that neither rounding nor a device's shortcuts count.
    """
    if not any(isinstance(module, _BatchNorm) for module in encoder.modules()):
        return encoder
    exact = copy.deepcopy(encoder).cpu().double().eval()
    folded = fold_batch_norm(exact).requires_grad_(False)
    image = torch.linspace(0, 1, encoder.in_channels * SIDE * SIDE, dtype=torch.float64).view(1, encoder.in_channels, SIDE, SIDE)
    with torch.no_grad():
        before, after = exact.features(image), folded.features(image)
    if (before - after).abs().max() > SAME * before.abs().max():
        return encoder
    like = next(encoder.parameters())
    return folded.to(like.device, like.dtype)


def fold_batch_norm(module: M) -> M:
    """A copy in evaluation mode whose convolutions do the work of the batch normalizations that directly follow them.

    For modules that run their children in the order in which they were made, as the chains among timm's models do (efficientnet, mobilenet,
    resnet); others have to be compared before and after, as `lean` does.
    """
    folded = copy.deepcopy(module).eval()
    with torch.no_grad():
        for parent in folded.modules():
            children = list(parent.named_children())
            for (_, first), (name, second) in itertools.pairwise(children):
                if isinstance(first, nn.Conv2d) and isinstance(second, _BatchNorm) and first.out_channels == second.num_features:
                    _fold(first, second)
                    setattr(parent, name, _rest(second))
    return folded


def _fold(conv: nn.Conv2d, norm: _BatchNorm) -> None:
    assert norm.running_mean is not None and norm.running_var is not None
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )


def _rest(norm: _BatchNorm) -> nn.Module:
    """What timm's layers do after normalizing."""
    act = getattr(norm, "act", None)
    return act if isinstance(act, nn.Module) else nn.Identity()
