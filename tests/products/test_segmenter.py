from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from smidgen.core.errors import ShapeError, UsageError
from smidgen.parts.networks import settings as networks
from smidgen.parts.networks.encoders import Encoder
from smidgen.parts.networks.heads.settings import Fcn
from smidgen.parts.networks.network import Network
from smidgen.parts.networks.prediction import Prediction
from smidgen.products.sample import Classes
from smidgen.products.segmenter import Architecture, Segmenter, restricted

CLASSES = Classes(("background", "cat", "dog"))


class Pixels(Encoder):
    def __init__(self):
        nn.Module.__init__(self)
        self.channels, self.strides = (3,), (1,)
        self.seen: list[tuple[int, ...]] = []

    def forward(self, x):
        self.seen.append(tuple(x.shape[2:]))
        return [x]


class Leaning(nn.Module):
    """Logits are the colors, plus how far right a pixel lies: so the mirrored image is answered differently."""

    stride = 1

    def __init__(self, lean: float):
        super().__init__()
        self.lean = nn.Parameter(torch.tensor(lean))

    def forward(self, features, size):
        ramp = torch.linspace(0, 1, size[1]) * self.lean
        return Prediction(features[0] + torch.stack([ramp * 0, ramp, ramp * 0])[None, :, None, :])


def toy(lean: float = 0.0, size: int = 0, patch: int = 0) -> Segmenter:
    architecture = Architecture(networks.Encoder(), "fcn", Fcn(), CLASSES, 3, size, patch)
    return Segmenter(Network(Pixels(), Leaning(lean)), architecture)


def softmax(logits):
    odds = np.exp(logits)
    return odds / odds.sum(axis=0)


def picture(h: int, w: int):
    return np.random.default_rng(0).random((3, h, w), dtype=np.float32)


def test_probabilities_are_those_of_the_logits():
    image = picture(5, 7)
    scores = toy().predict(image, keep_probs=True)
    np.testing.assert_allclose(scores.probs, softmax(image), atol=1e-3)
    np.testing.assert_array_equal(scores.label, image.argmax(axis=0))
    np.testing.assert_allclose(scores.confidence, softmax(image).max(axis=0), atol=1e-6)
    assert scores.label.dtype == np.uint8 and toy().predict(image).probs is None


def test_a_flip_is_averaged_and_turned_back():
    image = picture(4, 6)
    ramp = np.linspace(0, 1, 6, dtype=np.float32) * 3
    forth, back = image.copy(), image.copy()
    forth[1] += ramp
    back[1] += ramp[::-1]
    expected = (softmax(forth) + softmax(back)) / 2
    found = toy(lean=3.0).probs(torch.from_numpy(image)[None], flip=True)[0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_scales_are_averaged_at_the_size_of_the_image():
    model = toy()
    flat = torch.full((1, 3, 6, 8), 0.5)
    found = model.probs(flat, scales=(0.5, 1.0, 1.5))
    assert model.network.encoder.seen == [(3, 4), (6, 8), (9, 12)]
    torch.testing.assert_close(found, torch.full((1, 3, 6, 8), 1 / 3))
    images = torch.from_numpy(picture(6, 8))[None]
    alone = [model.probs(images, scales=(scale,)) for scale in (0.5, 1.0)]
    torch.testing.assert_close(model.probs(images, scales=(0.5, 1.0)), (alone[0] + alone[1]) / 2)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(1, 6, 8))


def test_large_images_are_shrunk_as_in_training():
    model = toy(size=8)
    assert (model.zoom((16, 4)), model.zoom((8, 8)), model.zoom((3, 2))) == (0.5, 1.0, 1.0)
    assert model.predict(picture(16, 4)).label.shape == (16, 4)
    assert model.network.encoder.seen == [(8, 2)]


@pytest.mark.parametrize("window", [0, 6])
@pytest.mark.parametrize("size", [(13, 19), (9, 21), (1, 40)])
def test_windows_give_what_the_whole_image_gives(size, window):
    image = picture(*size)
    whole, parts = toy().predict(image, keep_probs=True), toy(patch=8).predict(image, keep_probs=True, window=window, max_pixels=64)
    np.testing.assert_allclose(parts.confidence, whole.confidence, atol=1e-6)
    np.testing.assert_allclose(parts.probs, whole.probs, atol=1e-3)
    assert parts.label.shape == size
    for tags in ((1,), (), (2, 1)):
        np.testing.assert_array_equal(toy(patch=8).predict(image, tags, max_pixels=64).label, toy().predict(image, tags).label)


def test_windows_never_show_the_network_more_than_it_may_see():
    for model, size, settings in [
        (toy(patch=8), (12, 17), {"max_pixels": 64}),
        (toy(patch=0), (12, 17), {"max_pixels": 90}),
        (toy(patch=99), (12, 17), {"max_pixels": 100, "scales": (0.5, 2.0)}),
        (toy(size=20, patch=8), (40, 20), {"max_pixels": 70}),
        (toy(patch=8), (12, 17), {"max_pixels": 100, "window": 20}),
    ]:
        assert model.predict(picture(*size), **settings).label.shape == size
        assert max(h * w for h, w in model.network.encoder.seen) <= settings["max_pixels"]


def test_what_is_seen_whole_needs_no_window():
    assert toy(patch=8).window((100, 100)) == 0
    assert toy(patch=8).window((100, 100), max_pixels=9_999) == 8
    assert toy().window((100, 100), max_pixels=2_500) == 50
    assert toy().window((100, 100), window=64) == 64
    assert toy().window((60, 60), window=64) == 0
    assert toy(size=50).window((100, 100), window=64) == 0


def test_tags_rule_classes_out_and_the_rest_sums_to_one():
    probs = torch.tensor([0.2, 0.6, 0.2])[:, None, None]
    assert restricted(probs, (2,), 0).flatten().tolist() == pytest.approx([0.5, 0.0, 0.5])
    assert restricted(probs, (), 0).flatten().tolist() == pytest.approx([1.0, 0.0, 0.0])
    assert restricted(probs, (1, 2), None).flatten().tolist() == pytest.approx([0.0, 0.75, 0.25])
    assert torch.equal(restricted(probs, (), None), probs)
    assert restricted(torch.tensor([0.0, 1.0, 0.0])[:, None], (2,), 0).flatten().tolist() == [0.5, 0.0, 0.5]


def test_gray_images_are_repeated_and_others_refused_in_words():
    gray = picture(4, 4)[:1]
    np.testing.assert_array_equal(toy().predict(gray).confidence, np.full((4, 4), 1 / 3, np.float32))
    with pytest.raises(ShapeError, match="takes 3 channels"):
        toy().predict(picture(4, 4)[:2])
    with pytest.raises(ShapeError, match=r"expected shape \(3, h, w\)"):
        toy().predict(picture(4, 4)[:, 0])


# -------------------------------------------------------------------- files


@pytest.fixture(scope="module")
def real() -> Segmenter:
    """A network of this package with random weights; the smallest that timm has."""
    torch.manual_seed(0)
    architecture = Architecture(
        networks.Encoder(name="test_efficientnet", weights="none"), "fcn", Fcn(width=32), CLASSES, 3, 48, 32, (-1.5, 4.0)
    )
    return Segmenter(architecture.build(), architecture, "masks", {"miou": 61.5})


def test_what_is_saved_comes_back_bit_for_bit(real, tmp_path):
    real.save(tmp_path / "new" / "model")
    assert sorted(file.name for file in (tmp_path / "new" / "model").iterdir()) == ["model.json", "model.safetensors"]
    torch.manual_seed(1)
    back = Segmenter.load(tmp_path / "new" / "model")
    image = picture(50, 37)
    for flip in (False, True):
        one, other = real.predict(image, flip=flip), back.predict(image, flip=flip)
        np.testing.assert_array_equal(one.label, other.label)
        np.testing.assert_array_equal(one.confidence, other.confidence)
    assert back.classes == CLASSES and back.recipe == "masks" and back.scores == {"miou": 61.5} and back.task == "semantic"
    assert back.architecture == real.architecture
    assert back.key and back.key == Segmenter.load(str(tmp_path / "new" / "model")).key
    assert not back.network.training


def changed(path, **fields):
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | fields))


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("classes", ["background", "dog", "cat"], "was changed"),
        ("head", {"name": "fpn"}, "was changed"),
        ("size", 999, "was changed"),
        ("format", 99, "newer smidgen"),
        ("task", "magic", "not a description"),
        ("surprise", 1, "not a description"),
        ("classes", [], "not a description"),
    ],
)
def test_a_changed_description_is_refused(real, tmp_path, field, value, says):
    real.save(tmp_path)
    changed(tmp_path / "model.json", **{field: value})
    with pytest.raises(UsageError, match=says) as error:
        Segmenter.load(tmp_path)
    assert "model.json" in str(error.value)


def test_scores_may_be_added_to_a_description(real, tmp_path):
    real.save(tmp_path)
    changed(tmp_path / "model.json", scores={"miou": 70.0}, recipe="tags")
    assert Segmenter.load(tmp_path).scores == {"miou": 70.0}


def test_weights_of_another_model_are_refused(real, tmp_path):
    real.save(tmp_path)
    weights = tmp_path / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(UsageError, match="was changed"):
        Segmenter.load(tmp_path)


def digest_again(folder):
    from smidgen.products.segmenter import _digest, _Record

    record = _Record.model_validate_json((folder / "model.json").read_text())
    changed(folder / "model.json", digest=_digest(record, (folder / "model.safetensors").read_bytes()))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"encoder": {"name": "hf-hub:someone/net"}}, "would have to be fetched"),
        ({"encoder": {"name": "test_efficientnet", "strid": 8}}, "did you mean 'stride'"),
        ({"head": {"name": "os.system"}}, "no head"),
        ({"head": {"name": "fcn", "width": 64}}, "does not hold the network"),
        ({"classes": ["one", "two"]}, "does not hold the network"),
        ({"encoder": {"name": "no_such_net"}}, "no_such_net|does not hold"),
    ],
)
def test_a_description_that_fits_no_network_is_refused(real, tmp_path, fields, says):
    real.save(tmp_path)
    changed(tmp_path / "model.json", **fields)
    digest_again(tmp_path)
    with pytest.raises(UsageError, match=says):
        Segmenter.load(tmp_path)


def test_nothing_is_unpickled(real, tmp_path):
    real.save(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(pickle.dumps({"a": 1}))
    digest_again(tmp_path)
    with pytest.raises(UsageError, match="does not hold the network"):
        Segmenter.load(tmp_path)


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"no model here \(model.json and model.safetensors missing\).*RUN/model"):
        Segmenter.load(tmp_path / "none")
    (tmp_path / "model.json").write_text("{")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match="not a description of a model"):
        Segmenter.load(tmp_path)
    (tmp_path / "model.json").write_text("[1]")
    with pytest.raises(UsageError, match="not a description of a model"):
        Segmenter.load(tmp_path)


def test_loading_needs_no_initial_weights(real, tmp_path, monkeypatch):
    moved = Segmenter(
        real.network, Architecture(networks.Encoder(name="test_efficientnet", weights="/nowhere.pth"), "fcn", Fcn(width=32), CLASSES, 3)
    )
    moved.save(tmp_path)
    assert "nowhere" not in (tmp_path / "model.json").read_text()
    monkeypatch.setattr("socket.socket.connect", None)
    assert Segmenter.load(tmp_path).classes == CLASSES
