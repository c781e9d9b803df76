from __future__ import annotations

import pytest
import torch
from torch import nn

from smidgen.parts.networks.edges import EdgeNetwork
from smidgen.parts.networks.encoders import Encoder


class Shrinking(Encoder):
    """One channel per level: the image at a half, a quarter, a sixteenth. Its batch statistics would move in training mode."""

    def __init__(self):
        nn.Module.__init__(self)
        self.channels, self.strides, self.frozen_statistics = (1, 1, 1), (2, 4, 16), False
        self.norm = nn.BatchNorm2d(1)

    def forward(self, image):
        x = self.norm(image.mean(dim=1, keepdim=True))
        return [nn.functional.avg_pool2d(x, stride) for stride in self.strides]


@pytest.fixture
def network():
    torch.manual_seed(0)
    return EdgeNetwork(Shrinking())


@pytest.mark.parametrize(("size", "places"), [((32, 48), (8, 12)), ((33, 50), (9, 13)), ((1, 4), (1, 1)), ((18, 31), (5, 8))])
def test_a_quarter_of_any_size(network, size, places):
    assert network(torch.rand(2, 3, *size)).shape == (2, *places)


def test_continuing_the_image_is_repeating_its_border(network):
    image = torch.rand(1, 3, 16, 20)
    continued = torch.cat([image, image[..., -1:].expand(-1, -1, -1, 12)], dim=-1)
    torch.testing.assert_close(network(image), network(continued)[..., :5])


def test_levels_are_brought_to_the_same_places(network):
    """With heads that hand their level through, the merged map is the sum of the levels at a quarter of the image."""
    for level in network.levels:
        level[0].weight.data.fill_(1)
    network.levels = nn.ModuleList([nn.Sequential(level[0]) for level in network.levels])
    network.merge.weight.data.fill_(1 / 32)
    network.merge.bias.data.zero_()
    network.eval()
    image = torch.rand(1, 3, 32, 32)
    quarter, sixteenth = network.encoder(image)[1:]
    expected = 2 * quarter + nn.functional.interpolate(sixteenth, scale_factor=4, mode="bilinear", align_corners=False)
    torch.testing.assert_close(network(image), expected[:, 0])


def test_the_encoder_stays_as_it_is(network):
    network.train()
    before = {name: value.clone() for name, value in network.encoder.state_dict().items()}
    network(torch.rand(2, 3, 16, 16)).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in network.encoder.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in network.encoder.parameters())
    assert all(p.grad is not None for p in network.levels.parameters())
