from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from smidgen.data.dataset import Dataset
from smidgen.methods.predict import settings
from smidgen.methods.predict.windows import _at_once, likeness, windows
from smidgen.parts.networks import settings as networks
from smidgen.parts.networks.encoders import Encoder
from smidgen.parts.networks.heads.settings import Fcn
from smidgen.parts.networks.network import Network
from smidgen.parts.networks.prediction import Prediction
from smidgen.products.sample import Classes
from smidgen.products.segmenter import Architecture, Segmenter


class Pixels(Encoder):
    """The image itself."""

    def __init__(self):
        nn.Module.__init__(self)
        self.channels, self.strides = (3,), (1,)
        self.seen: list[tuple[int, ...]] = []

    def forward(self, x):
        self.seen.append(tuple(x.shape))
        return [x]


class Brightest(nn.Module):
    """The color with the highest value is the class: known without training."""

    stride = 1

    def __init__(self):
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(10.0))

    def forward(self, features, size):
        return Prediction(features[0] * self.sharpness)


def segmenter(size: int = 0, patch: int = 8) -> Segmenter:
    architecture = Architecture(networks.Encoder(), "fcn", Fcn(), Classes(("background", "green", "blue")), 3, size, patch)
    return Segmenter(Network(Pixels(), Brightest()), architecture, key="toy")


def data(sizes: dict[str, tuple[int, int]], tags=None) -> Dataset:
    rng = np.random.default_rng(0)
    images = {id: rng.random((*size, 3)).astype(np.float32) for id, size in sizes.items()}
    return Dataset(images=images, tags=tags, classes=["background", "green", "blue"], split=dict.fromkeys(images, "val"))


def expected(image):
    odds = np.exp(10 * image)
    return odds / odds.sum(axis=0)


@pytest.mark.parametrize("changed", [{}, {"window": 5}, {"max_pixels": 50}, {"flip": True}, {"window": 5, "flip": True}])
def test_every_image_is_predicted_at_its_size(run, changed):
    toy = data({"a": (9, 14), "b": (6, 6), "c": (9, 14), "d/e": (1, 3)})
    found = windows(run, settings.Windows(keep_probs=True, **changed), toy, segmenter())
    assert set(found) == {"a", "b", "c", "d/e"}
    for id, scores in found.items():
        probs = expected(toy.samples[id].image())
        np.testing.assert_array_equal(scores.label, probs.argmax(axis=0))
        np.testing.assert_allclose(scores.confidence, probs.max(axis=0), atol=1e-6)
        np.testing.assert_allclose(scores.probs, probs, atol=1e-3)
        assert scores.probs.dtype == np.float16 and scores.confidence.dtype == np.float32


def test_equal_images_are_predicted_together_and_large_ones_alone(run):
    toy = data({**{f"s{i}": (6, 6) for i in range(10)}, "large": (40, 40), "larger": (40, 40)})
    model = segmenter()
    windows(run, settings.Windows(max_pixels=36 * 4), toy, model)
    shapes = model.network.encoder.seen
    assert sum(shape[0] for shape in shapes if shape[2:] == (6, 6)) == 10
    assert max(shape[0] for shape in shapes) == 4  # 36 pixels each
    assert all(shape[0] * shape[2] * shape[3] <= 36 * 4 for shape in shapes)
    large = [likeness(toy.samples[id], model, settings.Windows(max_pixels=144)) for id in ("large", "larger", "s0", "s1")]
    assert large[0] != large[1] and large[2] == large[3]


def test_what_the_network_sees_bounds_the_batch():
    sample = data({"a": (10, 10)}).samples["a"]
    assert _at_once(sample, segmenter(), settings.Windows(max_pixels=400)) == 4
    assert _at_once(sample, segmenter(), settings.Windows(max_pixels=400, scales=(2.0,))) == 1
    assert _at_once(sample, segmenter(size=5), settings.Windows(max_pixels=400)) == 16


def test_tags_restrict_where_they_are_known_and_wanted(run, tmp_path):
    toy = data({"a": (8, 8), "b": (8, 8), "c": (8, 8)}, tags={"a": ["green"], "b": []})
    free = windows(run, settings.Windows(), toy, segmenter())
    assert all(set(np.unique(free[id].label)) == {0, 1, 2} for id in "abc")
    tied = windows(run._inside(tmp_path / "tied", "tied"), settings.Windows(restrict=True), toy, segmenter())
    assert [set(np.unique(tied[id].label).tolist()) for id in "abc"] == [{0, 1}, {0}, {0, 1, 2}]
    probs = expected(toy.samples["a"].image())[:2]
    np.testing.assert_allclose(tied["a"].confidence, (probs / probs.sum(axis=0)).max(axis=0), atol=1e-6)


def test_impossible_settings_are_refused():
    for wrong in ({"scales": ()}, {"scales": (0.0,)}, {"overlap": 1.0}, {"window": -1}):
        with pytest.raises(ValidationError):
            settings.Windows(**wrong)


# ---------------------------------------------------------------- volumes


class Sum(nn.Module):
    """Class 1 where the value is above the mean of the case."""

    stride = 1

    def __init__(self):
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(5.0))

    def forward(self, features, size):
        return Prediction(torch.cat([-features[0], features[0]], dim=1) * self.sharpness)


@pytest.mark.parametrize("dims", [2, 3])
def test_volumes_are_predicted_by_windows_or_slice_by_slice(run, dims):
    rng = np.random.default_rng(0)
    images = [rng.random(size).astype(np.float32) for size in ((5, 9, 12), (5, 9, 12), (20, 8, 8))]
    data = Dataset(images, classes=["background", "bright"], dims=3, split=["val"] * 3)
    encoder = Pixels()
    encoder.channels = (1,)
    about = Architecture(networks.Encoder(), "fcn", Fcn(), Classes(("background", "bright")), 1, patch=8, dims=dims, zscored=True)
    found = windows(run, settings.Windows(keep_probs=True), data, Segmenter(Network(encoder, Sum()), about, key="toy"))
    for id, sample in data.samples.items():
        np.testing.assert_array_equal(found[id].label, sample.image()[0] > 0)
        assert found[id].probs.shape == (2, *sample.size)
    assert {len(shape) for shape in encoder.seen} == {dims + 2}
