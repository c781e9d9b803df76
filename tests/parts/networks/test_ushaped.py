from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim import Adam
from torch.utils.flop_counter import FlopCounterMode

from smidgen.core.errors import SettingsError, WeightsError
from smidgen.parts.imaging.channels import ChannelStatistics
from smidgen.parts.networks.encoders import EncoderFactory
from smidgen.parts.networks.factories import HeadFactory
from smidgen.parts.networks.layers import CONVOLUTIONS, LAYOUTS
from smidgen.parts.networks.network import Network
from smidgen.parts.networks.settings import Encoder as Settings
from smidgen.parts.networks.ushaped import Unit

ZSCORED = ChannelStatistics((0.0,), (1.0,))
NAMES = ("resunet", "vnet")
SIZES = {2: (24, 33), 3: (9, 16, 21)}


def small(name: str, dims: int, **settings) -> EncoderFactory:
    return EncoderFactory(Settings(name=name, **{"width": 4, "depth": 3, **settings}), 1, pixels=ZSCORED, dims=dims)


def network(name: str, dims: int, head: str = "point", **settings) -> Network:
    encoder = small(name, dims, **settings)()
    return Network(encoder, HeadFactory(head, dims=dims)(encoder.channels, encoder.strides, 2))


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_v_net_has_the_parameters_of_the_published_one():
    encoder = EncoderFactory(Settings(name="vnet"), 1, dims=3)()
    heads = [HeadFactory("point", dims=3)(encoder.channels, encoder.strides, 1) for _ in range(2)]
    assert parameters(encoder) + sum(map(parameters, heads)) == 9_448_866
    assert parameters(heads[1]) == 17, "what a level set costs"


@torch.no_grad()
def test_the_v_net_has_the_operations_of_the_published_one():
    with torch.device("meta"):
        encoder = EncoderFactory(Settings(name="vnet"), 1, dims=3)().eval()
        heads = [HeadFactory("point", dims=3)(encoder.channels, encoder.strides, 1) for _ in range(2)]
        with FlopCounterMode(display=False) as counter:
            features = encoder(torch.zeros(1, 1, 112, 112, 80))
            assert all(head(features, (112, 112, 80)).logits.shape == (1, 1, 112, 112, 80) for head in heads)
    assert counter.get_total_flops() / 2e9 == pytest.approx(40.1, abs=0.05)


def test_the_v_net_has_its_convolutions_dropout_and_nothing_else():
    model = EncoderFactory(Settings(name="vnet"), 1, dims=3)().model
    kernels = [module.kernel_size for module in model.modules() if isinstance(module, nn.Conv3d | nn.ConvTranspose3d)]
    assert kernels.count((3, 3, 3)) == 1 + 2 + 3 + 3 + 3 + 3 + 3 + 2 + 1
    assert kernels.count((2, 2, 2)) == 4 + 4
    assert [module.p for module in model.modules() if isinstance(module, nn.Dropout3d)] == [0.5]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_pools(name):
    """Pooling of volumes is missing on Apple's chips; strides do its work."""
    made = [type(module).__name__ for module in network(name, 3).modules()]
    assert not [one for one in made if "Pool" in one]


@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_every_place_of_any_size_gets_its_logits_and_all_is_trained(name, dims, norm):
    torch.manual_seed(0)
    seen = network(name, dims, norm=norm).train()
    logits = seen(torch.randn(2, 1, *SIZES[dims])).logits
    assert logits.shape == (2, 2, *SIZES[dims])
    logits.square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in seen.parameters())


@pytest.mark.parametrize(("settings", "multiple"), [({"first": 1}, 4), ({"first": 2}, 8), ({}, 8), ({"depth": 2, "first": 1}, 2)])
def test_the_trunk_says_which_sides_it_takes(settings, multiple):
    encoder = small("resunet", 3, **settings)()
    assert encoder.multiple == multiple
    assert encoder.strides == (1,) and encoder.channels == (4,)
    assert encoder(torch.randn(1, 1, *[2 * multiple] * 3))[0].shape == (1, 4, *[2 * multiple] * 3)


def test_a_level_at_every_pixel_is_the_default_for_images_only():
    assert small("resunet", 2)().multiple == 4
    assert small("resunet", 3)().multiple == 8
    assert small("vnet", 3)().multiple == 4


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_the_continuation_is_only_seen_at_the_border(name):
    seen = network(name, 3, norm="batch").eval()
    volume = torch.randn(1, 1, 8, 11, 16)
    continued = torch.cat([volume, volume[..., -1:, :].expand(-1, -1, -1, -11 % seen.encoder.multiple, -1)], dim=3)
    assert torch.allclose(seen(volume).logits, seen(continued).logits[..., :11, :], atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
@torch.no_grad()
def test_normalization_by_image_does_not_see_the_rest_of_the_batch(dims):
    seen = network("resunet", dims, norm="instance").train()
    two = torch.randn(2, 1, *[16] * dims)
    assert torch.allclose(seen(two).logits[:1], seen(two[:1]).logits, atol=1e-4)


@torch.no_grad()
def test_by_image_is_what_the_library_calls_instance_norm():
    encoder = small("resunet", 3, norm="instance")()
    ours = encoder.model.down[0].convolved[1]
    x = torch.randn(2, 4, 5, 6, 7) * 3 + 1
    assert torch.allclose(ours(x), nn.InstanceNorm3d(4, affine=True)(x), atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_by_image_bears_a_deepest_level_of_one_place(dims):
    alone = network("resunet", dims, norm="instance", first=1).eval()
    image = torch.randn(2, 1, *(4,) * dims)
    assert torch.allclose(alone(image[:1]).logits, alone(image).logits[:1], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_works_in_16_bits_and_close_to_32(name):
    torch.manual_seed(0)
    seen = network(name, 3).eval()
    volume = torch.randn(1, 1, 16, 16, 16)
    exact = seen(volume).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = seen(volume).logits.float()
    assert (rough - exact).abs().max() < 0.05 * exact.abs().max().clamp(min=1)


@torch.no_grad()
def test_z_scored_values_reach_the_trunk_as_they_are_and_pictures_normalized():
    values = torch.tensor([-2.0, 0.0, 5.0]).view(1, 1, 1, 3)
    assert torch.equal(small("resunet", 2)().normalize(values), values)
    photo = EncoderFactory(Settings(name="resunet", width=4, depth=2), 3)().normalize
    assert torch.allclose(photo(torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)), torch.zeros(1), atol=1e-6)


def test_it_learns_where_a_ball_is():
    torch.manual_seed(0)
    place = torch.stack(torch.meshgrid(*[torch.arange(16.0)] * 3, indexing="ij"))
    center = torch.tensor([5.0, 8.0, 10.0]).view(3, 1, 1, 1)
    label = ((place - center).square().sum(dim=0) < 16).long().expand(2, -1, -1, -1)
    volume = 2.0 * label[:, None] + 0.3 * torch.randn(2, 1, 16, 16, 16)
    seen = network("resunet", 3, norm="instance", depth=2, width=8)
    optimizer = Adam(seen.parameters(), 0.02)
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(seen(volume).logits, label).backward()
        optimizer.step()
    found = seen.eval()(volume).logits.argmax(dim=1)
    assert 2 * (found * label).sum() / (found.sum() + label.sum()) > 0.95


def test_the_key_tells_trunks_apart_and_not_by_what_they_do_not_use():
    keys = {
        small("resunet", dims, **more).key
        for dims, more in [(2, {}), (3, {}), (3, {"width": 8}), (3, {"norm": "group"}), (3, {"first": 1})]
    }
    assert len(keys) == 5
    assert small("resunet", 3).key == small("resunet", 3, stride=8, frozen=2).key
    assert EncoderFactory(Settings(weights="none", width=99)).key == EncoderFactory(Settings(weights="none")).key


def test_weights_come_from_a_file_that_fits(tmp_path):
    encoder = small("resunet", 3)()
    torch.save(encoder.state_dict(), tmp_path / "a.pth")
    torch.save(encoder.model.state_dict(), tmp_path / "b.pth")
    again = small("resunet", 3, weights=str(tmp_path / "b.pth"))()
    assert all(torch.equal(one, other) for one, other in zip(encoder.parameters(), again.parameters(), strict=True))
    with pytest.raises(WeightsError, match="width, depth and norm"):
        small("resunet", 3, width=8, weights=str(tmp_path / "b.pth"))()


def test_what_takes_images_only_says_so():
    with pytest.raises(SettingsError, match=r"'tf_efficientnet_lite0' takes images.*resunet or vnet"):
        EncoderFactory(dims=3)
    with pytest.raises(SettingsError, match=r"head 'fpn' is for images.*--head point"):
        HeadFactory("fpn", dims=3)([4], [1], 2)


@torch.no_grad()
def test_object_context_works_over_volumes():
    encoder = small("resunet", 3)()
    from smidgen.parts.networks.heads.settings import Ocr

    head = HeadFactory("ocr", Ocr(width=8, key_width=4), dims=3)(encoder.channels, encoder.strides, 2)
    assert Network(encoder, head).eval()(torch.randn(1, 1, 8, 9, 8)).logits.shape == (1, 2, 8, 9, 8)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_shortcut_takes_every_second_place(dims):
    unit = Unit(6, 12, 2, 2, "batch", dims).eval().to(memory_format=LAYOUTS[dims])
    x = torch.randn(2, 6, *(9,) * dims).contiguous(memory_format=LAYOUTS[dims]).requires_grad_()
    strided = CONVOLUTIONS[dims](6, 12, 1, 2, bias=False)
    strided.load_state_dict(unit.shortcut.state_dict())
    torch.testing.assert_close(unit(x), unit.activation(unit.convolved(x) + strided(x.detach().contiguous())))
    unit(x).square().sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()
