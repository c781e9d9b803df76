from __future__ import annotations

import torch
from pytest import mark
from torch import nn

from smidgen.parts.networks.factories import HeadFactory, names

CHANNELS, STRIDES = (4, 8, 16, 24, 32), (2, 4, 8, 16, 32)


def pyramid(h: int = 64, w: int = 96, b: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(b, c, h // s, w // s, generator=generator) for c, s in zip(CHANNELS, STRIDES, strict=True)]


@mark.parametrize("name", names())
class TestEveryHead:
    def test_answers_at_its_stride_with_finite_gradients(self, name: str):
        head = HeadFactory(name)(CHANNELS, STRIDES, 5).train()
        features = [level.requires_grad_() for level in pyramid()]
        logits = head(features, (64, 96)).logits
        logits.square().sum().backward()
        assert logits.shape == (2, 5, 64 // head.stride, 96 // head.stride)
        assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in head.parameters())
        reached = [level.grad for level in features if level.grad is not None]
        assert any((gradient != 0).any() for gradient in reached)

    @torch.no_grad()
    def test_treats_images_apart_even_in_training(self, name: str):
        head = HeadFactory(name)(CHANNELS, STRIDES, 5).train()
        for module in head.modules():
            if isinstance(module, nn.modules.dropout._DropoutNd):
                module.p = 0.0
        features = pyramid()
        together = head(features, (64, 96)).logits
        assert torch.allclose(together[:1], head([level[:1] for level in features], (64, 96)).logits, atol=1e-4)

    @torch.no_grad()
    def test_works_in_16_bits(self, name: str):
        head = HeadFactory(name)(CHANNELS, STRIDES, 5).eval()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert head(pyramid(), (64, 96)).logits.isfinite().all()
