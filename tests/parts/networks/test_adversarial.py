from __future__ import annotations

import pytest
import torch
from pytest import approx
from torch import nn

from smidgen.parts.losses.agreement import kl, log_probs
from smidgen.parts.networks.adversarial import fgsm, input_gradient, moved, statistics_kept, virtual_direction, weights_held

ONE = torch.ones(1)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))


def test_fgsm_moves_by_the_sign_and_stays_within_limits():
    image, gradient = torch.tensor([[[0.98, 0.5, 0.01]]]), torch.tensor([[[3.0, 0.0, -2.0]]])
    assert fgsm(image, gradient, 0.03 * ONE, 0 * ONE, ONE).flatten().tolist() == approx([1.0, 0.5, 0.0])
    assert torch.equal(fgsm(image, gradient, 0 * ONE, 0 * ONE, ONE), image)


def test_z_scored_images_keep_their_own_limits():
    torch.manual_seed(0)
    image, low, high = torch.empty(2, 1, 8, 9, 10).uniform_(-1.5, 2.5), torch.tensor([-1.5, -3.0]), torch.tensor([2.5, 4.0])
    changed = fgsm(image, torch.randn_like(image), torch.tensor([0.1, 0.5]), low, high)
    apart = (changed - image).abs().flatten(1).amax(dim=1)
    assert apart.tolist() == approx([0.1, 0.5], abs=1e-6)
    assert changed[0].min() == -1.5 and changed[0].max() == 2.5
    assert (changed[1] > 2.5).any()


@pytest.mark.parametrize("training", [True, False])
def test_an_attack_leaves_no_trace_in_the_network(training):
    net = network().train(training)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with statistics_kept(net), weights_held(net):
        image = torch.rand(2, 1, 8, 8).requires_grad_()
        logits = net(image)
        gradient = input_gradient(logits.square().sum(), image)
        virtual_direction(net, image, log_probs(logits), 0.01 * torch.ones(2))
    assert gradient.any()
    assert image.grad is None
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())
    assert all(module.training == training for module in net.modules())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_pass_that_was_attacked_can_still_be_trained_on():
    net, image = network(), torch.rand(1, 1, 8, 8).requires_grad_()
    loss = net(image).square().sum()
    input_gradient(loss, image)
    loss.backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert net[1].num_batches_tracked == 1


def test_the_virtual_direction_is_where_the_answer_changes_most():
    scale, image = torch.tensor([[[1.0], [2.0]]], dtype=torch.float64), torch.tensor([[[0.2], [0.1]]], dtype=torch.float64)
    ask = lambda x: x * scale  # noqa: E731 (two classes, logits (x, 2 y): p = (.5, .5), Fisher matrix [[.25, -.5], [-.5, 1]])
    assert ask(image).softmax(dim=1).flatten().tolist() == approx([0.5, 0.5])
    for seed in range(5):
        torch.manual_seed(seed)
        found = virtual_direction(ask, image, log_probs(ask(image)), torch.tensor([1e-2]), rounds=8)
        unit = found.flatten() / found.norm()
        assert (unit * unit[0].sign()).tolist() == approx([0.4472136, -0.8944272], abs=1e-3)
        step = 1e-3 * unit.view(1, 2, 1)
        curvature = 2 * float(kl(log_probs(ask(image)), log_probs(ask(image + step)))) / 1e-3**2
        assert curvature == approx(1.25, rel=1e-2), "the largest eigenvalue"


def test_both_attacks_are_as_strong_at_the_same_size():
    """As an L2 radius 0.03 would be 256 times weaker on 256 x 256 pixels than as a change of each."""
    image, size, low, high = torch.zeros(1, 1, 256, 256), 0.03 * ONE, -ONE, ONE
    torch.manual_seed(0)
    direction = torch.randn_like(image).sign()  # root mean square 1
    assert fgsm(image, direction, size, low, high).norm().item() == approx(7.68, rel=1e-4)
    assert moved(image, direction, size, low, high).norm().item() == approx(7.68, rel=1e-4)


def test_a_radius_means_the_same_for_every_size_of_image():
    for size in ((8, 8), (32, 16), (4, 8, 8)):
        image = torch.zeros(2, 1, *size)
        direction = virtual_direction(
            lambda x: torch.cat([x, -x], dim=1), image, log_probs(torch.cat([image, image], dim=1)), 0.01 * torch.ones(2)
        )
        apart = moved(image, direction, torch.tensor([0.03, 0.3]), torch.full((2,), -9.0), torch.full((2,), 9.0)) - image
        assert apart.flatten(1).square().mean(dim=1).sqrt().tolist() == approx([0.03, 0.3], rel=1e-4)
