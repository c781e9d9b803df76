from __future__ import annotations

import math

import pytest
import torch
from pytest import approx

from smidgen.parts.losses.agreement import jsd, kl, log_probs, vote


def logs(*probs) -> torch.Tensor:
    """Log-probabilities of one pixel, of each network."""
    return torch.tensor(probs).log()[:, None, :, None]


def test_jsd_of_two_networks():
    assert float(jsd(logs([0.9, 0.1], [0.1, 0.9]))) == approx(0.3680642, abs=1e-6)
    assert float(jsd(logs([0.7, 0.3], [0.7, 0.3]))) == approx(0, abs=1e-7)
    sure = torch.stack([log_probs(torch.tensor([[[50.0], [-50.0]]])), log_probs(torch.tensor([[[-50.0], [50.0]]]))])
    assert float(jsd(sure)) == approx(math.log(2), abs=1e-6)


def test_jsd_of_three_networks_is_the_mean_divergence_from_their_vote():
    three = logs([0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7])
    assert float(jsd(three)) == approx(0.2934548, abs=1e-6)
    assert float(torch.stack([kl(one, vote(three)) for one in three]).mean()) == approx(0.2934548, abs=1e-6)


@pytest.mark.parametrize(("networks", "classes"), [(2, 5), (5, 3)])
def test_jsd_does_not_mind_order_or_copies_and_is_bounded(networks, classes):
    torch.manual_seed(0)
    found = torch.stack([log_probs(5 * torch.randn(2, classes, 4, 3, 2)) for _ in range(networks)])
    assert torch.allclose(jsd(found.flip(0)), jsd(found), atol=1e-6)
    assert torch.allclose(jsd(found[:, :, torch.randperm(classes)]), jsd(found), atol=1e-6)
    assert torch.allclose(jsd(torch.cat([found, found])), jsd(found), atol=1e-6)
    assert jsd(found).min() >= -1e-6
    assert jsd(found).max() <= math.log(min(networks, classes)) + 1e-6


def test_gradients_of_jsd_are_those_of_the_formula():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]], requires_grad=True)
    value = jsd(torch.stack([log_probs(one[None, :, None]) for one in logits])).sum()
    value.backward()
    assert float(value.detach()) == approx(0.2081256, abs=1e-6)
    assert logits.grad.tolist() == [approx([0.089153, -0.089153], abs=1e-5), approx([-0.127969, 0.127969], abs=1e-5)]


def test_networks_that_are_sure_of_the_contrary_are_not_pulled_together():
    logits = torch.tensor([[20.0, -20.0], [-20.0, 20.0]], requires_grad=True)
    value = jsd(torch.stack([log_probs(one[None, :, None]) for one in logits])).sum()
    value.backward()
    assert float(value.detach()) == approx(math.log(2), abs=1e-5)
    assert logits.grad.norm() < 1e-6


def test_kl_is_the_surprise_of_who_expects_the_target():
    target, found = logs([0.9, 0.1])[0], logs([0.6, 0.4])[0]
    assert float(kl(target, found)) == approx(0.2262892, abs=1e-6)
    assert float(kl(found, target)) == approx(0.3112387, abs=1e-6)


def test_the_soft_vote_is_not_the_vote_of_the_majority():
    three = logs([0.51, 0.49], [0.51, 0.49], [0.05, 0.95])
    assert vote(three).exp().flatten().tolist() == approx([0.3566667, 0.6433333], abs=1e-6)
    assert int(three.argmax(dim=2).flatten().mode().values) == 0


def test_half_precision_gives_numbers():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = torch.stack([log_probs(torch.tensor([[[300.0], [-300.0]]], dtype=torch.bfloat16)) for _ in range(2)])
        assert jsd(found).dtype == torch.float32
    assert jsd(found).isfinite().all()
