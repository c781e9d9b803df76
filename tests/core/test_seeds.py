"""Numbers derive from names, the same everywhere."""

from __future__ import annotations

import random

import numpy as np
import torch

from smidgen.core.seeds import generator, number, seed_all


def test_a_number_is_the_same_on_every_machine():
    assert number(0, "map", "a") == 8707404778270331673  # half of the first 8 bytes of sha256("(0, 'map', 'a')")
    assert len({number(0, "a"), number(1, "a"), number(0, "b"), number("0", "a"), number(0, "a", 0)}) == 5


def test_generators_do_not_share_a_stream():
    assert torch.equal(torch.rand(3, generator=generator(0, "a")), torch.rand(3, generator=generator(0, "a")))
    assert not torch.equal(torch.rand(3, generator=generator(0, "a")), torch.rand(3, generator=generator(0, "b")))


def test_all_global_generators_are_seeded():
    def drawn(*what):
        seed_all(*what)
        return float(torch.rand(())), float(np.random.random()), random.random()

    assert drawn(0, "a") == drawn(0, "a")
    assert not set(drawn(0, "a")) & set(drawn(0, "b"))
