"""What is done with probabilities and labels when a network has spoken: class biases, and only the largest pieces."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from smidgen.core.errors import UsageError
from smidgen.parts.networks import settings as networks
from smidgen.parts.networks.encoders import Encoder
from smidgen.parts.networks.heads.settings import Point
from smidgen.parts.networks.network import Network
from smidgen.parts.networks.prediction import Prediction
from smidgen.products.largest import only_largest
from smidgen.products.looks import odds
from smidgen.products.sample import Classes
from smidgen.products.scores import Scores
from smidgen.products.segmenter import Architecture, Segmenter

CLASSES = Classes(("background", "dark", "bright"))
BIASES = (0.0, 0.7, -0.4)


class Values(Encoder):
    def __init__(self, dims: int):
        nn.Module.__init__(self)
        self.channels, self.strides, self.dims = (1,), (1,), dims

    def forward(self, x):
        return [x]


class ByValue(nn.Module):
    """Low values are dark, high ones bright."""

    stride = 1

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(2.0))

    def forward(self, features, size):
        value = features[0] * self.slope
        return Prediction(torch.cat([torch.ones_like(value), -value, value], dim=1))


def toy(dims: int = 2, biases: tuple[float, ...] = BIASES, background: int | None = 0) -> Segmenter:
    classes = Classes(CLASSES.names, background)
    architecture = Architecture(networks.Encoder(), "point", Point(), classes, 1, patch=(4, 8, 8), dims=dims, zscored=True, biases=biases)
    return Segmenter(Network(Values(dims), ByValue()), architecture, key="toy")


def noise(*size: int):
    return np.random.default_rng(0).standard_normal((1, *size)).astype(np.float32)


def expected(image, biases=(0.0, 0.0, 0.0)):
    logits = np.stack([np.ones_like(image[0]), -2 * image[0], 2 * image[0]]) + np.array(biases, np.float32).reshape(
        3, *[1] * (image.ndim - 1)
    )
    sizes = np.exp(logits)
    return sizes / sizes.sum(axis=0)


@pytest.mark.parametrize(("dims", "size"), [(2, (20, 30)), (2, (5, 12, 14)), (3, (6, 12, 14))])
def test_biases_are_added_to_logits_where_that_is_wished(dims, size):
    image, model = noise(*size), toy(dims)
    for found, biases in (
        (model.predict(image, keep_probs=True), (0.0,) * 3),
        (model.predict(image, keep_probs=True, calibrated=True), BIASES),
    ):
        probs = expected(image, biases)
        np.testing.assert_allclose(found.probs, probs, atol=1e-3)
        np.testing.assert_allclose(found.confidence, probs.max(axis=0), atol=1e-5)
        assert (found.label == probs.argmax(axis=0)).mean() > 0.999
    assert (model.predict(image).label != model.predict(image, calibrated=True).label).any()
    assert model.in_effect == () and model.calibrated().in_effect == BIASES and model.calibrated().network is model.network


def test_tags_restrict_what_is_left():
    image = noise(20, 30)
    found = toy().predict(image, tags=[2], keep_probs=True, calibrated=True)
    probs = expected(image, BIASES)[[0, 2]]
    np.testing.assert_allclose(found.probs[[0, 2]], probs / probs.sum(axis=0), atol=1e-3)
    assert not found.probs[1].any()


def test_a_model_without_biases_says_what_to_do():
    with pytest.raises(UsageError, match="--calibrate 2"):
        toy(biases=()).calibrated()
    with pytest.raises(UsageError, match="--calibrate 2"):
        toy(biases=()).predict(noise(5, 5), calibrated=True)


def test_biases_are_kept_with_the_model_and_older_files_have_none(tmp_path):
    own = networks.Encoder(name="resunet", weights="none", width=4, depth=2)
    architecture = Architecture(own, "point", Point(), CLASSES, 1)
    plain = Segmenter(architecture.build(), architecture, key="plain")
    found = plain.with_biases(BIASES)
    assert found.network is plain.network and found.key != plain.key and plain.biases == () and found.biases == BIASES
    assert found.key == plain.with_biases(BIASES).key != plain.with_biases((0.0, 0.1, 0.0)).key
    found.save(tmp_path / "new")
    assert Segmenter.load(tmp_path / "new").biases == BIASES
    plain.save(tmp_path / "old")
    path = tmp_path / "old" / "model.json"
    record = json.loads(path.read_text())
    assert record.pop("biases") == []
    path.write_text(json.dumps(record))
    assert Segmenter.load(tmp_path / "old").biases == ()


def test_odds_are_what_biases_multiply_by():
    np.testing.assert_allclose(odds((0.0, np.log(2), -np.log(4)), 3)[:, 0, 0], [1, 2, 0.25], rtol=1e-6)
    assert odds((0.0, 1.0), 4).shape == (2, 1, 1, 1)


def test_smaller_pieces_become_background_and_say_how_likely_that_is():
    label = np.array([[1, 1, 0, 1, 2]], np.uint8)
    found = only_largest(Scores(label, np.full((1, 5), 0.75, np.float32)), Classes(("nothing", "organ", "other")))
    assert found.label.tolist() == [[1, 1, 0, 0, 2]]
    assert found.confidence.tolist() == [[0.75, 0.75, 0.75, 0.25, 0.75]]
    assert label.tolist() == [[1, 1, 0, 1, 2]]


@pytest.mark.parametrize(("dims", "size"), [(2, (30, 40)), (2, (5, 12, 14)), (3, (9, 20, 24))])
def test_pieces_reach_over_windows_and_slices(dims, size):
    """A ring through the whole, which windows and slices see in parts, and a dot."""
    image = np.zeros((1, *size), np.float32)
    image[:, ..., 2, 2:-2] = image[:, ..., 2:-2, 2] = 3
    dot = (0, *(n - 3 for n in size))
    image[dot] = 3
    model = toy(dims)
    plain = model.predict(image, window=8)
    found = model.predict(image, window=8, largest_component=True)
    assert plain.label[dot[1:]] == 2 and found.label[dot[1:]] == 0
    assert (plain.label != found.label).sum() == 1


def test_without_a_background_nothing_could_take_what_falls_away():
    with pytest.raises(UsageError, match="no background"):
        toy(background=None).predict(noise(5, 5), largest_component=True)
