from __future__ import annotations

import torch
from pytest import mark
from torch import nn

from smidgen.parts.networks.encoders import Encoder, EncoderFactory
from smidgen.parts.networks.folding import fold_batch_norm, lean
from smidgen.parts.networks.settings import Encoder as Settings


def with_some_statistics(encoder: Encoder) -> Encoder:
    generator = torch.Generator().manual_seed(0)
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.running_var, module.weight.data, module.bias.data):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return encoder.eval()


@mark.parametrize("name", ["tf_efficientnet_lite0", "mobilenetv3_small_050", "mobilenetv4_conv_small", "resnet18", "resnet26d"])
@torch.no_grad()
def test_the_folded_network_is_the_same_function(name: str):
    encoder = with_some_statistics(EncoderFactory(Settings(name=name, weights="none"))()).double()
    folded = fold_batch_norm(encoder)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    before, after = encoder.features(image), folded.features(image)
    assert (before - after).abs().max() <= 1e-9 * before.abs().max()
    left = [module for module in folded.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(left) <= 1  # resnet26d: its stem is a sequence of its own
    assert any(isinstance(module, nn.BatchNorm2d) for module in encoder.modules())


@mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18"])
@torch.no_grad()
def test_a_lean_encoder_is_the_same_with_nothing_left_to_normalize(name: str):
    encoder = with_some_statistics(EncoderFactory(Settings(name=name, weights="none"), in_channels=2)())
    found = lean(encoder)
    image = torch.rand(1, 2, 64, 96, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(found.features(image), encoder.features(image), rtol=1e-4, atol=1e-4 * float(encoder.features(image).abs().max()))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in found.modules())
    assert not any(parameter.requires_grad for parameter in found.parameters())
    assert found.normalize.mean.dtype == torch.float32


def test_what_can_not_be_folded_stays_as_it_is():
    plain = EncoderFactory(Settings(name="vit_tiny_patch16_224", weights="none"))().eval()
    assert lean(plain) is plain
    encoder = with_some_statistics(EncoderFactory(Settings(name="resnet18", weights="none"))())
    block = encoder.model.layer1[0]

    class WithoutNormalizing(type(block)):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv1(x)  # what is made behind it is not used behind it

    block.__class__ = WithoutNormalizing
    assert lean(encoder) is encoder
