from __future__ import annotations

import numpy as np
import torch

from smidgen.parts.imaging.affinity import ends, strongest_edges
from smidgen.parts.imaging.random_walk import affinities, paths


def test_the_same_as_without_gradients():
    edges = torch.rand(2, 7, 9, generator=torch.Generator().manual_seed(0))
    for path in paths(5):
        for one, expected in zip(1 - strongest_edges(edges, path), edges, strict=True):
            np.testing.assert_array_equal(one.numpy(), affinities(expected.numpy(), path))


def test_ends_are_an_offset_apart():
    numbers = torch.arange(20).view(1, 4, 5)
    for path in paths(3):
        first, second = ends(numbers, path)
        assert (second - first == path.offset[0] * 5 + path.offset[1]).all()
        assert first.shape == (1, 4 - path.offset[0], 5 - abs(path.offset[1]))


def test_the_gradient_reaches_the_strongest_edge_only():
    edges = torch.tensor([[[0.1, 0.7, 0.2, 0.3]]], requires_grad=True)
    path = next(path for path in paths(4) if path.offset == (0, 3))
    (gradient,) = torch.autograd.grad(strongest_edges(edges, path).sum(), edges)
    assert gradient.flatten().tolist() == [0, 1, 0, 0]


def test_gradients_are_right():
    edges = torch.rand(1, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    for path in paths(4):
        assert torch.autograd.gradcheck(lambda e, path=path: strongest_edges(e, path), edges)
