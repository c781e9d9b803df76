"""The numbers and properties of the method's definition, and a literal loop to compare with."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from pytest import approx, fixture, mark, raises
from torch import Tensor, tensor

from smidgen.core.errors import SettingsError
from smidgen.parts.losses import settings
from smidgen.parts.losses.ce import ce
from smidgen.parts.losses.lal import exponent, importance, lal, minkowski, surprises, targets
from smidgen.parts.losses.merging import NOBODY, UNLABELED, Windows, coded, merged, merged_surprise

AT_ONCE = (0.0, 0.0)
UNIFORM = 1e6
PLAIN = {"ramp": AT_ONCE, "exponent": 1.0}
LOGITS = tensor([[[[2.0, 0, 0]], [[0, 1, 3]]]])
LABEL = tensor([[[0, 0, 1]]])
SWITCHES = [
    {},
    {"merge": "prob"},
    {"norm": "count"},
    {"merge": "prob", "norm": "count"},
    {"anchor": "all"},
    {"anchor": "all", "merge": "prob"},
    {"stride": 2},
    {"stride": 3, "radius": 2, "anchor": "all"},
    {"radius": 2, "width": 0.7},
]


def value(words: dict | None = None, logits: Tensor = LOGITS, label: Tensor = LABEL, confidence: Tensor | None = None) -> float:
    return lal(settings.Lal(**(PLAIN | (words or {}))), logits, label, confidence, 1.0).item()


def by_window(words: dict | None = None, logits: Tensor = LOGITS, label: Tensor = LABEL) -> Tensor:
    one = settings.Lal(**(words or {}))
    windows = Windows.gaussian(one.radius, one.stride, one.width, one.norm == "count")
    codes = coded(label, 255, UNLABELED)
    (target,) = targets(codes, windows, everyone=False)
    return surprises(logits, codes, target, windows, one.merge)


def gradient(words: dict | None = None, logits: Tensor = LOGITS, label: Tensor = LABEL) -> Tensor:
    leaf = logits.clone().requires_grad_()
    lal(settings.Lal(**(PLAIN | (words or {}))), leaf, label, None, 1.0).sum().backward()
    assert leaf.grad is not None
    return leaf.grad


def literal(one: settings.Lal, logits: Tensor, label: Tensor, confidence: Tensor) -> list[float]:
    """The definition in plain loops over windows, pixels and classes, in 64 bits."""
    pooled = []
    for z, y, trust in zip(logits.double(), label, confidence, strict=True):
        terms = []
        for center in product(*(range(0, n, one.stride) for n in y.shape)):
            around = [i for i in product(*map(range, y.shape)) if max(abs(a - b) for a, b in zip(i, center, strict=True)) <= one.radius]
            classes = {int(y[center])} if one.anchor == "center" else {int(y[i]) for i in around}
            for c in sorted(classes - {255}):
                chosen = [i for i in around if int(y[i]) == c]
                weights = [math.exp(-(max(abs(a - b) for a, b in zip(i, center, strict=True)) ** 2) / (2 * one.width**2)) for i in chosen]
                total = len(chosen) if one.norm == "count" else sum(weights)
                vectors = [z[(slice(None), *i)] if one.merge == "logit" else z[(slice(None), *i)].softmax(0) for i in chosen]
                mean = sum((w * v for w, v in zip(weights, vectors, strict=True)), torch.zeros(len(z), dtype=torch.float64)) / total
                loss = -(mean.log_softmax(0) if one.merge == "logit" else mean.log())[c].item()
                importance = one.class_weights[c] if one.class_weights else 1.0
                terms.append((loss, importance, float(trust[center])))
        weight = sum(w for _, w, _ in terms) or 1.0
        pooled.append((sum(w * t * loss**one.exponent for loss, w, t in terms) / weight) ** (1 / one.exponent))
    return pooled


@fixture
def scene() -> tuple[Tensor, Tensor, Tensor]:
    """Two images of patches of three classes with a few ignored pixels, logits and confidence."""
    noise = torch.Generator().manual_seed(3)
    label = torch.randint(3, (2, 4, 3), generator=noise).repeat_interleave(2, 1).repeat_interleave(3, 2)[:, :7]
    label = label.where(torch.rand(label.shape, generator=noise) > 0.15, 255)
    return torch.randn(2, 3, 7, 9, generator=noise), label, torch.rand(label.shape, generator=noise)


# ------------------------------------------------------------------ the numbers worked out by hand


def test_without_neighbors_it_is_the_power_mean_of_cross_entropy():
    assert value({"radius": 0}) == approx(0.4962590, abs=1e-6)
    assert value({"radius": 0, "exponent": 5}) == approx(1.0542115, abs=1e-6)


def test_merged_logits_of_the_reference_case():
    codes = coded(LABEL, 255, UNLABELED)
    found = merged(LOGITS, codes, coded(LABEL, 255, NOBODY), Windows.gaussian(1, 1, 1.0, by_count=False))
    assert found[0, :, 0].T.tolist() == [approx([1.244919, 0.377541], abs=1e-6), approx([0.755081, 0.622459], abs=1e-6), approx([0, 3])]


@mark.parametrize(
    ("words", "each", "mean"),
    [
        ({}, [0.350693, 0.629033, 0.048587], 0.3427712),
        ({"width": UNIFORM}, [0.474077, 0.474077, 0.048587], 0.3322471),
        ({"merge": "prob"}, [0.431096, 0.693264, 0.048587], 0.3909822),
        ({"norm": "count"}, [0.404271, 0.641300, 0.048587], 0.3647193),
    ],
)
def test_losses_of_the_reference_case(words, each, mean):
    assert by_window(words).flatten().tolist() == approx(each, abs=1e-6)
    assert value(words) == approx(mean, abs=1e-6)


def test_pooled_values_of_the_reference_case():
    assert value({"exponent": 5}) == approx(0.5102771, abs=1e-6)
    assert value({"exponent": 5, "width": UNIFORM}) == approx(0.4371506, abs=1e-6)
    assert value({"merge": "prob", "width": UNIFORM}) == approx(0.3852709, abs=1e-6)


@mark.parametrize(
    ("words", "first"),
    [
        ({}, [-0.120132, -0.134100, 0.015809]),
        ({"exponent": 5.0}, [-0.149376, -0.232010, 1e-6]),
        ({"merge": "prob"}, [-0.059955, -0.119676, 0.015809]),
        ({"radius": 0}, [-0.039734, -0.243686, 0.015809]),
    ],
)
def test_gradients_of_the_reference_case(words, first):
    found = gradient(words)[0, :, 0]
    assert found[0].tolist() == approx(first, abs=2e-6)
    assert found[1].tolist() == approx([-one for one in first], abs=2e-6)


def test_an_ignored_pixel_is_not_seen_from_either_side():
    label = tensor([[[0, 255, 1]]])
    assert value(label=label) == approx(0.0877577, abs=1e-6)
    assert gradient(label=label)[0, :, 0, 1].tolist() == [0, 0]


def test_two_even_halves_are_cross_entropy():
    label = tensor([[[0, 0, 1, 1]] * 4])
    logits = torch.where(label[:, None] == 0, tensor([1.0, 0]).view(1, 2, 1, 1), tensor([0.0, 2]).view(1, 2, 1, 1))
    for radius, width in ((0, 1.0), (1, 1.0), (2, 0.5)):
        assert value({"radius": radius, "width": width}, logits, label) == approx(0.2200948, abs=1e-6)
        assert value({"radius": radius, "width": width, "exponent": 5}, logits, label) == approx(0.2733032, abs=1e-6)


def test_an_isolated_error_is_forgiven():
    logits = tensor([2.0, 0]).view(1, 2, 1, 1).repeat(1, 1, 3, 3)
    logits[0, :, 1, 1] = tensor([0.0, 2])
    found, label = by_window({}, logits, torch.zeros(1, 3, 3, dtype=torch.long))[0], torch.zeros(1, 3, 3, dtype=torch.long)
    assert found[0, 0].item() == approx(0.277604, abs=1e-6)
    assert found[0, 1].item() == approx(0.220738, abs=1e-6)
    assert found[1, 1].item() == approx(0.237497, abs=1e-6)
    assert by_window({"radius": 0}, logits, label)[0, 1, 1].item() == approx(2.1269, abs=5e-5), "cross entropy"
    ours, plain = gradient({}, logits, label)[0, 0], gradient({"radius": 0}, logits, label)[0, 0]
    assert [-plain[1, 1].item(), -ours[1, 1].item()] == approx([0.0979, 0.0404], abs=5e-5)
    assert [-plain[0, 0].item(), -ours[0, 0].item()] == approx([0.0132, 0.0186], abs=5e-5)


@mark.parametrize(("width", "share"), [(0.5, 0.480), (1.0, 0.171), (2.0, 0.124)])
def test_share_of_the_center_in_a_full_window(width, share):
    windows = Windows.gaussian(1, 1, width, by_count=False)
    leaf, label = torch.zeros(1, 1, 3, 3, requires_grad=True), torch.zeros(1, 3, 3, dtype=torch.int16)
    merged(leaf, label, label, windows)[0, 0, 1, 1].backward()
    assert leaf.grad is not None
    assert leaf.grad[0, 0, 1, 1].item() == approx(share, abs=5e-4)
    assert Windows.gaussian(2, 1, 1.0, by_count=False).gains == (1.0, approx(0.6065, abs=5e-5), approx(0.1353, abs=5e-5))


def test_weight_that_pixels_of_an_even_image_receive():
    windows, label = Windows.gaussian(1, 1, 1.0, by_count=False), torch.zeros(1, 5, 5, dtype=torch.int16)
    leaf = torch.zeros(1, 1, 5, 5, requires_grad=True)
    merged(leaf, label, label, windows).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad[0, 0, [0, 1, 2], [0, 1, 2]].tolist() == approx([0.759, 1.299, 1.0], abs=5e-4)
    assert leaf.grad.sum().item() == approx(25)


@mark.parametrize(("power", "pooled"), [(1.0, 0.575), (2.0, 1.004), (3.0, 1.260), (5.0, 1.516), (10.0, 1.741)])
def test_pooling_one_hard_window_among_four(power, pooled):
    values, ones = tensor([[0.1, 0.1, 0.1, 2.0]]), torch.ones(1, 4)
    leaf = values.clone().requires_grad_()
    found = minkowski(leaf, ones, ones, power)
    found.sum().backward()
    assert leaf.grad is not None
    assert found.item() == approx(pooled, abs=6e-4)
    assert leaf.grad.sum().item() <= 1 + 1e-6
    if power == 5:
        assert leaf.grad.sum().item() == approx(0.758, abs=6e-4)


def test_powers_do_not_overflow():
    assert minkowski(tensor([[1e-9, 30.0]]), torch.ones(1, 2), torch.ones(1, 2), 5.0).item() == approx(26.116517, rel=1e-6)
    leaf = tensor([[0.0, 0.0], [1e9, 0.0]], requires_grad=True)
    minkowski(leaf, torch.ones(2, 2), torch.ones(2, 2), 3.0).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()


def test_class_weights_are_not_raised_to_the_power():
    values, weight = tensor([[1.0, 2.0]]), tensor([[2.0, 1.0]])
    assert minkowski(values, weight, weight, 5.0).item() == approx(((2 + 32) / 3) ** 0.2)


# ------------------------------------------------------------------ properties


@mark.parametrize("words", SWITCHES)
@mark.parametrize("power", [1.0, 2.5])
def test_it_is_the_literal_definition(words, power, scene):
    logits, label, trust = scene
    one = settings.Lal(**words, exponent=power, ramp=AT_ONCE, class_weights=(1.0, 0.5, 2.0))
    assert lal(one, logits, label, trust, 1.0).tolist() == approx(literal(one, logits, label, trust), rel=1e-5)


@mark.parametrize("words", [{}, {"merge": "prob", "anchor": "all"}, {"stride": 2, "norm": "count"}])
def test_it_is_the_literal_definition_in_3d(words):
    noise = torch.Generator().manual_seed(5)
    label = torch.randint(2, (1, 3, 2, 3), generator=noise).repeat_interleave(2, 2)
    logits = torch.randn(1, 2, 3, 4, 3, generator=noise)
    one = settings.Lal(**words, exponent=3, ramp=AT_ONCE)
    assert lal(one, logits, label).tolist() == approx(literal(one, logits, label, torch.ones(label.shape)), rel=1e-5)


@mark.parametrize("words", [{}, {"merge": "prob"}, {"anchor": "all", "stride": 2}, {"norm": "count", "radius": 2, "width": 0.7}])
def test_gradients_are_those_of_finite_differences(words, scene):
    one = settings.Lal(**words)
    windows = Windows.gaussian(one.radius, one.stride, one.width, one.norm == "count")
    codes = coded(scene[1][:1, 1:4, 2:6], 255, UNLABELED)
    asked = targets(codes, windows, everyone=one.anchor == "all")
    leaf = scene[0][:1, :, 1:4, 2:6].double().requires_grad_()

    def pooled(logits: Tensor) -> Tensor:
        found = torch.cat([surprises(logits, codes, target, windows, one.merge).flatten(1) for target in asked], dim=1)
        weight = torch.cat([importance(target, (1.0, 2.0, 0.5), logits).flatten(1) for target in asked], dim=1)
        return minkowski(found, weight, weight, 3.0)

    assert torch.autograd.gradcheck(pooled, (leaf,))


def test_gradients_of_volumes_are_those_of_finite_differences():
    label = torch.randint(2, (1, 2, 2, 3), generator=torch.Generator().manual_seed(1)).to(torch.int16)
    leaf = torch.randn(1, 2, 2, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    windows = Windows.gaussian(1, 1, 1.0, by_count=False)
    assert torch.autograd.gradcheck(lambda z: merged_surprise(z, label, label, windows), (leaf,))


def test_small_blocks_give_the_same(scene, monkeypatch):
    logits, label, _ = scene
    words = {"radius": 2, "anchor": "all", "exponent": 3}
    whole, slope = lal(settings.Lal(**words, ramp=AT_ONCE), logits, label), gradient(words, logits, label)
    monkeypatch.setattr("smidgen.parts.losses.merging.BLOCK", 30)
    assert lal(settings.Lal(**words, ramp=AT_ONCE), logits, label).tolist() == approx(whole.tolist(), rel=1e-6)
    assert gradient(words, logits, label).flatten().tolist() == approx(slope.flatten().tolist(), abs=1e-7)


def test_never_more_than_averaged_cross_entropy(scene):
    logits, label, _ = scene
    windows = Windows.gaussian(1, 1, 1.0, by_count=False)
    plain = torch.nn.functional.cross_entropy(logits, label, ignore_index=255, reduction="none")
    codes, asked = coded(label, 255, UNLABELED), coded(label, 255, NOBODY)
    averaged = merged(plain[:, None], codes, asked, windows)[:, 0]
    for merge in ("logit", "prob"):
        assert (by_window({"merge": merge}, logits, label) <= averaged + 1e-6).all()
    gaps = merged(
        torch.nn.functional.cross_entropy(LOGITS, LABEL, reduction="none")[:, None],
        coded(LABEL, 255, UNLABELED),
        coded(LABEL, 255, NOBODY),
        windows,
    )
    assert (gaps[:, 0] - by_window()).flatten().tolist() == approx([0.224124, 0.236339, 0], abs=1e-6)


def test_where_all_labels_differ_it_is_cross_entropy_and_on_a_checkerboard_it_is_not():
    noise = torch.Generator().manual_seed(0)
    logits, label = torch.randn(1, 9, 3, 3, generator=noise), torch.arange(9).view(1, 3, 3)
    assert value({"radius": 2}, logits, label) == approx(ce(settings.Ce(), logits, label).item(), rel=1e-6)
    board = (torch.arange(3)[:, None] + torch.arange(3))[None] % 2
    assert abs(value({}, logits[:, :2], board) - ce(settings.Ce(), logits[:, :2], board).item()) > 0.005


def test_what_changes_nothing(scene):
    logits, label, _ = scene
    words = {"radius": 2, "exponent": 3}
    found = value(words, logits[:1], label[:1])
    shifted = logits[:1] + torch.randn(1, 1, 7, 9)
    assert value(words, shifted, label[:1]) == approx(found, rel=1e-5)
    order = tensor([2, 0, 1])
    other = torch.cat([order.argsort(), torch.full((253,), 255)])[label[:1]]
    assert value(words, logits[:1, order], other) == approx(found, rel=1e-5)
    assert value(words, logits[:1].flip(3), label[:1].flip(2)) == approx(found, rel=1e-5)
    assert value(words, logits[:1].rot90(1, (2, 3)), label[:1].rot90(1, (1, 2))) == approx(found, rel=1e-5)
    wide, far = torch.nn.functional.pad(logits[:1], (4, 4, 4, 4)), torch.nn.functional.pad(label[:1], (4, 4, 4, 4), value=255)
    assert value(words, wide, far) == approx(found, rel=1e-5)


def test_larger_exponents_never_give_less_and_never_more_than_the_worst(scene):
    logits, label, _ = scene
    found = [value({"exponent": k}, logits[:1], label[:1]) for k in (1, 1.5, 2, 3, 5, 10, 40)]
    assert found == sorted(found)
    assert found[-1] <= by_window({}, logits[:1], label[:1]).max().item()


def test_a_stride_takes_some_of_the_windows(scene):
    logits, label, _ = scene
    dense, coarse = by_window({}, logits, label), by_window({"stride": 2}, logits, label)
    assert coarse.shape == (2, 4, 5)
    assert coarse.tolist() == dense[:, ::2, ::2].tolist()
    assert by_window({"stride": 2}, torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)).numel() == 4


def test_all_classes_of_a_window_count_even_around_an_ignored_center():
    logits, label = LOGITS, tensor([[[0, 255, 1]]])
    windows = Windows.gaussian(1, 1, 1.0, by_count=False)
    found = targets(coded(label, 255, UNLABELED), windows, everyone=True)
    assert [one[0, 0].tolist() for one in found] == [[0, 0, 1], [NOBODY, 1, NOBODY]]
    cost = [0.126928, 0.126928, 0.048587, 0.048587]  # each pixel alone, once more at the ignored center
    assert value({"anchor": "all"}, logits, label) == approx(sum(cost) / 4, abs=1e-6)


def test_the_batch_may_be_one_pool(scene):
    logits, label, _ = scene
    one = settings.Lal(pool="batch", ramp=AT_ONCE, exponent=5)
    found = lal(one, logits, label)
    assert found[0] == found[1]
    each = by_window({}, logits, label)[label != 255]
    assert found[0].item() == approx((each**5).mean().item() ** 0.2, rel=1e-5)


def test_the_exponent_rises_with_training():
    one = settings.Lal(exponent=5, ramp=(0.5, 0.75))
    assert [exponent(one, progress) for progress in (0.0, 0.5, 0.625, 0.75, 1.0)] == [1, 1, 3, 5, 5]
    assert exponent(settings.Lal(ramp=(0.5, 0.5)), 0.49) == 1
    assert exponent(settings.Lal(ramp=AT_ONCE), 0.0) == 5
    with raises(ValueError, match="ends after it begins"):
        settings.Lal(ramp=(0.5, 0.25))


def test_labels_are_taken_at_the_places_of_coarse_logits():
    logits = torch.randn(1, 2, 2, 3, generator=torch.Generator().manual_seed(0))
    places = tensor([[[0, 1, 1], [0, 255, 1]]])
    label = places.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, :7, :11]
    assert value({}, logits, label) == approx(value({}, logits, places), rel=1e-6)
    fine = value({"at": "label"}, logits, label)
    upsampled = torch.nn.functional.interpolate(logits, scale_factor=4, mode="bilinear")[:, :, :7, :11]
    assert fine == approx(value({}, upsampled, label), rel=1e-6)


def test_wrong_class_weights_say_how_many():
    with raises(SettingsError, match="expected 2 weights"):
        value({"class_weights": (1.0, 2.0, 3.0)})


def test_memory_kept_does_not_grow_with_the_window():
    def kept(radius: int) -> int:
        sizes = []

        def pack(tensor: Tensor) -> Tensor:
            sizes.append(tensor.numel() * tensor.element_size())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            leaf = torch.randn(1, 8, 16, 16, requires_grad=True)
            lal(settings.Lal(radius=radius), leaf, torch.zeros(1, 16, 16, dtype=torch.long))
        return sum(sizes)

    assert kept(1) == kept(5)
    assert kept(1) <= 2 * 8 * 16 * 16 * 4


@pytest.mark.slow
def test_it_compiles():
    compiled = torch.compile(lambda z, y: lal(settings.Lal(**PLAIN), z, y).sum(), backend="aot_eager")
    leaf = LOGITS.clone().requires_grad_()
    compiled(leaf, LABEL).backward()
    assert leaf.grad is not None
    assert leaf.grad.flatten().tolist() == approx(gradient().flatten().tolist(), abs=1e-6)
