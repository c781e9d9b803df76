"""Agreement of several networks: how far their answers lie apart, pixel by pixel, from log-probabilities in 32 bits.

Reading order: log_probs makes what the others take; jsd (deep co-training, Peng et al., Pattern Recognition 2020, eq. 2), kl (eq. 5), vote.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def log_probs(logits: Float[Tensor, "b k *h"]) -> Float[Tensor, "b k *h"]:
    """Logarithms of class probabilities, in 32 bits at least, also where networks compute in 16: 0 log 0 would be no number there."""
    with torch.autocast(logits.device.type, enabled=False):
        return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(dim=1)


def vote(logs: Float[Tensor, "s b k *h"]) -> Float[Tensor, "b k *h"]:
    """Logarithm of the mean probability over networks: the soft vote."""
    return logs.logsumexp(dim=0) - math.log(len(logs))


def jsd(logs: Float[Tensor, "s b k *h"]) -> Float[Tensor, "b *h"]:
    """Generalized Jensen-Shannon divergence of S networks: the mean over networks of KL(network || vote).

    Zero where all agree, at most log min(S, k). Networks that contradict each other with certainty are not pulled together: the gradient
    vanishes at probabilities of 0 and 1 (the paper's measure is so; hard cross labels are not).

    Args:
        logs: Log-probabilities of each network.

    Example:
        >>> opposed = torch.tensor([[0.9, 0.1], [0.1, 0.9]]).log().view(2, 1, 2, 1)
        >>> round(float(jsd(opposed)), 6)
        0.368064
    """
    return (logs.exp() * (logs - vote(logs))).sum(dim=2).mean(dim=0)


def kl(target: Float[Tensor, "b k *h"], found: Float[Tensor, "b k *h"]) -> Float[Tensor, "b *h"]:
    """KL(target || found), the surprise of what is found for someone who expects the target. Nothing is detached here.

    Args:
        target: Log-probabilities.
        found: Log-probabilities.
    """
    return (target.exp() * (target - found)).sum(dim=1)
