"""Averaged networks: a teacher whose weights are a moving average of a student's (Tarvainen & Valpola, NIPS 2017)."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

N = TypeVar("N", bound=nn.Module)


def averaged(student: N) -> N:
    """A copy that no gradient reaches."""
    return copy.deepcopy(student).requires_grad_(False)


def decay_at(n: int, decay: float) -> float:
    """How much of the average stays after step n: the plain mean of all steps first, then `decay`.

    Example:
        >>> [decay_at(n, 0.99) for n in (0, 1, 3, 1000)]
        [0.0, 0.5, 0.75, 0.99]
    """
    return min(decay, n / (n + 1))


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    """Move weights and batch statistics of the teacher towards the student's: teacher = decay teacher + (1 - decay) student.

    Args:
        teacher: Of the same form as the student.
        student: What is trained.
        decay: Share that stays, in [0, 1].
    """
    moved = student.state_dict()
    for name, value in teacher.state_dict().items():
        if value.is_floating_point():
            value.lerp_(moved[name].to(value), 1 - decay)
        else:
            value.copy_(moved[name])
