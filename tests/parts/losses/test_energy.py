from __future__ import annotations

import math

import pytest
import torch
from pytest import approx

from smidgen.parts.losses.energy import COLOR, WIDTH, pairwise_energy


def sure(label: torch.Tensor, classes: int = 2) -> torch.Tensor:
    """Logits of someone who is certain."""
    return 100 * torch.nn.functional.one_hot(label, classes).movedim(-1, 1).float()


def everywhere(label: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(label, dtype=torch.bool)


SPREAD = torch.tensor([0.25])


def test_two_places_by_hand():
    label = torch.tensor([[0, 1]])
    image = torch.tensor([[[0.5, 0.6]]])
    color = 0.1 / (COLOR * 0.25 * math.sqrt(1 / 3))
    wanted = 2 * math.exp(-1 / (2 * WIDTH**2) - color**2 / 2) / 2
    assert pairwise_energy(sure(label), image, SPREAD, everywhere(label)).item() == approx(wanted, rel=1e-5)
    half = torch.zeros(1, 2, 2)  # nobody knows: half of all pairs differ
    assert pairwise_energy(half, image, SPREAD, everywhere(label)).item() == approx(wanted / 2, rel=1e-5)
    assert pairwise_energy(sure(label), image, SPREAD, torch.tensor([[True, False]])).item() == 0


def test_every_pair_of_a_window_counts_once_in_each_direction():
    random = torch.Generator().manual_seed(0)
    logits, image = torch.randn(1, 3, 5, 4, generator=random), torch.rand(1, 2, 5, 4, generator=random)
    probs, wanted = logits.softmax(dim=1), 0.0
    places = [(y, x) for y in range(5) for x in range(4)]
    scale = COLOR * 0.25 * math.sqrt(2 / 3)
    for y, x in places:
        for v, u in places:
            if (y, x) != (v, u) and max(abs(y - v), abs(x - u)) <= 5:
                apart = ((image[0, :, y, x] - image[0, :, v, u]) / scale).square().sum().item()
                weight = math.exp(-((y - v) ** 2 + (x - u) ** 2) / (2 * WIDTH**2) - apart / 2)
                wanted += weight * (1 - (probs[0, :, y, x] * probs[0, :, v, u]).sum().item())
    assert pairwise_energy(logits, image, SPREAD, torch.ones(1, 5, 4, dtype=torch.bool)).item() == approx(wanted / 20, rel=1e-4)


@pytest.mark.parametrize("size", [(8,), (8, 6), (4, 6, 8)])
def test_a_cut_along_colors_costs_less_than_one_across(size):
    label = torch.zeros(1, *size, dtype=torch.long)
    label[:, size[0] // 2 :] = 1
    image = 0.8 * label[:, None].float()
    energies = {"none": torch.zeros_like(label), "along": label, "across": label.roll(1, dims=1)}
    found = {name: pairwise_energy(sure(one), image, SPREAD, everywhere(label)).item() for name, one in energies.items()}
    assert found["none"] == approx(0, abs=1e-6)
    assert found["along"] < 0.02 * found["across"]


def test_logits_of_any_stride_and_no_gradient_to_the_image():
    logits, image = torch.randn(2, 3, 4, 4, requires_grad=True), torch.rand(2, 1, 16, 16, requires_grad=True)
    found = pairwise_energy(logits, image, torch.tensor([0.25, 1.0]), torch.ones(2, 16, 16, dtype=torch.bool))
    assert found.shape == (2,)
    found.sum().backward()
    assert image.grad is None
    assert logits.grad is not None and logits.grad.isfinite().all()
