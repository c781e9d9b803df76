from __future__ import annotations

import torch
import torch.nn.functional as F
from pytest import approx, mark

from smidgen.parts.networks.upsample import to_size


def test_whole_strides_are_plain_interpolation():
    logits = torch.rand(2, 3, 4, 5)
    assert torch.equal(to_size(logits, (16, 40)), F.interpolate(logits, size=(16, 40), mode="bilinear", align_corners=False))
    assert to_size(logits, (4, 5)) is logits


def test_a_map_that_covers_more_than_the_image_is_cut_not_stretched():
    ramp = torch.arange(5.0).view(1, 1, 1, 5)
    found = to_size(ramp, (8, 33))[0, 0, 0]
    assert found.shape == (33,)
    # The middle of place i stands at pixel 8 i + 3.5.
    assert [(found[8 * i + 3] + found[8 * i + 4]).item() / 2 for i in range(1, 4)] == approx([1, 2, 3])


@mark.parametrize("stride", [2, 4, 8, 16, 32])
def test_the_stride_is_found_from_the_sizes(stride: int):
    for size in range(stride + 1, 4 * stride + 1):
        places = -(-size // stride)
        full = F.interpolate(torch.arange(float(places)).view(1, 1, -1), size=places * stride, mode="linear")
        assert torch.equal(to_size(torch.arange(float(places)).view(1, 1, -1), (size,)), full[..., :size])


def test_volumes():
    assert to_size(torch.rand(1, 2, 3, 4, 4), (3, 16, 15)).shape == (1, 2, 3, 16, 15)
    assert to_size(torch.ones(1, 2, 2, 2, 2), (8, 8, 8)).eq(1).all()
