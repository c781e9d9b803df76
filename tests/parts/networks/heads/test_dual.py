from __future__ import annotations

import pytest
import torch
from pytest import approx

from smidgen.core.errors import SettingsError
from smidgen.parts.networks import settings as networks
from smidgen.parts.networks.encoders import EncoderFactory
from smidgen.parts.networks.factories import HeadFactory
from smidgen.parts.networks.heads import settings
from smidgen.parts.networks.heads.dual import Dual, answer, levels_of, mask_logits
from smidgen.parts.networks.network import Network
from smidgen.products.sample import Classes
from smidgen.products.segmenter import Architecture, Segmenter

CHANNELS, STRIDES = (4, 6), (2, 4)
SMALL = ("width=8", "widest=16")


def made(classes: int = 3, **changed) -> Dual:
    torch.manual_seed(0)
    return Dual(settings.Dual(base="unet", base_settings=SMALL, **changed), CHANNELS, STRIDES, classes)


def pyramid() -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return [torch.randn(2, c, 16 // s, 16 // s, generator=random) for c, s in zip(CHANNELS, STRIDES, strict=True)]


def test_the_step_by_hand():
    z = torch.tensor([0, 0.001, -0.001, 0.002, 0.005]).view(1, 1, 5)
    inside = mask_logits(z, 1500.0).softmax(dim=1)[0, 1]
    assert inside.tolist() == approx([0.5, 0.182426, 0.817574, 0.047426, 5.5278e-4], rel=1e-4)
    assert torch.allclose(inside, torch.sigmoid(-1500 * z[0, 0]))
    assert (inside + mask_logits(-z, 1500.0).softmax(dim=1)[0, 1]).tolist() == approx([1] * 5)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32])
def test_the_ends_are_finite_in_any_precision(kind):
    z = torch.tensor([-1.0, 1.0], dtype=kind).view(1, 1, 2).requires_grad_()
    inside = mask_logits(z, 1500.0).softmax(dim=1)[0, 1]
    assert inside.tolist() == [1, 0]
    inside.sum().backward()
    assert z.grad is not None and z.grad.isfinite().all()


def test_the_slope_by_hand():
    z = torch.tensor([0, 0.001, -0.002, 0.005, 0.01], dtype=torch.float64).view(1, 1, 5).requires_grad_()
    torch.sigmoid(-1500 * z).sum().backward()
    own = z.detach().float().requires_grad_()
    mask_logits(own, 1500.0).softmax(dim=1)[0, 1].sum().backward()
    assert own.grad is not None
    assert own.grad.flatten().tolist() == approx([-375, -223.7, -67.8, -0.83, -4.6e-4], rel=0.01)


def test_the_deepest_class_wins_and_the_first_one_outside():
    levels = torch.tensor([[0.3, -0.2, -0.4, 0.1], [0.2, 0.5, -0.1, -0.3]])[None]
    assert mask_logits(levels, 100.0).argmax(dim=1).tolist() == [[0, 1, 1, 2]]
    assert torch.allclose(levels_of(mask_logits(levels, 1500.0), 1500.0), levels)


def test_a_level_set_costs_a_class_more_and_the_rest_is_shared():
    plain = HeadFactory("unet", settings.Unet(width=8, widest=16))
    dual = made(classes=3)
    assert {name: p.shape for name, p in dual.base.named_parameters()} == {
        name: p.shape for name, p in plain(CHANNELS, STRIDES, 5).named_parameters()
    }
    count = sum(p.numel() for p in dual.parameters()) - sum(p.numel() for p in plain(CHANNELS, STRIDES, 3).parameters())
    assert count == 2 * (8 + 1)


def test_in_training_both_answer():
    dual = made().train()
    found = dual(pyramid(), (16, 16))
    levels = levels_of(found.aux[-1].logits, dual.steepness)
    assert found.logits.shape == (2, 3, 8, 8)
    assert levels.shape == (2, 2, 8, 8)
    assert levels.abs().max() < 1


def test_own_rows_of_the_last_layer_are_taught_by_own_terms():
    dual = made().train()
    last = dual.base.scores
    for own, other, term in ((slice(0, 3), slice(3, 5), 0), (slice(3, 5), slice(0, 3), 1)):
        dual.zero_grad()
        found = dual(pyramid(), (16, 16))
        (found.logits.square().mean(), levels_of(found.aux[-1].logits, 1500.0).square().mean())[term].backward()
        assert last.weight.grad[own].abs().sum() > 0
        assert not last.weight.grad[other].any()


def test_who_answers_in_the_end():
    raw = made().train()(pyramid(), (16, 16))
    both = (raw.logits.softmax(dim=1) + raw.aux[-1].logits.softmax(dim=1)) / 2
    wanted = {"scores": raw.logits.softmax(dim=1), "level_sets": raw.aux[-1].logits.softmax(dim=1), "both": both}
    for name, probs in wanted.items():
        found = made(answer=name).eval()(pyramid(), (16, 16))
        assert found.aux == ()
        assert torch.allclose(found.logits.softmax(dim=1), probs, atol=1e-6)
    assert answer(torch.tensor([[[0.0], [0.0]]]), torch.tensor([[[0.0], [-1500.0]]]), "both").isfinite().all()


def test_auxiliary_logits_of_the_base_keep_the_classes():
    head = Dual(settings.Dual(base="ocr", base_settings=("width=32", "key_width=32", "finest=4")), CHANNELS, STRIDES, 3).train()
    assert [(one.name, one.logits.shape[1]) for one in head(pyramid(), (16, 16)).aux] == [("coarse", 3), ("level_set", 3)]


def test_what_cannot_be_says_so():
    with pytest.raises(SettingsError, match="two classes"):
        made(classes=1)
    for changed, complaint in (
        ({"base": "dual"}, "another head"),
        ({"base": "unett"}, "did you mean 'unet'"),
        ({"base_settings": ("widht=8",)}, "did you mean 'width'"),
        ({"base_settings": ("width",)}, "NAME=VALUE"),
        ({"base_settings": ("width=wide",)}, "width"),
    ):
        with pytest.raises(SettingsError, match=complaint):
            Dual(settings.Dual(**changed), CHANNELS, STRIDES, 2)


def test_a_model_file_holds_it(tmp_path):
    body = EncoderFactory(networks.Encoder(weights="none"), 1)()
    how = settings.Dual(base_settings=SMALL, answer="both")
    network = Network(body, HeadFactory("dual", how)(body.channels, body.strides, 2))
    Segmenter(network, Architecture(networks.Encoder(), "dual", how, Classes(("background", "cell")), 1)).save(tmp_path)
    read = Segmenter.load(tmp_path)
    assert read.architecture.head_settings == how
    image = torch.rand(1, 1, 32, 32)
    assert torch.equal(read.probs(image), Segmenter(network, read.architecture).probs(image))
