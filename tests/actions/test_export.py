"""`smidgen export`, and what the file does: the same probabilities, any size, everything that its use needs, no torch."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from PIL import Image

import smidgen
from smidgen.cli.main import main
from smidgen.core import registry
from smidgen.core.errors import SettingsError, UsageError
from smidgen.parts.networks import settings as networks
from smidgen.products import onnx_export
from smidgen.products.colors import PALETTE
from smidgen.products.onnx import Description, OnnxSegmenter, Way, metadata, restricted
from smidgen.products.sample import Classes
from smidgen.products.segmenter import Architecture, Segmenter
from smidgen.products.segmenter import restricted as restricted_in_torch

pytest.importorskip("onnxruntime")
NAMES = ("background", "œuf, cassé", 'a"b')


def made(head="fcn", encoder="test_efficientnet", size=0, patch=48, channels=3) -> Segmenter:
    """A network with random weights whose classes are numbered 0, 7, 12."""
    torch.manual_seed(0)
    settings = registry.part_settings("head", head)()
    how = (networks.Encoder(name=encoder, weights="none", frozen=0), head, settings, Classes(NAMES), channels, size, patch)
    architecture = Architecture(*how, value_range=(-1.5, 4.0), ids={NAMES[1]: 7, NAMES[2]: 12}, mask_values=(0, 7, 12))
    network = architecture.build()
    with torch.no_grad():
        for weight in network.head.parameters():
            weight *= 3  # surer than fresh weights are
    return Segmenter(network, architecture, "masks", {"val_miou": 0.5}, "abc")


def _raise(error):
    raise error


@contextmanager
def unchecked():
    """Shapes are not checked as types: while torch exports a network, sizes are symbols and no integers."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def write(*words, **options):
    with unchecked():
        return onnx_export.write(*words, **options)


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run folder with a model, and the file that was exported from it."""
    folder = tmp_path_factory.mktemp("export") / "run"
    made().save(folder / "model")
    (folder / "run.yaml").write_text("predict: windows\nwindows: {scales: [1.0], flip: true, window: 0, overlap: 0.5, max_pixels: 9000}\n")
    with unchecked():
        assert main(["export", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def both(run):
    """The model in torch and in onnxruntime."""
    return Segmenter.load(run / "model"), OnnxSegmenter.load(run / "model.onnx")


def picture(h: int, w: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(h * w).random((channels, h, w), dtype=np.float32)


def test_probabilities_are_the_same_at_any_size(both):
    torch_one, onnx_one = both
    for size in ((64, 64), (96, 160), (97, 131), (1, 1), (3, 70), (33, 31)):
        images = np.stack([picture(*size), picture(*size)[:, ::-1]])
        expected = torch_one.probs(torch.from_numpy(images)).numpy()
        found = onnx_one.run(images)
        assert found.shape == expected.shape == (2, 3, *size)
        np.testing.assert_allclose(found, expected, atol=1e-4)
    assert expected.max() - expected.min() > 0.1


@pytest.mark.parametrize(
    "way", [{}, {"flip": True}, {"scales": (0.5, 1.0, 1.3), "flip": True}, {"max_pixels": 3000}, {"window": 32, "scales": (0.7, 1.0)}]
)
@pytest.mark.parametrize("longest", [0, 40])
def test_predictions_are_the_same_however_they_are_made(both, way, longest):
    torch_one, onnx_one = both
    old = torch_one.architecture
    torch_one = Segmenter(torch_one.network, Architecture(*(old.encoder, old.head, old.head_settings, old.classes, 3, longest, 48)))
    onnx_one = OnnxSegmenter(onnx_one.session, onnx_one.description.model_copy(update={"size": longest}))
    for image in (picture(70, 61), picture(50, 90, channels=1)):
        one, other = (model.predict(image, keep_probs=True, **way) for model in (torch_one, onnx_one))
        np.testing.assert_allclose(other.probs.astype(np.float32), one.probs.astype(np.float32), atol=1.5e-3)  # half precision
        np.testing.assert_allclose(other.confidence, one.confidence, atol=1e-4)
        assert (other.label == one.label).mean() > 0.999


def test_the_file_tells_all_that_its_use_needs(run, both):
    import onnxruntime

    meta = onnxruntime.InferenceSession(str(run / "model.onnx"), providers=["CPUExecutionProvider"]).get_modelmeta()
    told = {name.removeprefix("smidgen."): json.loads(text) for name, text in meta.custom_metadata_map.items()}
    assert meta.producer_name == "smidgen"
    assert told["classes"] == list(NAMES)
    assert told["ids"] == {NAMES[1]: 7, NAMES[2]: 12} and told["mask_values"] == [0, 7, 12]
    assert told["colors"] == [PALETTE[i].tolist() for i in (0, 7, 12)]
    assert "[0, 1]" in told["input"] and "do not normalize" in told["input"]
    assert (told["value_range"], told["fixed"], told["patch"], told["channels"]) == ([-1.5, 4.0], 0, 48, 3)
    assert told["way"]["flip"] is True and told["way"]["max_pixels"] == 9000
    assert told["recipe"] == "masks" and told["scores"] == {"val_miou": 0.5} and told["key"] == both[0].key
    assert both[1].value_range == (-1.5, 4.0)


NO_TORCH = """
import sys
from smidgen.cli.main import main
code = main(sys.argv[1:])
heavy = {"torch", "torchvision", "timm", "lightning_fabric", "onnx", "skimage", "scipy"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else code)
"""


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    for name, size in (("a", (40, 55)), ("b", (120, 131))):
        Image.fromarray((picture(*size) * 255).astype(np.uint8).transpose(1, 2, 0)).save(folder / f"{name}.png")
    return folder


def test_predict_runs_from_the_file_without_torch_and_as_from_the_run(run, photos, tmp_path):
    words = ["predict", str(run / "model.onnx"), str(photos), "--out", str(tmp_path / "masks"), "--overlay", "--probs", "--json"]
    done = subprocess.run([sys.executable, "-c", NO_TORCH, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["least_certain"] == sorted(told["confidence"], key=told["confidence"].get)
    smidgen.predict(run, photos, out=tmp_path / "again", probs=True, device="cpu")
    for name in ("a", "b"):
        with np.load(tmp_path / "masks" / "probs" / f"{name}.npz") as one, np.load(tmp_path / "again" / "probs" / f"{name}.npz") as other:
            np.testing.assert_allclose(one["probs"].astype(np.float32), other["probs"].astype(np.float32), atol=1.5e-3)
            label = one["probs"].argmax(axis=0)
        mask = np.array(Image.open(tmp_path / "masks" / f"{name}.png"))
        assert set(np.unique(mask)) <= {0, 7, 12}  # as the masks of the training data
        assert (mask == np.array([0, 7, 12])[label]).mean() > 0.99
        assert (tmp_path / "masks" / "overlays" / f"{name}.jpg").is_file()


def test_what_the_command_says(run, tmp_path, capsys):
    assert main(["export", str(run), "--out", str(tmp_path / "m.bin")]) == 2
    assert ".onnx" in capsys.readouterr().err
    assert main(["export", str(run), "--side", "50"]) == 2
    assert "multiples of 32: use 64" in capsys.readouterr().err
    assert main(["export", str(run / "model.onnx")]) == 2
    assert "name the folder" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- what is no model


def test_files_that_are_no_models_are_named_and_never_opened(run, photos, tmp_path, capsys):
    class Nasty:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "unpickled",))

    torch.save({"state_dict": Nasty()}, tmp_path / "other.pt")
    (tmp_path / "sklearn.pkl").write_bytes(pickle.dumps(Nasty()))
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "empty.pt").write_bytes(b"")
    whole = (run / "model.onnx").read_bytes()
    (tmp_path / "half.onnx").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "pickle.onnx").write_bytes(pickle.dumps(Nasty()))
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "some.safetensors").write_bytes((run / "model" / "model.safetensors").read_bytes())
    for name, said in {
        "other.pt": "a zip archive, as torch.save",
        "sklearn.pkl": "a pickle",
        "empty.pt": "empty",
        "empty.onnx": "not a readable ONNX file",
        "half.onnx": "not a readable ONNX file",
        "pickle.onnx": "not a readable ONNX file",
        "text.txt": "no model",
        "some.safetensors": "without what they mean",
        "nowhere.onnx": "there is no such file",
    }.items():
        assert main(["predict", str(tmp_path / name), str(photos), "--out", str(tmp_path / "masks")]) == 2
        message = capsys.readouterr().err
        assert str(tmp_path / name) in message and said in message and "export" in message, message
    half = run / "model" / "model.json"
    assert main(["predict", str(half), str(photos), "--out", str(tmp_path / "masks")]) == 2
    assert f"name the folder, {half.parent}" in capsys.readouterr().err
    assert not (tmp_path / "unpickled").exists() and not (tmp_path / "masks").exists()


def other_tools_file(path, meta):
    from onnx import TensorProto, helper

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", value[:1], value[1:])
    model = helper.make_model(graph, producer_name="pytorch", opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, meta)
    path.write_bytes(model.SerializeToString())


def test_onnx_files_of_others_and_of_the_future_are_refused(tmp_path):
    good = metadata(Description(format=1, version="0", classes=("a",), background=None, colors=((0, 0, 0),), channels=3))
    for meta, said in (
        ({}, "written by pytorch, without smidgen's metadata"),
        (good, "expected a graph from 'image'"),
        (good | {"smidgen.format": "99"}, "newer smidgen"),
        (good | {"smidgen.classes": "[]"}, "describe no model"),
        (good | {"smidgen.channels": "{"}, "describe no model"),
    ):
        other_tools_file(tmp_path / "m.onnx", meta)
        with pytest.raises(UsageError, match=said) as error:
            OnnxSegmenter.load(tmp_path / "m.onnx")
        assert str(tmp_path / "m.onnx") in str(error.value)


def test_a_file_that_would_lie_is_not_written(tmp_path, monkeypatch):
    from smidgen.core.errors import SmidgenError

    after = onnx_export._after
    monkeypatch.setattr(onnx_export, "_after", lambda stride: after(stride * 2))
    with pytest.raises(SmidgenError, match=r"differ by .* nothing was written"):
        write(made(), tmp_path / "m.onnx", side=64)
    assert not list(tmp_path.iterdir())


def test_level_sets_may_differ_by_their_own_rounding(tmp_path, caplog):
    """Level sets times 3000: the last digits decide about a mask, in torch as well, which no file can undo."""
    body = networks.Encoder(name="resunet", weights="none", width=4, depth=2, norm="instance", first=1)
    head = registry.part_settings("head", "dual")(base="point", steepness=3000.0, answer="both")
    torch.manual_seed(0)
    architecture = Architecture(body, "dual", head, Classes(NAMES[:2]), 1, patch=(16, 32, 32), dims=3, zscored=True)
    _, differences = write(Segmenter(architecture.build(), architecture), tmp_path / "m.onnx")
    assert 1e-4 < max(differences.values()) < 0.1
    assert "about as much as by rounding in the network itself" in caplog.text


def test_tags_restrict_as_in_torch():
    probs = np.random.default_rng(0).dirichlet((1, 1, 1), 40).T.astype(np.float32)
    probs[:, 0] = (0, 1, 0)
    for tags, background in (((2,), 0), ((), 0), ((1, 2), None), ((), None)):
        expected = restricted_in_torch(torch.from_numpy(probs), tags, background).numpy()
        np.testing.assert_allclose(restricted(probs, tags, background), expected, atol=1e-6)


# ---------------------------------------------------------------- every head, and encoders of one size


@pytest.mark.slow
@pytest.mark.parametrize("head", sorted(registry.parts("head")))
def test_every_head_is_exported(head, tmp_path):
    description, differences = write(made(head), tmp_path / "m.onnx")
    assert description.fixed == 0 and max(differences.values()) <= 1e-4
    assert len(differences) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["resnet10t", "mobilenetv3_small_050", "convnext_atto"])
def test_common_encoders_take_any_size(encoder, tmp_path):
    description, _ = write(made(encoder=encoder), tmp_path / "m.onnx")
    assert description.fixed == 0, description.why_fixed


@pytest.mark.slow
@pytest.mark.parametrize("wished", [0, 64])
def test_a_file_of_one_size_is_led_over_others(tmp_path, monkeypatch, wished):
    segmenter = made(encoder="test_vit", patch=64)
    if not wished:  # an encoder whose sizes can't be free
        once = onnx_export._model
        monkeypatch.setattr(onnx_export, "_model", lambda model, side: once(model, side) if side else _raise(onnx_export._Unfit("no")))
    description, differences = write(segmenter, tmp_path / "m.onnx", Way(max_pixels=9000), wished)
    assert description.fixed == 64 and description.why_fixed == ("because it was wished" if wished else "no")
    assert max(differences.values()) <= 1e-4
    exported = OnnxSegmenter.load(tmp_path / "m.onnx")
    image = picture(100, 70)
    expected = segmenter.predict(image, window=64, max_pixels=64 * 64)
    np.testing.assert_allclose(exported.predict(image).confidence, expected.confidence, atol=1e-4)
    with pytest.raises(SettingsError, match="64 x 64 pixels only"):
        exported.predict(image, scales=(0.5, 1.0))
