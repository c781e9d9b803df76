"""`smidgen predict --calibrated` and `--largest-component`: words in, masks out; and what they can't be asked of."""

from __future__ import annotations

import importlib
import json

import numpy as np
import pytest
import torch
from PIL import Image

from smidgen.actions import predicting_volumes
from smidgen.actions.predict import predict
from smidgen.cli.main import main
from smidgen.core.errors import UsageError
from smidgen.core.screen import Silent
from smidgen.data import large
from smidgen.data.volumes import opened_volume
from smidgen.parts.imaging.components import largest_components
from smidgen.parts.networks import settings as networks
from smidgen.parts.networks.heads.settings import Point
from smidgen.products.onnx import INPUT, OUTPUT, Description, Way, metadata
from smidgen.products.sample import Classes
from smidgen.products.segmenter import Architecture, Segmenter

predicting = importlib.import_module("smidgen.actions.predict")  # the package's attribute of this name is the function
BIASES = (0.0, 1.5, -0.25)


def colors_to_classes(path, biases=BIASES, **way):
    """A file whose classes are the color channels: probabilities are their softmax, of each pixel for itself."""
    pytest.importorskip("onnxruntime")
    helper = pytest.importorskip("onnx.helper")
    ends = [helper.make_tensor_value_info(name, 1, ["b", 3, "h", "w"]) for name in (INPUT, OUTPUT)]
    graph = helper.make_graph([helper.make_node("Softmax", [INPUT], [OUTPUT], axis=1)], "g", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    names, colors = ("background", "green", "blue"), ((0, 0, 0),) * 3
    told = Description(format=1, version="0", classes=names, background=0, colors=colors, channels=3, biases=biases, way=Way(**way))
    helper.set_model_props(model, metadata(told))
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def photo(tmp_path):
    """A photo of noise, and the masks with and without biases."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    values = pixels.transpose(2, 0, 1) / 255
    return tmp_path / "a.png", values.argmax(axis=0), (values + np.reshape(BIASES, (3, 1, 1))).argmax(axis=0)


def mask(folder):
    return np.array(Image.open(folder / "a.png"))


def alike(one, other):
    return (one == other).mean() > 0.995  # ties


def test_both_are_words_of_predict(photo, tmp_path):
    path, plain, biased = photo
    model = colors_to_classes(tmp_path / "m.onnx")
    expected = {
        (): plain,
        ("--calibrated",): biased,
        ("--largest-component",): largest_components(plain),
        ("--calibrated", "--largest-component"): largest_components(biased),
    }
    assert not alike(plain, biased) and not alike(plain, largest_components(plain))
    for n, (words, found) in enumerate(expected.items()):
        assert main(["predict", str(model), str(path), "--out", str(tmp_path / str(n)), "--overlay", "--probs", *words]) == 0
        assert alike(mask(tmp_path / str(n)), found)


def test_it_is_as_the_run_was_scored_without_words(photo, tmp_path):
    path, _, biased = photo
    model = colors_to_classes(tmp_path / "m.onnx", calibrated=True, largest_component=True)
    predict(model, path, out=tmp_path / "out", screen=Silent())
    assert alike(mask(tmp_path / "out"), largest_components(biased))


def test_what_is_not_there_is_said(photo, tmp_path, monkeypatch, capsys):
    path, *_ = photo
    model = colors_to_classes(tmp_path / "m.onnx", biases=())
    assert main(["predict", str(model), str(path), "--out", str(tmp_path / "out"), "--calibrated"]) == 2
    assert "--calibrate 2" in capsys.readouterr().err
    monkeypatch.setattr(large, "VALUES", 5000)
    with pytest.raises(UsageError, match=r"a\.png: 40 x 50 pixels are predicted strip by strip.*--largest-component"):
        predict(model, path, out=tmp_path / "out", largest_component=True, screen=Silent())
    assert not list((tmp_path / "out").glob("*"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of volumes with fresh weights, whose class biases leave foreground in few places that do not touch."""
    own = networks.Encoder(name="resunet", weights="none", width=4, depth=2, norm="batch", first=1)
    architecture = Architecture(own, "point", Point(), Classes(("background", "ball")), 1, patch=(8, 16, 16), dims=3, zscored=True)
    torch.manual_seed(0)
    model = Segmenter(architecture.build(), architecture)
    volume = np.random.default_rng(0).standard_normal((1, 20, 30, 24)).astype(np.float32)
    probs = model.predict(volume, keep_probs=True).probs.astype(np.float32)
    few = float(np.quantile(np.log(probs[0] / probs[1]), 0.04))
    folder = tmp_path_factory.mktemp("run")
    model.with_biases((0.0, few)).save(folder / "model")
    return folder


@pytest.mark.parametrize("kind", ["tif", "zarr"])
def test_volumes_lose_smaller_pieces(run, tmp_path, kind):
    array = np.random.default_rng(0).integers(0, 1000, (20, 30, 24)).astype(np.uint16)
    path = tmp_path / f"a.{kind}"
    if kind == "zarr":
        pytest.importorskip("zarr").save_array(path, array, zarr_format=2)
    else:
        pytest.importorskip("tifffile").imwrite(path, array, imagej=True, metadata={"axes": "ZYX"})
    found = predict(run, path, out=tmp_path / "out", calibrated=True, largest_component=True, probs=True, overlay=True, screen=Silent())
    label = opened_volume(next(iter(found.masks.values()))).voxels[:][0]
    direct = Segmenter.load(run / "model").predict(opened_volume(str(path))[:], calibrated=True)
    np.testing.assert_array_equal(label, largest_components(direct.label))
    assert (label != direct.label).any() and label.any()


def test_volumes_that_are_predicted_block_by_block_are_refused(run, tmp_path, monkeypatch):
    pytest.importorskip("zarr").save_array(tmp_path / "a.zarr", np.zeros((20, 30, 24), np.uint16), zarr_format=2)
    monkeypatch.setattr(predicting_volumes, "MOST_WHOLE", 10_000)
    with pytest.raises(UsageError, match=r"a\.zarr: 0 million voxels are predicted block by block.*--largest-component"):
        predict(run, tmp_path / "a.zarr", out=tmp_path / "out", largest_component=True, screen=Silent())
    assert not list((tmp_path / "out").glob("*.zarr"))


def test_run_yaml_says_how_it_was_scored(run, tmp_path):
    (tmp_path / "model").mkdir()
    for name in ("model.json", "model.safetensors"):
        (tmp_path / "model" / name).write_bytes((run / "model" / name).read_bytes())
    (tmp_path / "run.yaml").write_text(
        "predict: windows\nwindows: {scales: [1.0], flip: false, calibrated: true, largest_component: true}\n"
    )
    restrict, how = predicting.models.way(tmp_path, Segmenter.load(tmp_path / "model"))
    assert not restrict and how == {"scales": [1.0], "flip": False, "calibrated": True, "largest_component": True}
    assert json.loads((tmp_path / "model" / "model.json").read_text())["biases"][0] == 0
