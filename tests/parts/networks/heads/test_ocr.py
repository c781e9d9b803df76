"""Object context: numbers worked out by hand, and what has to stay the same when classes, places or batches are exchanged."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from pytest import approx
from torch import nn, tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from smidgen.core.fit import Step
from smidgen.methods.segment.settings import Supervised
from smidgen.methods.segment.supervised import Training
from smidgen.parts.losses.sums import LossFactory
from smidgen.parts.networks.heads import settings
from smidgen.parts.networks.heads.ocr import ObjectContext, Ocr, class_means, gathered, mixed, related, soft_regions
from smidgen.parts.networks.network import Network
from smidgen.parts.networks.optimizing import rate
from smidgen.parts.networks.prediction import Aux, Prediction

SMALL = settings.Ocr(width=16, key_width=8, dropout=0.0)
CHANNELS, STRIDES = (4, 8, 12), (8, 16, 32)


def head(classes: int = 3, dims: int = 2, **changed) -> Ocr:
    torch.manual_seed(0)
    return Ocr(SMALL.model_copy(update=changed), CHANNELS, STRIDES, classes, dims)


def levels(b: int = 1, dims: int = 2, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(b, c, *(64 // s,) * dims, generator=generator) for c, s in zip(CHANNELS, STRIDES, strict=True)]


def weights(module: nn.Module) -> int:
    """Of convolutions and linear layers, biases and normalization not counted."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.ndim > 1)


# ---------------------------------------------------------------- numbers

LINE = tensor([1.0, 2, 3, 4]).view(1, 1, 1, 4)
"""Features of four places in a row."""


def summary(scores: list[float], sharpness: float = 1.0) -> float:
    return float(gathered(soft_regions(tensor(scores).view(1, 1, 1, 4), sharpness), LINE))


def test_regions_are_softmax_over_places():
    soft = soft_regions(tensor([math.log(3), 0, 0, 0]).view(1, 1, 1, 4))
    assert soft.flatten().tolist() == approx([1 / 2, 1 / 6, 1 / 6, 1 / 6])
    assert summary([math.log(3), 0, 0, 0]) == approx(2.0)
    assert summary([7.0, 7, 7, 7]) == approx(2.5)  # the plain mean; softmax over classes would give 2.3333 and 2.7143


def test_sharp_regions_are_the_best_place_and_blunt_ones_the_whole_image():
    assert summary([math.log(3), 0, 0, 0], sharpness=50.0) == approx(1.0)
    assert summary([math.log(3), 0, 0, 0], sharpness=0.0) == approx(2.5)


def test_similarity_is_divided_by_the_root_of_the_width():
    query, keys = tensor([2.0, 0, 0, 0]).view(1, 4, 1, 1), tensor([[[2.0, 0, 0, 0], [0, 2.0, 0, 0]]])
    relation = related(query, keys)
    assert relation.flatten().tolist() == approx([0.880797, 0.119203], abs=1e-6)  # undivided: 0.982014, 0.017986
    assert mixed(relation, tensor([[[10.0], [20.0]]])).item() == approx(11.192029, abs=1e-5)


def test_true_regions_have_the_means_of_their_classes():
    found = class_means(tensor([[[1, 1, 2, 2]]]), LINE, 4)
    assert found.flatten().tolist() == [0, 1.5, 3.5, 0]
    ignored = class_means(tensor([[[1, 255, 2, 2]]]), LINE, 3)
    assert ignored.flatten().tolist() == [0, 1.0, 3.5]


class Fixed(Network):
    """Logits as they are given."""

    def __init__(self):
        nn.Module.__init__(self)
        self.encoder, self.head = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)

    def forward(self, images):
        main = tensor([[2.0, 0], [0, 1]]).T.reshape(1, 2, 1, 2)
        return Prediction(main, (Aux("coarse", torch.zeros(1, 2, 1, 2), settings.Ocr().aux_weight),))


def test_the_loss_by_hand():
    learner = Training(Fixed(), [], LossFactory("ce"), Supervised(), 3)
    batch = {"labeled": {"image": torch.zeros(1, 3, 1, 2), "label": tensor([[[0, 1]]])}}
    terms = learner.terms(batch, "all", Step(0, 1, torch.Generator()))
    assert terms["ce"].item() == approx(0.2200948, abs=1e-6)
    assert sum(terms.values()).item() == approx(0.4973537, abs=1e-6)


def test_weights_over_2048_channels_as_the_paper_counts_them():
    with torch.device("meta"):
        whole = Ocr(settings.Ocr(), (2048,), (8,), 19)
    block = weights(whole.context) + weights(whole.fused)
    assert block == 1_179_648
    assert weights(whole.pixels) + block == 10_616_832


@pytest.mark.parametrize(("classes", "pairs"), [(19, 0.16 + 0.08 + 0.08), (150, 2.5)])
@torch.no_grad()
def test_operations_over_2048_channels_as_the_paper_counts_them(classes, pairs):
    """Billions of multiplications on 128 x 128 places; nearly all are in the reduction, places times classes are next to nothing."""
    head = Ocr(settings.Ocr(), (2048,), (8,), classes).eval()
    with FakeTensorMode(allow_non_fake_inputs=True):
        with FlopCounterMode(display=False) as reduction:
            pixels = head.pixels(torch.zeros(1, 2048, 128, 128))
        with FlopCounterMode(display=False) as rest:
            found = head.fused(torch.cat([head.context(pixels, torch.zeros(1, classes, 128, 128))[0], pixels], dim=1))
    assert found.shape == (1, 512, 128, 128)
    assert reduction.get_total_flops() / 2e9 == approx(154.6, abs=0.05)
    assert rest.get_flop_counts()["Global"][torch.ops.aten.bmm] / 2e9 == approx(pairs, abs=0.02)
    if classes == 19:
        assert (reduction.get_total_flops() + rest.get_total_flops()) / 1e9 == approx(337.8, abs=0.05)


def test_the_papers_schedule():
    assert rate(0.0, 40_000, 0, 0.9) == 1.0
    assert 0.01 * rate(0.5, 40_000, 0, 0.9) == approx(0.00535887, abs=1e-8)
    assert 0.01 * rate(39_999 / 40_000, 40_000, 0, 0.9) == approx(7.2e-7, rel=1e-2)


# ---------------------------------------------------------------- properties


@torch.no_grad()
def test_weights_sum_to_one_and_summaries_stay_among_their_places():
    found = head(classes=5).eval().regions(levels(b=2))
    assert torch.allclose(found.soft.sum(dim=(2, 3)), torch.ones(2, 5), atol=1e-5)
    assert torch.allclose(found.relation.sum(dim=1), torch.ones(2, 8, 8), atol=1e-5)
    pixels = torch.randn(2, 6, 8, 8)
    mean = gathered(found.soft, pixels)
    assert (mean >= pixels.amin(dim=(2, 3))[:, None]).all()
    assert (mean <= pixels.amax(dim=(2, 3))[:, None]).all()


@pytest.fixture(scope="module")
def block():
    """An object context, features and coarse scores of four classes."""
    torch.manual_seed(0)
    return ObjectContext(16, 8).eval(), torch.randn(2, 16, 5, 6), torch.randn(2, 4, 5, 6)


@torch.no_grad()
def test_a_constant_on_one_class_changes_nothing_on_one_place_it_does(block):
    context, pixels, coarse = block
    before, regions = context(pixels, coarse)
    coarse_class, coarse_place = coarse.clone(), coarse.clone()
    coarse_class[:, 2] += 3
    coarse_place[..., 1, 1] += 3
    after, regions_after = context(pixels, coarse_class)
    assert torch.allclose(after, before, atol=1e-5)
    assert torch.allclose(regions_after.relation, regions.relation, atol=1e-5)
    assert not torch.allclose(context(pixels, coarse_place)[0], before, atol=1e-3)


@torch.no_grad()
def test_the_order_of_classes_does_not_matter(block):
    context, pixels, coarse = block
    before, regions = context(pixels, coarse)
    order = [2, 0, 3, 1]
    after, regions_after = context(pixels, coarse[:, order])
    assert torch.allclose(regions_after.relation, regions.relation[:, order], atol=1e-6)
    assert torch.allclose(gathered(regions_after.soft, pixels), gathered(regions.soft, pixels)[:, order], atol=1e-6)
    assert torch.allclose(after, before, atol=1e-5)


@torch.no_grad()
def test_places_are_treated_alike_wherever_they_are(block):
    context, pixels, coarse = block
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))

    def exchanged(x):
        return x.flatten(2)[..., order].view(x.shape)

    assert torch.allclose(context(exchanged(pixels), exchanged(coarse))[0], exchanged(context(pixels, coarse)[0]), atol=1e-5)


@torch.no_grad()
def test_with_one_class_all_places_have_the_same_context(block):
    context, pixels, coarse = block
    found, regions = context(pixels, coarse[:, :1])
    assert (regions.relation == 1).all()
    assert torch.allclose(found, found[..., :1, :1].expand_as(found), atol=1e-5)


@torch.no_grad()
def test_parts_of_an_image_add_up_to_the_whole():
    """Softmax in pieces: each piece's summaries, weighted by its share of the sum."""
    coarse, pixels = 5 * torch.randn(2, 3, 12, 7), torch.randn(2, 6, 12, 7)
    whole = gathered(soft_regions(coarse), pixels)
    pieces = list(zip(coarse.split(5, dim=2), pixels.split(5, dim=2), strict=True))
    shares = torch.stack([one.flatten(2).logsumexp(dim=2) for one, _ in pieces]).softmax(dim=0)
    summed = sum(share[..., None] * gathered(soft_regions(one), other) for share, (one, other) in zip(shares, pieces, strict=True))
    assert torch.allclose(summed, whole, atol=1e-5)


def test_who_learns_from_what():
    net = head().train()
    found = net(levels(b=2), (64, 64))
    (coarse,) = found.aux
    assert (coarse.name, coarse.weight) == ("coarse", 0.4)
    of_context = [*net.context.parameters(), *net.fused.parameters(), *net.pixels.parameters(), *net.scores.parameters()]
    of_coarse = list(net.coarse.parameters())
    reached = torch.autograd.grad(coarse.logits.square().sum(), of_context, retain_graph=True, allow_unused=True)
    assert all(gradient is None for gradient in reached)
    reached = torch.autograd.grad(found.logits.square().sum(), of_coarse, allow_unused=True)
    assert all(gradient is not None and gradient.any() for gradient in reached[:-1])
    assert reached[-1].abs().max() < 1e-3 * reached[0].abs().max()  # a constant on a class moves no region


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("classes", [1, 2, 7])
@pytest.mark.parametrize("b", [1, 2])
def test_few_classes_and_one_image_train(dims, classes, b):
    net = head(classes, dims).train()
    found = net(levels(b, dims), (64,) * dims)
    assert found.logits.shape == (b, classes, *(8,) * dims)
    (found.logits.square().mean() + found.aux[0].logits.square().mean()).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in net.parameters())


@torch.no_grad()
@pytest.mark.parametrize("training", [True, False])
def test_a_batch_is_its_images_one_by_one(training):
    net, batch = head().train(training), levels(b=2)
    alone = torch.cat([net([level[i : i + 1] for level in batch], (64, 64)).logits for i in range(2)])
    assert torch.allclose(net(batch, (64, 64)).logits, alone, atol=1e-5)


# ---------------------------------------------------------------- the head


@torch.no_grad()
def test_the_whole_image_reaches_every_place():
    net, batch = head().eval(), levels()
    before = net(batch, (64, 64)).logits
    batch[0][..., 0, 0] += 5
    assert (net(batch, (64, 64)).logits[..., 7, 7] - before[..., 7, 7]).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("strides", "finest", "stride", "taken"), [((2, 4, 8, 16), 8, 8, 2), ((2, 4, 8), 4, 4, 2), ((2, 4), 8, 4, 1), ((16,), 4, 16, 1)]
)
def test_any_pyramid_will_do(strides, finest, stride, taken):
    net = Ocr(SMALL.model_copy(update={"finest": finest}), (6,) * len(strides), strides, 2)
    assert (net.stride, net.pixels[0].in_channels) == (stride, 6 * taken)
    features = [torch.randn(1, 6, 32 // s, 64 // s) for s in strides]
    assert net(features, (32, 64)).logits.shape == (1, 2, 32 // stride, 64 // stride)


@torch.no_grad()
def test_it_can_start_as_its_coarse_scores():
    net = head(start="coarse").train()
    found = net(levels(), (64, 64))
    assert torch.equal(found.logits, found.aux[0].logits)
    assert not torch.equal((other := head().train()(levels(), (64, 64))).logits, other.aux[0].logits)


def test_controls_keep_everything_else():
    whole, without = head(), head(context=False)
    assert without.regions(levels()) is None
    assert weights(whole.pixels) == weights(without.pixels) and weights(whole.coarse) == weights(without.coarse)
    assert without.train()(levels(), (64, 64)).aux
    uniform = head(sharpness=0.0).eval().regions(levels())
    assert torch.allclose(uniform.soft, torch.full_like(uniform.soft, 1 / 64))
    assert torch.allclose(uniform.relation, torch.full_like(uniform.relation, 1 / 3))
    assert not head(aux_weight=0.0).train()(levels(), (64, 64)).aux
    assert not head().eval()(levels(), (64, 64)).aux


@torch.no_grad()
@pytest.mark.parametrize("dims", [2, 3])
def test_it_works_in_16_bits_with_regions_in_32(dims):
    net, batch = head(dims=dims).eval(), levels(dims=dims)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, regions = net(batch, (64,) * dims).logits, net.regions(batch)
    assert found.isfinite().all() and regions.soft.dtype == torch.float32
    assert torch.allclose(regions.soft.flatten(2).sum(dim=2), torch.ones(1, 3), atol=1e-5)
    assert torch.allclose(found.float(), net(batch, (64,) * dims).logits, atol=0.1)


@torch.no_grad()
def test_channels_stay_last_in_memory():
    net = head().eval()
    batch = [level.contiguous(memory_format=torch.channels_last) for level in levels()]
    assert net(batch, (64, 64)).logits.is_contiguous(memory_format=torch.channels_last)
    seen: list[torch.Tensor] = []
    net.context.widened[0].register_forward_hook(lambda _, given, made: seen.extend([given[0], made]))
    net(batch, (64, 64))
    assert [one.is_contiguous(memory_format=torch.channels_last) for one in seen] == [True, True]


def test_no_tensor_has_classes_times_places_times_channels():
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            made = func(*args, **(kwargs or {}))
            for one in made if isinstance(made, tuple | list) else (made,):
                if isinstance(one, torch.Tensor):
                    self.numbers = max(self.numbers, one.untyped_storage().nbytes() // one.element_size())
            return made

    net, features = head(classes=40).train(), levels()
    with Largest() as largest:
        found = net(features, (64, 64))
        (found.logits.sum() + found.aux[0].logits.sum()).backward()
    assert largest.numbers < 2 * 64 * 40  # places times classes; times 16 channels would be 40,960


COMPILED = """
import torch
from smidgen.parts.networks.heads import settings
from smidgen.parts.networks.heads.ocr import Ocr
for dims in (2, 3):
    head = Ocr(settings.Ocr(width=16, key_width=8, dropout=0.0, start="coarse"), (4, 8), (8, 16), 3, dims).train()
    features = [torch.randn(1, c, *(32 // s,) * dims) for c, s in ((4, 8), (8, 16))]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dims == 2):
        explained = torch._dynamo.explain(head)(features, (32,) * dims)
        assert explained.graph_count == 1 and explained.graph_break_count == 0, explained.break_reasons
        one, other = torch.compile(head, fullgraph=True, backend="eager")(features, (32,) * dims), head(features, (32,) * dims)
    assert torch.equal(one.logits, other.logits) and one.aux[0].name == "coarse"
"""
"""In a process of its own, as the checks of shapes in tests are no part of the program that is compiled."""


@pytest.mark.slow
def test_it_compiles_to_one_graph():
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
