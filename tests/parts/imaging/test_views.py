"""Sizes, mirrors and grids by hand."""

from __future__ import annotations

import numpy as np
import torch
from pytest import approx

from smidgen.parts.imaging.views import grid, normalized, onto_grid, resized, unmirrored, with_mirror, working_size


def test_working_sizes_are_multiples():
    assert working_size((375, 500), 0, 32) == (384, 512)
    assert working_size((333, 500), 448, 32) == (288, 448)  # 298 is nearest to 288
    assert working_size((5, 9), 0, 32) == (32, 32)
    assert working_size((384, 512), 0, 32, 0.5) == (192, 256)
    assert working_size((32, 64), 0, 32, 0.25) == (32, 32)


def test_mirror_and_back():
    images = torch.arange(6.0).reshape(1, 1, 2, 3)
    views = with_mirror(images)
    assert views[0, 1, 0].tolist() == [[2, 1, 0], [5, 4, 3]]
    assert torch.equal(unmirrored(views)[:, 0], unmirrored(views)[:, 1])
    assert torch.equal(unmirrored(images[:, :, 0:1]), images[:, :, 0:1])


def test_grid_is_a_quarter_rounded_up():
    assert grid((375, 500)) == (94, 125) and grid((1, 4)) == (1, 1)
    assert onto_grid(torch.tensor([[[0.0, 1.0]]]), (4, 16)).flatten().tolist() == approx([0, 0.25, 0.75, 1])
    assert onto_grid(torch.zeros(0, 2, 2), (8, 12)).shape == (0, 2, 3)


def test_resizing_keeps_constants_and_means():
    image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert resized(image, (16, 16)) is image
    assert torch.allclose(resized(torch.full((3, 9, 7), 0.3), (5, 12)), torch.tensor(0.3))
    assert resized(image, (4, 4)).mean().item() == approx(image.mean().item(), abs=0.02)


def test_each_map_has_its_own_maximum():
    maps, peak = normalized(np.array([[[1.0, 2.0]], [[0.0, 0.0]]], np.float32))
    assert maps[0].ravel() == approx([0.5, 1], abs=1e-5) and (maps[1] == 0).all() and peak.tolist() == [2, 0]
