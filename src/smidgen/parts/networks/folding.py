"""Frozen batch statistics folded into the convolutions before them: the same function in fewer steps, for climbs and predictions."""

from __future__ import annotations

import copy
import itertools
from typing import TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage] (there is no public name for all of them)
from torch.nn.utils.fusion import fuse_conv_bn_weights

M = TypeVar("M", bound=nn.Module)


def fold_batch_norm(module: M) -> M:
    """A copy in evaluation mode whose convolutions do the work of the batch normalizations that directly follow them.

    For modules that run their children in the order in which they were made, as the chains among timm's models do (efficientnet, mobilenet,
    resnet); others have to be compared before and after.
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
