from __future__ import annotations

import torch
from pytest import approx, fixture, mark, raises
from torch import tensor

from smidgen.core import registry
from smidgen.core.errors import SettingsError
from smidgen.parts.losses import settings
from smidgen.parts.losses.sums import LossFactory, mean_over_labeled

ALL = registry.parts("loss")
SPACES = [(8, 8), (4, 8, 8)]


@fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def problem(space: tuple[int, ...], generator: torch.Generator, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    logits = torch.randn(2, classes, *space, generator=generator)
    label = torch.randint(classes, (2, *space), generator=generator)
    return logits, label.where(torch.rand(label.shape, generator=generator) > 0.2, 255)


def test_a_sum_is_the_weighted_sum_of_its_parts(generator: torch.Generator):
    logits, label = problem((8, 8), generator)
    both = LossFactory("0.5*dice+ce")(logits, label)
    assert both.tolist() == approx((0.5 * LossFactory("dice")(logits, label) + LossFactory("ce")(logits, label)).tolist())


def test_settings_reach_their_loss(generator: torch.Generator):
    logits, label = problem((8, 8), generator)
    calm = LossFactory("ce+dice", {"dice": settings.Dice(smooth=1e9)})(logits, label)
    assert calm.tolist() == approx(LossFactory("ce")(logits, label).tolist(), abs=1e-5)


def test_an_unknown_loss_names_the_nearest():
    with raises(SettingsError, match="did you mean 'dice'"):
        LossFactory("0.5*dices+ce")


def test_settings_of_another_loss_are_refused():
    with raises(SettingsError, match="expected settings Dice, came Ce"):
        LossFactory("dice", {"dice": settings.Ce()})


def test_the_key_knows_weights_and_settings():
    keys = [LossFactory(words).key for words in ("ce", "0.5*ce", "dice", "ce+dice", "dice+ce")]
    assert len(set(keys)) == len(keys)
    assert LossFactory("dice").key == LossFactory("dice", {"dice": settings.Dice()}).key
    assert LossFactory("dice").key != LossFactory("dice", {"dice": settings.Dice(smooth=2)}).key


def test_images_without_labels_do_not_count():
    label = torch.tensor([[[0, 1]], [[255, 255]]])
    assert mean_over_labeled(tensor([0.6, 0.0]), label).item() == approx(0.6)
    assert mean_over_labeled(tensor([0.0, 0.0]), torch.full((2, 1, 2), 255)).item() == 0


@mark.parametrize("name", ALL)
class TestEveryLoss:
    @mark.parametrize("space", SPACES)
    def test_gives_one_finite_value_and_gradient_per_image(self, name: str, space: tuple[int, ...], generator: torch.Generator):
        logits, label = problem(space, generator)
        logits.requires_grad_()
        values = LossFactory(name)(logits, label, torch.rand(label.shape, generator=generator), 0.5)
        values.sum().backward()
        assert values.shape == (2,)
        assert logits.grad is not None
        assert values.isfinite().all()
        assert logits.grad.isfinite().all()
        assert (logits.grad != 0).any()

    @mark.parametrize("space", SPACES)
    def test_is_zero_where_nothing_is_labeled(self, name: str, space: tuple[int, ...], generator: torch.Generator):
        logits, label = problem(space, generator)
        logits.requires_grad_()
        values = LossFactory(name)(logits, torch.full_like(label, 255))
        values.sum().backward()
        assert values.tolist() == [0, 0]
        assert logits.grad is not None
        assert (logits.grad == 0).all()

    def test_does_not_look_at_ignored_pixels(self, name: str, generator: torch.Generator):
        logits, label = problem((8, 8), generator)
        other = torch.where((label == 255)[:, None], logits + 5 * torch.randn(logits.shape, generator=generator), logits)
        assert LossFactory(name)(other, label).tolist() == approx(LossFactory(name)(logits, label).tolist())

    def test_treats_images_apart(self, name: str, generator: torch.Generator):
        logits, label = problem((8, 8), generator)
        alone = [LossFactory(name)(logits[i : i + 1], label[i : i + 1]).item() for i in range(2)]
        assert LossFactory(name)(logits, label).tolist() == approx(alone)

    def test_does_not_care_for_the_order_of_the_objects(self, name: str, generator: torch.Generator):
        logits, label = problem((8, 8), generator, classes=4)
        order = tensor([0, 2, 3, 1])  # the background stays
        new = torch.cat([order.argsort(), torch.full((252,), 255)])[label]
        assert LossFactory(name)(logits[:, order], new).tolist() == approx(LossFactory(name)(logits, label).tolist(), rel=1e-5)

    def test_computes_in_32_bits_under_autocast(self, name: str, generator: torch.Generator):
        logits, label = problem((8, 8), generator)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            values = LossFactory(name)(logits.bfloat16(), label)
        assert values.dtype == torch.float32
        assert values.tolist() == LossFactory(name)(logits.bfloat16().float(), label).tolist()

    def test_sinks_when_followed(self, name: str, generator: torch.Generator):
        logits, label = problem((2, 2), generator)
        logits, label = logits.requires_grad_(), label.repeat_interleave(4, 1).repeat_interleave(4, 2)
        loss, optimizer = LossFactory(name), torch.optim.Adam([logits], lr=0.1)
        before = loss(logits, label).sum().item()
        for _ in range(30):
            optimizer.zero_grad()
            loss(logits, label).sum().backward()
            optimizer.step()
        assert loss(logits, label).sum().item() < 0.8 * before
