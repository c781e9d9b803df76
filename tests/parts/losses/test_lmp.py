from __future__ import annotations

import torch
from pytest import approx, mark
from torch import tensor

from smidgen.parts.losses import settings
from smidgen.parts.losses.ce import ce
from smidgen.parts.losses.lmp import largest_weights, lmp


def weights(values: list[float], norm: float = 2.0, support: float = 0.25) -> list[float]:
    return largest_weights(tensor([values]), tensor([len(values)]), norm, support)[0].tolist()


def test_without_a_cap_weights_are_powers_of_the_losses():
    # p = q = 2: w = ℓ √n / ‖ℓ‖, with the cap at 2
    assert weights([3.0, 4.0, 0.0, 0.0]) == approx([1.2, 1.6, 0, 0])


def test_the_worst_pixel_meets_the_cap_and_the_rest_share_what_is_left():
    # the cap is 4/3's root: 4 - 4/3 are left for the losses 1, 1, whose weights are equal
    assert weights([9.0, 1.0, 1.0, 0.0], support=0.75) == approx([(4 / 3) ** 0.5] * 3 + [0], abs=1e-6)
    assert weights([9.0, 2.0, 1.0, 1.0], support=0.5) == approx([2**0.5, 2 * 3**-0.5, 3**-0.5, 3**-0.5], abs=1e-6)


def test_full_support_is_the_mean():
    assert weights([9.0, 2.0, 1.0, 0.5], support=1.0) == approx([1, 1, 1, 1], abs=1e-5)


def test_equal_losses_weigh_alike():
    assert weights([0.3] * 5, norm=1.3) == approx([1.0] * 5, rel=1e-5)


@mark.parametrize("norm", [1.1, 1.3, 2.0, 5.0])
@mark.parametrize("support", [0.1, 0.3, 0.7])
def test_no_other_allowed_weights_give_more(norm: float, support: float):
    noise = torch.Generator().manual_seed(0)
    values = torch.rand(1, 30, generator=noise).exp() ** 3
    best = largest_weights(values, tensor([30]), norm, support)
    cap = support ** (-1 / norm)
    assert (best**norm).sum().item() <= 30 * (1 + 1e-4)
    assert best.max().item() <= cap * (1 + 1e-5)
    for _ in range(300):
        other = torch.rand(1, 30, generator=noise) ** 3
        other = (other * (30 / (other**norm).sum()) ** (1 / norm)).clamp(max=cap)
        assert (other * values).sum() <= (best * values).sum() * (1 + 1e-5)


def test_the_loss_by_hand_and_its_gradient():
    surprise = tensor([3.0, 4.0])  # -log p of class 0
    first = (-surprise).exp()
    logits = torch.stack([first, 1 - first]).log()[None, :, None].requires_grad_()
    label = tensor([[[0, 0, 255]]])
    logits_padded = torch.nn.functional.pad(logits, (0, 1))
    found = lmp(settings.Lmp(norm=2, support=0.25), logits_padded, label)
    assert found.tolist() == approx([(2**0.5 * 5) / 2])  # ‖ℓ‖ √n / n
    found.sum().backward()
    assert logits.grad is not None
    expected = tensor([0.6, 0.8]) * 2**0.5 / 2 * (first - 1)
    assert logits.grad[0, 0, 0].tolist() == approx(expected.tolist(), rel=1e-5)


def test_never_below_cross_entropy():
    noise = torch.Generator().manual_seed(1)
    logits, label = torch.randn(3, 4, 6, 6, generator=noise), torch.randint(4, (3, 6, 6), generator=noise)
    assert (lmp(settings.Lmp(), logits, label) >= ce(settings.Ce(), logits, label) - 1e-6).all()
    assert lmp(settings.Lmp(support=1), logits, label).tolist() == approx(ce(settings.Ce(), logits, label).tolist(), rel=1e-4)


def test_all_right_is_finite():
    logits = (torch.nn.functional.one_hot(tensor([[[0, 1]]])).permute(0, 3, 1, 2) * 200.0).requires_grad_()
    found = lmp(settings.Lmp(), logits, tensor([[[0, 1]]]))
    found.sum().backward()
    assert found.tolist() == [0]
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
