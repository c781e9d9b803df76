"""Images that do not fit in memory: read, looked at and written strip by strip, with the same result."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

import smidgen
from smidgen.core.errors import UsageError
from smidgen.data import large
from smidgen.products.onnx import INPUT, OUTPUT, Description, OnnxSegmenter, Way, metadata

pytest.importorskip("onnxruntime")
helper = pytest.importorskip("onnx.helper")
predicting = importlib.import_module("smidgen.actions.predict")  # the package's attribute of this name is the function


def colors_to_classes(path, mask_values=(), patch=0, size=0, max_pixels=2_000_000):
    """A file whose classes are the color channels: probabilities are their softmax, of each pixel for itself."""
    ends = [helper.make_tensor_value_info(name, 1, ["b", 3, "h", "w"]) for name in (INPUT, OUTPUT)]
    graph = helper.make_graph([helper.make_node("Softmax", [INPUT], [OUTPUT], axis=1)], "g", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    names = ("background", "green", "blue")
    way = Way(max_pixels=max_pixels, overlap=0.25)
    told = Description(
        format=1,
        version="0",
        classes=names,
        background=0,
        colors=((0, 0, 0),) * 3,
        mask_values=mask_values,
        channels=3,
        way=way,
        patch=patch,
        size=size,
    )
    helper.set_model_props(model, metadata(told))
    path.write_bytes(model.SerializeToString())
    return path


def noise(h, w):
    return np.random.default_rng(0).integers(0, 256, (h, w, 3)).astype(np.uint8)


@pytest.mark.parametrize("kind", ["tif", "png"])
@pytest.mark.parametrize("values", [(), (0, 2, 900)])
def test_strips_give_the_mask_of_the_whole(tmp_path, monkeypatch, kind, values):
    monkeypatch.setattr(large, "VALUES", 5000)
    photo, path = noise(90, 130), tmp_path / f"a.{kind}"
    tifffile.imwrite(path, photo, photometric="rgb", tile=(16, 32), compression="zlib") if kind == "tif" else Image.fromarray(photo).save(
        path
    )
    model = colors_to_classes(tmp_path / "m.onnx", values, patch=32, max_pixels=2000)
    monkeypatch.setattr(predicting, "OVERLAY_SIDE", 64)
    found = smidgen.predict(model, path, out=tmp_path / "masks", overlay=True, probs=True)
    odds = np.exp(photo.transpose(2, 0, 1).astype(np.float32) / 255)
    probs = odds / odds.sum(axis=0)
    clear = np.sort(probs, axis=0)[2] - np.sort(probs, axis=0)[1] > 1e-5
    mask = np.array(Image.open(tmp_path / "masks" / "a.png"))
    expected = np.array(values or (0, 1, 2))[probs.argmax(axis=0)]
    assert (mask == expected)[clear].all() and clear.mean() > 0.95
    with np.load(tmp_path / "masks" / "probs" / "a.npz") as file:
        np.testing.assert_allclose(file["probs"].astype(np.float32), probs, atol=1e-3)
    assert found.confidence[str(path)] == pytest.approx(probs.max(axis=0).mean(), abs=1e-5)
    with Image.open(tmp_path / "masks" / "overlays" / "a.jpg") as shown:
        assert shown.size == (44, 30)  # every third pixel


def test_an_image_that_is_shrunk_as_in_training_is_shrunk_by_bands(tmp_path):
    model = OnnxSegmenter.load(colors_to_classes(tmp_path / "m.onnx", size=40, max_pixels=4000))
    image = np.repeat(np.repeat(np.random.default_rng(0).random((3, 20, 10), dtype=np.float32), 8, axis=1), 8, axis=2)
    parts, whole = model.predict(image, max_pixels=4000), model.predict(image, max_pixels=1_000_000)
    np.testing.assert_allclose(parts.confidence, whole.confidence, atol=1e-5)
    assert (parts.label == whole.label).mean() > 0.999


def test_masks_hold_the_numbers_of_the_training_masks_and_are_scored_by_them(tmp_path, capsys):
    """nnU-Net's labels may be 0, 2, 900: inside they are 0, 1, 2, in masks they are what they were."""
    data, names = tmp_path / "Dataset001", {"background": 0, "green": 2, "blue": 900}
    for folder in ("imagesTr", "labelsTr"):
        (data / folder).mkdir(parents=True)
    photo = noise(20, 30)
    Image.fromarray(photo).save(data / "imagesTr" / "c_0000.png")
    tifffile.imwrite(data / "labelsTr" / "c.tif", np.array([0, 2, 900], np.uint16)[photo.argmax(axis=2)])
    told = {"channel_names": {"0": "R"}, "labels": names, "numTraining": 1, "file_ending": ".png"}
    (data / "dataset.json").write_text(json.dumps(told))
    opened = smidgen.Dataset.open(data, val=0)
    assert opened.mask_values == (0, 2, 900) and opened.without([]).mask_values == (0, 2, 900)
    model = colors_to_classes(tmp_path / "m.onnx", opened.mask_values)
    smidgen.predict(model, data / "imagesTr" / "c_0000.png", out=tmp_path / "masks")
    (tmp_path / "masks" / "c_0000.png").rename(tmp_path / "masks" / "c.png")
    for source in (tmp_path / "masks", model):
        assert smidgen.evaluate(source, data, split="all").facts["miou"] > 0.98  # where two colors are equal, either is right
    Image.fromarray(np.full((20, 30), 7, np.uint8)).save(tmp_path / "masks" / "c.png")
    with pytest.raises(UsageError, match=r"c\.png: holds 7, and the masks of this data hold 0, 2, 255, 900"):
        smidgen.evaluate(tmp_path / "masks", data, split="all")


PEAK = """
import json, sys
from smidgen.cli.main import main
from smidgen.core.memory import peak_mib
code = main(sys.argv[1:])
print(json.dumps(peak_mib()))
sys.exit(code)
"""


def peak(model, image, out) -> float:
    words = ["predict", str(model), str(image), "--out", str(out)]
    done = subprocess.run([sys.executable, "-c", PEAK, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="memory is not told there")
@pytest.mark.parametrize("how", [{}, {"tile": (256, 256), "compression": "zlib"}])
def test_memory_is_bounded_by_a_strip(tmp_path, how):
    """16000 x 4000: stored 192 MB, as floats 768 MB, as probabilities 768 MB; a strip of 256 rows: 12 MB of each class."""
    model = colors_to_classes(tmp_path / "m.onnx", patch=256)
    Image.fromarray(noise(64, 64)).save(tmp_path / "small.png")
    block = noise(256, 256)
    tifffile.imwrite(tmp_path / "large.tif", np.tile(block, (63, 16, 1))[:16000, :4000], photometric="rgb", **how)
    usual = peak(model, tmp_path / "small.png", tmp_path / "a")
    large_one = peak(model, tmp_path / "large.tif", tmp_path / "b")
    assert large_one - usual < 150, (usual, large_one)
    with Image.open(tmp_path / "b" / "large.png") as mask:
        assert mask.size == (4000, 16000)
