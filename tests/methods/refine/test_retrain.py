from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from smidgen.core.run import Given
from smidgen.data.dataset import Dataset
from smidgen.methods.refine import settings
from smidgen.methods.refine.retrain import labeled, retrain
from smidgen.parts.networks import settings as networks
from smidgen.parts.networks.heads.settings import Fcn
from smidgen.parts.networks.network import Network
from smidgen.parts.networks.prediction import Prediction
from smidgen.products.heatmaps import Heatmaps
from smidgen.products.segmenter import Architecture, Segmenter

CLASSES = ("background", "red", "green")


class ByColor(Network):
    """Knows red and green by sight: logits 0 for background, 8 c - 4 for a class whose color is c."""

    def __init__(self):
        nn.Module.__init__(self)
        self.scale = nn.Parameter(torch.tensor(8.0), requires_grad=False)

    def forward(self, images: Tensor) -> Prediction:
        logits = self.scale * images[:, :2] - 4
        return Prediction(torch.cat([torch.zeros_like(logits[:, :1]), logits], dim=1))


class Fitter:
    """Notes what it is taught and gives a network that knows better."""

    key = "by color"

    def __init__(self, data: Dataset):
        self.taught: list = []
        self.data = data

    def __call__(self, labels) -> Segmenter:
        self.taught.append(dict(labels))
        return Segmenter(ByColor(), Architecture(networks.Encoder(), "fcn", Fcn(), self.data.classes))


@pytest.fixture
def data():
    """One image: red on the left, green on the right, black between; tagged red only. One that holds nothing."""
    image = np.zeros((8, 16, 3), np.uint8)
    image[:, :4, 0], image[:, 12:, 1] = 255, 255
    return Dataset({"a": image, "b": image}, tags={"a": ["red"], "b": []}, classes=CLASSES, split={"a": "train", "b": "train"})


def heat(maps, ids, background=0.3):
    maps = np.array(maps, np.float32).reshape(-1, 2, 4)
    return Heatmaps(maps, ids, np.full((2, 4), background, np.float32), np.ones(len(ids), np.float32), (8, 16))


@pytest.fixture
def heatmaps():
    """Evidence for red at the left and, wrongly, in the dark."""
    row = [1.0, 0.1, 0.8, 0.0]
    return Given({"a": heat([row, row], (1,)), "b": heat([], ())}, "given")


def test_what_the_network_sees_takes_the_place_of_the_heatmaps(run, data, heatmaps):
    found = retrain(run, settings.Retrain(flip=False), data, heatmaps, Fitter(data))["a"]
    assert found.ids == (1,)
    assert found.size == (8, 16)
    # red logit 4 against 0, black -4 against 0; where green is, red and background share what green does not get
    red, dark = 1 / (1 + np.exp(-4)), 1 / (1 + np.exp(4))
    assert found.maps[0] == pytest.approx(np.array([[red, dark, dark, dark]] * 2), abs=1e-6)
    assert found.maps[0] + found.background == pytest.approx(np.ones((2, 4)))
    assert found.peak == pytest.approx([red])


def test_the_mirror_image_is_looked_at_too_and_changes_nothing_for_a_network_without_neighbors(run, data, heatmaps):
    found = retrain(run, settings.Retrain(), data, heatmaps, Fitter(data))["a"]
    assert found.maps[0, 0, 0] == pytest.approx(1 / (1 + np.exp(-4)))


def test_an_image_that_holds_nothing_is_all_background(run, data, heatmaps):
    found = retrain(run, settings.Retrain(), data, heatmaps, Fitter(data))["b"]
    assert found.maps.shape == (0, 2, 4)
    assert found.background == pytest.approx(np.ones((2, 4)))


def test_rounds_learn_from_what_the_one_before_saw(run, data, heatmaps):
    fitter = Fitter(data)
    retrain(run, settings.Retrain(rounds=2), data, heatmaps, fitter)
    first, second = (taught["a"].label for taught in fitter.taught)
    assert (first[:, 8:11] == 1).all()  # the slip of the heatmaps
    assert (second[:, 8:] == 0).all()
    assert (second[:, :3] == 1).all()


def test_near_a_tie_nothing_is_learned():
    found = labeled(heat([[0.9, 0.35, 0.25, 0.0]] * 2, (1,)), settings.Retrain(margin=0.1), 0)
    assert (found.label[:, 0] == 1).all()
    assert (found.label[:, 7] == 255).all()
    assert (found.label[:, 15] == 0).all()
    assert found.confidence is not None
    assert (found.confidence[found.label == 255] == 0).all()


def test_at_least_one_round():
    with pytest.raises(ValueError, match="rounds"):
        settings.Retrain(rounds=0)
