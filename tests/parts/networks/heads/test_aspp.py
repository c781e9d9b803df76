from __future__ import annotations

import torch
from pytest import mark, raises
from torch import nn

from smidgen.core.errors import SettingsError
from smidgen.parts.networks.heads import settings
from smidgen.parts.networks.heads.aspp import Aspp, Pyramid

SMALL = settings.Aspp(width=8, low=4)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def rates(head: Aspp) -> list[int]:
    return [module.dilation[0] for module in head.pyramid.modules() if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)]


def test_the_dense_pyramid_has_the_papers_size_over_2048_channels():
    found = count(Pyramid(2048, 256, (6, 12, 18)))
    convolutions = 2 * 2048 * 256 + 3 * 9 * 2048 * 256 + 5 * 256 * 256
    assert found == convolutions + 6 * 2 * 256
    assert round(found / 1e6, 1) == 15.5  # the figure of the OCR paper's table


def test_the_separable_pyramid_by_hand():
    branch = 9 * 2048 + 2 * 2048 + 2048 * 256 + 2 * 256
    rest = 2 * (2048 * 256 + 2 * 256) + 5 * 256 * 256 + 2 * 256
    assert count(Pyramid(2048, 256, (6, 12, 18), separable=True)) == 3 * branch + rest


def test_the_whole_head_by_hand():
    pyramid = 16 * 8 + 27 * 16 * 8 * 1 + 16 * 8 + 40 * 8 + 6 * 16
    decoder = (5 * 4 + 2 * 4) + (9 * 12 * 8 + 2 * 8) + (9 * 8 * 8 + 2 * 8) + (8 * 3 + 3)
    assert count(Aspp(SMALL, (3, 5, 7, 9, 16), (2, 4, 8, 16, 32), 3)) == pyramid + decoder


@mark.parametrize(("strides", "wanted"), [((4, 8, 16, 32), [3, 6, 9]), ((4, 8, 16), [6, 12, 18]), ((4, 8), [12, 24, 36])])
def test_rates_follow_the_encoders_stride(strides, wanted):
    assert rates(Aspp(SMALL, [8] * len(strides), strides, 2)) == wanted


def test_without_stride_4_it_says_so():
    with raises(SettingsError, match=r"stride 4, came \[8, 16\]"):
        Aspp(SMALL, (4, 4), (8, 16), 2)


@mark.parametrize("separable", [True, False])
@mark.parametrize("size", [(1, 1), (3, 5), (9, 2)])
def test_one_image_of_any_size_trains(separable, size):
    head = Aspp(settings.Aspp(width=8, low=4, separable=separable), (5, 6), (4, 16), 1).train()
    levels = [torch.randn(1, 5, 4 * size[0], 4 * size[1]), torch.randn(1, 6, *size, requires_grad=True)]
    logits = head(levels, (16 * size[0], 16 * size[1])).logits
    assert logits.shape == (1, 1, 4 * size[0], 4 * size[1])
    logits.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in head.parameters())


@torch.no_grad()
def test_every_branch_sees_its_distance_and_one_sees_the_whole_image():
    pyramid = Pyramid(2, 8, (2,)).eval()
    x = torch.zeros(1, 2, 9, 9)
    seen = [branch[0](torch.nn.functional.pad(torch.ones(1, 2, 1, 1), (4,) * 4)) != 0 for branch in pyramid.branches]
    places = [sorted({tuple(place) for place in found.any(dim=1)[0].nonzero().tolist()}) for found in seen]
    assert places[0] == [(4, 4)]
    assert places[1] == [(y, x) for y in (2, 4, 6) for x in (2, 4, 6)]
    x[..., 0, 0] = 5.0
    assert (pyramid(x)[..., 8, 8] - pyramid(torch.zeros_like(x))[..., 8, 8]).abs().max() > 0
