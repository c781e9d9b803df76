"""Counter-based random numbers: every generator is derived from names and numbers, never from what ran before.

That makes exact resume nearly free: whatever is skipped, what comes next starts the same. Seeds never derive from a stage's KEY, or a new
docstring would change the numbers.
"""

from __future__ import annotations

import hashlib
import random

import numpy as np
import torch


def number(*what: object) -> int:
    """A number in [0, 2^63) that depends on all of `what`, the same on every machine."""
    return int.from_bytes(hashlib.sha256(repr(what).encode()).digest()[:8], "big") >> 1


def generator(*what: object) -> torch.Generator:
    """A torch generator (CPU) whose stream depends on all of `what`."""
    return torch.Generator().manual_seed(number(*what))


def seed_all(*what: object) -> None:
    """Seed the global generators of torch, numpy and random, so that library code that takes no generator is exact, too."""
    seed = number(*what) % 2**32
    # As torch.manual_seed, which spends a millisecond on noting its caller wherever a GPU's library is not awake (and `join` wakes it).
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    elif torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
