from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pytest import fixture, mark
from torch import Tensor, nn

from smidgen.parts.networks.encoders import Encoder, EncoderFactory
from smidgen.parts.networks.factories import HeadFactory, names
from smidgen.parts.networks.network import Network
from smidgen.parts.networks.prediction import Aux, Prediction
from smidgen.parts.networks.settings import Encoder as Settings

SIZES = [(64, 32), (33, 47), (31, 1), (5, 7)]


@fixture(scope="module")
def encoder() -> Encoder:
    return EncoderFactory(Settings(name="mobilenetv3_small_050", weights="none"))()


@mark.parametrize("name", names())
@torch.no_grad()
def test_any_size_gives_its_share_of_places(name: str, encoder: Encoder):
    network = Network(encoder, HeadFactory(name)(encoder.channels, encoder.strides, 3)).eval()
    for h, w in SIZES:
        stride = network.head.stride
        assert network(torch.rand(1, 3, h, w)).logits.shape == (1, 3, math.ceil(h / stride), math.ceil(w / stride))


@mark.parametrize("name", names())
@torch.no_grad()
def test_the_continuation_is_only_seen_at_the_border(name: str, encoder: Encoder):
    network = Network(encoder, HeadFactory(name)(encoder.channels, encoder.strides, 3)).eval()
    image = torch.rand(1, 3, 40, 64)
    continued = torch.cat([image, image[:, :, -1:].expand(-1, -1, 24, -1)], dim=2)
    rows = math.ceil(40 / network.head.stride)
    assert torch.equal(network(image).logits, network(continued).logits[:, :, :rows])


class WithAux(nn.Module):
    stride = 8

    def forward(self, features: Sequence[Tensor], size: Sequence[int]) -> Prediction:
        assert tuple(size) == (64, 64)
        return Prediction(features[2][:, :2], (Aux("fine", features[0][:, :2], 0.4),))


@torch.no_grad()
def test_auxiliary_logits_are_cut_at_their_own_stride(encoder: Encoder):
    found = Network(encoder, WithAux())(torch.rand(1, 3, 33, 64))
    assert found.logits.shape == (1, 2, 5, 8)
    assert found.aux[0].logits.shape == (1, 2, 17, 32)
    assert (found.aux[0].name, found.aux[0].weight) == ("fine", 0.4)
