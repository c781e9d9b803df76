from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from smidgen.core.errors import NeedError, SettingsError, ShapeError
from smidgen.core.fit import Step
from smidgen.core.run import Given
from smidgen.data.dataset import Dataset
from smidgen.data.pairs import Pair, labeled
from smidgen.methods.segment import settings
from smidgen.methods.segment.supervised import Training, prepare, supervised
from smidgen.parts.imaging.channels import ChannelStatistics
from smidgen.parts.losses.settings import Ce
from smidgen.parts.losses.sums import LossFactory
from smidgen.parts.networks import settings as networks
from smidgen.parts.networks.encoders import Encoder, EncoderFactory
from smidgen.parts.networks.factories import HeadFactory
from smidgen.parts.networks.heads.settings import Fcn
from smidgen.parts.networks.network import Network
from smidgen.parts.networks.optimizing import optimizer, rate
from smidgen.parts.networks.prediction import Aux, Prediction
from smidgen.products.labels import LabelMap

COLORS = np.array([[0.1, 0.1, 0.1], [0.9, 0.2, 0.2], [0.2, 0.3, 0.9]], np.float32)
FAST = settings.Supervised(crop=16, batch=4, steps=60, optimizer="adamw", lr_encoder=0.02, lr_head=0.02, weight_decay=0.0)


class ToyEncoder(EncoderFactory):
    """Two convolutions at stride 2: all that three colors need."""

    key = "toy"

    def __init__(self, channels: int = 3):
        self.settings, self.in_channels = networks.Encoder(), channels

    def __call__(self):
        return Pyramid(self.in_channels)


class Pyramid(Encoder):
    def __init__(self, channels: int):
        nn.Module.__init__(self)
        self.channels, self.strides = (16,), (2,)
        self.layers = nn.Sequential(nn.Conv2d(channels, 16, 3, padding=1, stride=2), nn.ReLU(), nn.Conv2d(16, 16, 1), nn.ReLU())

    def forward(self, images):
        return [self.layers(images)]


class ToyHead(HeadFactory):
    key = "toy"

    def __init__(self, aux: bool = False):
        self.name, self.settings, self.aux = "fcn", Fcn(), aux

    def __call__(self, channels, strides, classes):
        return Linear(channels[-1], classes, self.aux)


class Linear(nn.Module):
    def __init__(self, channels, classes, aux):
        super().__init__()
        self.main = nn.Conv2d(channels, classes, 1)
        self.extra = nn.Conv2d(channels, classes, 1) if aux else None

    def forward(self, features, size):
        return Prediction(self.main(features[-1]), () if self.extra is None else (Aux("early", self.extra(features[-1]), 0.4),))


def scenes(count: int, seed: int = 0, size=(32, 32)):
    """Rectangles in three colors, one a class, with noise."""
    rng = np.random.default_rng(seed)
    images, masks = {}, {}
    for n in range(count):
        label = np.zeros(size, np.uint8)
        for value in (1, 2):
            y, x = rng.integers(0, max(1, size[0] - 8)), rng.integers(0, max(1, size[1] - 8))
            label[y : y + rng.integers(8, 16), x : x + rng.integers(8, 16)] = value
        images[f"s{n}"] = np.clip(COLORS[label] + rng.normal(0, 0.05, (*size, 3)), 0, 1).astype(np.float32)
        masks[f"s{n}"] = label
    return images, masks


def dataset(images, masks, split=None, names=("background", "red", "blue")) -> Dataset:
    return Dataset(images=images, masks=masks, classes=list(names), split=split or dict.fromkeys(images, "train"))


def loss() -> LossFactory:
    return LossFactory("ce", {"ce": Ce()})


def overlap(segmenter, images, masks) -> float:
    """Mean intersection over union of the three classes, over all images together."""
    found = np.stack([segmenter.predict(image.transpose(2, 0, 1)).label for image in images.values()])
    truth = np.stack(list(masks.values()))
    return float(np.mean([((found == k) & (truth == k)).sum() / ((found == k) | (truth == k)).sum() for k in range(3)]))


def test_three_colors_are_learned_in_a_few_dozen_steps(run):
    data = dataset(*scenes(12))
    segmenter = supervised(run, FAST, data, ToyEncoder(), ToyHead(), loss())
    assert overlap(segmenter, *scenes(6, seed=1)) > 0.9  # half a pixel at each border is lost to the stride
    assert segmenter.classes == data.classes and segmenter.architecture.patch == 16
    assert not segmenter.network.training


def test_the_same_seed_gives_the_same_network(tmp_path, run):
    data = dataset(*scenes(3))
    few = FAST.model_copy(update={"steps": 3, "color": 0.3})
    states = []
    for name in "ab":
        torch.manual_seed(0)
        inside = run._inside(tmp_path / name, name)
        states.append(supervised(inside, few, data, ToyEncoder(), ToyHead(), loss()).network.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("size", [(32, 32), (9, 40), (17, 3), (1, 1)])
def test_one_image_of_any_size_is_enough(run, size):
    data = dataset(*scenes(1, size=size))
    segmenter = supervised(run, FAST.model_copy(update={"steps": 2}), data, ToyEncoder(), ToyHead(), loss())
    scores = segmenter.predict(np.full((3, *size), 0.5, np.float32))
    assert scores.label.shape == size and np.isfinite(scores.confidence).all()


def test_labels_that_were_made_replace_masks(run):
    images, masks = scenes(8)
    data = dataset(images, masks)
    made = Given({id: LabelMap((2 - mask).astype(np.uint8)) for id, mask in masks.items()}, key="made")
    segmenter = supervised(run, FAST, data, ToyEncoder(), ToyHead(), loss(), labels=made)
    turned = {id: (2 - mask).astype(np.uint8) for id, mask in masks.items()}
    assert overlap(segmenter, images, turned) > 0.85


def test_images_without_a_label_are_left_out():
    images, masks = scenes(4)
    split = {"s0": "train", "s1": "train", "s2": "val", "s3": "train"}
    data = dataset(images, {id: masks[id] for id in ("s0", "s2", "s3")}, split)
    assert [pair.id for pair in labeled(data, None)] == ["s0", "s3"]
    made = Given({"s1": LabelMap(masks["s1"]), "s2": LabelMap(masks["s2"])}, key="made")
    assert [pair.id for pair in labeled(data, made)] == ["s1"]
    with pytest.raises(NeedError, match="add masks or scribbles"):
        labeled(data, Given({}, key="none"))


def training(pairs, changed: dict | None = None, aux: bool = False) -> Training:
    torch.manual_seed(0)
    network = Network(Pyramid(3), Linear(16, 3, aux))
    return Training(network, pairs, loss(), FAST.model_copy(update=changed or {}), 3)


def batch_of(learner: Training, count: int = 4) -> dict:
    stream = learner.streams["labeled"]
    views = [stream.prepare(stream.samples[i % len(stream.samples)]) for i in range(count)]
    return {"labeled": {name: torch.stack([view[name] for view in views]) for name in views[0]}}


def step(n: int = 0, of: int = 10) -> Step:
    return Step(n, of, torch.Generator())


def test_a_batch_without_labeled_pixels_costs_nothing_and_moves_nothing():
    images, masks = scenes(2)
    data = dataset(images, {id: np.full_like(mask, 255) for id, mask in masks.items()})
    learner = training([Pair(data.train[id]) for id in ("s0", "s1")], aux=True)
    total = sum(learner.terms(batch_of(learner), "all", step()).values())
    assert total.item() == 0
    total.backward()
    assert all(p.grad is None or not p.grad.abs().sum() for p in learner.networks.parameters())


def test_images_without_labeled_pixels_do_not_count():
    images, masks = scenes(4)
    data = dataset(images, masks)
    half = Given({id: LabelMap(mask if id in ("s0", "s1") else np.full_like(mask, 255)) for id, mask in masks.items()}, key="half")
    whole = {"crop": 32, "scale": (1.0, 1.0), "flip": False}
    both, alone = training(labeled(data, half), whole), training(labeled(data, None)[:2], whole)
    values = [one.terms(batch_of(one, count), "all", step())["ce"].item() for one, count in ((both, 4), (alone, 2))]
    assert values[0] == pytest.approx(values[1])


def test_auxiliary_predictions_are_terms_of_their_own():
    data = dataset(*scenes(4))
    learner = training(labeled(data, None), aux=True)
    head = learner.networks["segmenter"].head
    head.extra.load_state_dict(head.main.state_dict())
    terms = learner.terms(batch_of(learner), "all", step())
    assert list(terms) == ["ce", "aux-early"]
    assert terms["aux-early"].item() == pytest.approx(0.4 * terms["ce"].item())


def test_confidence_weighs_pixels_where_it_is_wanted():
    images, masks = scenes(1)
    data = dataset(images, masks)
    sure = np.zeros((32, 32), np.float32)
    made = Given({"s0": LabelMap(masks["s0"], sure)}, key="made")
    assert "confidence" not in training(labeled(data, made)).streams["labeled"].prepare(labeled(data, made)[0])
    learner = training(labeled(data, made), {"use_confidence": True})
    assert learner.terms(batch_of(learner), "all", step())["ce"].item() == 0
    certain = training(labeled(data, None), {"use_confidence": True})
    plain = training(labeled(data, None), {"scale": (1.0, 1.0), "crop": 32, "flip": False})
    certain_too = training(labeled(data, None), {"scale": (1.0, 1.0), "crop": 32, "flip": False, "use_confidence": True})
    assert set(batch_of(certain)["labeled"]) == {"image", "label", "confidence"}
    values = [learner.terms(batch_of(learner), "all", step())["ce"].item() for learner in (plain, certain_too)]
    assert values[0] == pytest.approx(values[1])


def test_gray_images_are_repeated_and_others_refused():
    gray = dataset({"a": np.zeros((20, 20), np.float32)}, {"a": np.zeros((20, 20), np.uint8)})
    learner = training(labeled(gray, None))
    assert learner.streams["labeled"].prepare(learner.streams["labeled"].samples[0])["image"].shape == (3, 16, 16)
    five = dataset({"a": np.zeros((20, 20, 5), np.float32)}, {"a": np.zeros((20, 20), np.uint8)})
    learner = training(labeled(five, None))
    with pytest.raises(ShapeError, match="5 channels"):
        learner.streams["labeled"].prepare(learner.streams["labeled"].samples[0])


def test_a_label_of_another_size_is_refused_by_name():
    images, masks = scenes(1)
    made = Given({"s0": LabelMap(masks["s0"][:5])}, key="made")
    with pytest.raises(ShapeError, match="s0"):
        Pair(dataset(images, masks).train["s0"], made).read()


def test_rates_rise_then_fall():
    assert rate(0.0, 100, 0, 0.9) == 1.0
    assert rate(0.5, 100, 0, 0.9) == pytest.approx(0.5**0.9)
    assert rate(0.0, 100, 10, 1.0) == pytest.approx(0.1)
    assert rate(0.09, 100, 10, 1.0) == pytest.approx(0.91)
    assert rate(0.99, 100, 10, 0.9) == pytest.approx(0.01**0.9)


def test_epochs_take_the_place_of_steps():
    pairs = labeled(dataset(*scenes(6)), None)
    assert training(pairs, {"epochs": 2.0}).steps == 3
    assert training(pairs, {"epochs": 0.1}).steps == 1
    assert training(pairs).steps == 60


def test_optimizers_hold_what_may_move():
    network = Network(Pyramid(3), Linear(16, 3, False))
    network.encoder.layers[0].requires_grad_(False)
    parts = ((network.encoder, 2.5e-4), (network.head, 2.5e-3))
    paper = optimizer(parts, settings.Supervised())
    assert [group["lr"] for group in paper.param_groups] == [2.5e-4, 2.5e-3]
    assert [len(group["params"]) for group in paper.param_groups] == [2, 2]
    assert paper.param_groups[0]["momentum"] == 0.9 and paper.param_groups[0]["weight_decay"] == 5e-4
    network.encoder.requires_grad_(False)
    assert len(optimizer(parts, FAST).param_groups) == 1


def test_defaults_are_the_papers():
    paper = settings.Supervised()
    assert (paper.optimizer, paper.batch, paper.steps, paper.scale, paper.power) == ("sgd", 10, 30_000, (0.5, 2.0), 0.9)
    with pytest.raises(ValidationError, match="smaller factor comes first"):
        settings.Supervised(scale=(2.0, 1.0))


def test_prepare_is_what_workers_can_pickle():
    import pickle

    learner = training(labeled(dataset(*scenes(2)), None))
    stream = pickle.loads(pickle.dumps(learner.streams["labeled"]))
    assert stream.prepare(stream.samples[0])["image"].shape == (3, 16, 16)
    assert prepare is stream.prepare.func


# ---------------------------------------------------------------- volumes and their slices

BALLS = settings.Supervised(
    patch=(16, 16, 16), batch=2, steps=40, optimizer="adamw", lr_encoder=0.02, lr_head=0.02, weight_decay=0.0, scale=(0.9, 1.1)
)


def balls(count: int = 4) -> Dataset:
    """Volumes with one bright ball each."""
    rng = np.random.default_rng(0)
    images, masks = [], []
    for _ in range(count):
        size = rng.integers(18, 24, 3)
        center = [rng.uniform(6, n - 6) for n in size]
        label = sum((grid - at) ** 2 for grid, at in zip(np.indices(size), center, strict=True)) < 16
        images.append((100 * label + 20 * rng.standard_normal(size) + 300).astype(np.float32))
        masks.append(label.astype(np.uint8))
    return Dataset(images, masks, classes=["background", "ball"], dims=3, spacing_mm=(1.0, 1.0, 1.0))


def trained(run, data: Dataset, how: settings.Supervised, dims: int):
    own = networks.Encoder(name="resunet", width=8, depth=2, norm="instance")
    torch.manual_seed(0)
    encoder = EncoderFactory(own, 1, pixels=ChannelStatistics((0.0,), (1.0,)), dims=dims)
    return supervised(run, how, data, encoder, HeadFactory("point", dims=dims), LossFactory("ce"))


def dice(found, truth) -> float:
    return 2 * np.logical_and(found == 1, truth == 1).sum() / ((found == 1).sum() + (truth == 1).sum())


def test_a_ball_is_found_in_volumes_by_windows(run):
    data = balls()
    segmenter = trained(run, data, BALLS, 3)
    assert segmenter.dims == 3 and segmenter.zscored and segmenter.patch == (16, 16, 16)
    for sample in data.samples.values():
        found = segmenter.predict(sample.image())
        assert found.label.shape == sample.size
        assert dice(found.label, sample.label()) > 0.7


def test_a_network_of_slices_finds_it_slice_by_slice(run):
    data = balls()
    segmenter = trained(run, data.slices(), BALLS.model_copy(update={"patch": (16, 16), "batch": 8}), 2)
    assert segmenter.dims == 2 and segmenter.zscored
    sample = next(iter(data.samples.values()))
    whole = segmenter.predict(sample.image())
    assert dice(whole.label, sample.label()) > 0.85
    slices = [segmenter.predict(sample.image()[:, z]).label for z in range(sample.size[0])]
    np.testing.assert_array_equal(whole.label, np.stack(slices))


def test_sides_that_do_not_fit_the_data_are_refused(run):
    with pytest.raises(SettingsError, match=r"supervised.patch has 2 values, and volumes have 3 axes"):
        trained(run, balls(1), BALLS.model_copy(update={"patch": (8, 8)}), 3)
    with pytest.raises(ValidationError, match="two sides for slices"):
        settings.Supervised(patch=(8,))
