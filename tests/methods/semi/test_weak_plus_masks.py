from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from pytest import approx
from torch import nn

from smidgen.core.errors import NeedError
from smidgen.core.fit import Step
from smidgen.core.run import Given
from smidgen.data.dataset import Dataset
from smidgen.data.pairs import Pair, labeled
from smidgen.data.strong import Strong
from smidgen.data.views import Views, unlabeled, weak
from smidgen.methods.semi import settings
from smidgen.methods.semi.weak_plus_masks import Pseudo, Training, agreement, disturbed, weak_plus_masks
from smidgen.parts.losses.settings import Ce
from smidgen.parts.losses.sums import LossFactory
from smidgen.parts.networks import settings as networks
from smidgen.parts.networks.encoders import Encoder, EncoderFactory
from smidgen.parts.networks.factories import HeadFactory
from smidgen.parts.networks.heads.settings import Point
from smidgen.parts.networks.network import Network
from smidgen.products.labels import LabelMap

COLORS = np.array([[0.1, 0.1, 0.1], [0.8, 0.2, 0.2], [0.2, 0.3, 0.8]], np.float32)
NAMES = ("background", "red", "blue")
QUICK = {"crop": 24, "batch": 2, "batch_unlabeled": 2, "steps": 120, "optimizer": "adamw", "lr_encoder": 0.01, "lr_head": 0.01}
DECODERS = settings.WeakPlusMasks(**QUICK, agreement_weight=1.0)
STRONG = settings.WeakPlusMasks(**QUICK, how="strong_views", ema=0.9, weak_weight=0.5, weak_end=0.1, confidence=0.9)


class ToyEncoder(EncoderFactory):
    """Two convolutions at stride 2."""

    key = "toy"

    def __init__(self):
        self.settings, self.in_channels, self.frozen_statistics = networks.Encoder(), 3, True

    def __call__(self):
        return Pyramid()


class Pyramid(Encoder):
    def __init__(self):
        nn.Module.__init__(self)
        self.channels, self.strides = (16,), (2,)
        self.layers = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, stride=2), nn.ReLU(), nn.Conv2d(16, 16, 1), nn.ReLU())

    def forward(self, images):
        return [self.layers(images)]


def scenes(count: int, seed: int = 0):
    """A red and a blue rectangle in each image, with noise."""
    rng, images, masks = np.random.default_rng(seed), {}, {}
    for n in range(count):
        label = np.zeros((28, 28), np.uint8)
        for value in (1, 2):
            y, x = rng.integers(0, 18, 2)
            label[y : y + 10, x : x + 8] = value
        images[f"s{n}"] = np.clip(COLORS[label] + rng.normal(0, 0.08, (28, 28, 3)), 0, 1).astype(np.float32)
        masks[f"s{n}"] = label
    return images, masks


def data(count: int = 8, few: int = 2) -> Dataset:
    images, masks = scenes(count)
    tags = {id: [NAMES[value] for value in np.unique(mask) if value] for id, mask in masks.items()}
    return Dataset(images, {id: masks[id] for id in list(masks)[:few]}, tags, NAMES)


def pseudo(of: Dataset, slip: int = 2) -> Given[LabelMap]:
    """The masks of the images that have none, moved by a few pixels: wrong at every border."""
    _, masks = scenes(len(of.samples))
    found = {id: np.roll(mask, slip, axis=1) for id, mask in masks.items() if of.samples[id].read_label is None}
    return Given({id: LabelMap(label, np.full(label.shape, 0.5, np.float16)) for id, label in found.items()}, key="pseudo")


def point() -> HeadFactory:
    return HeadFactory("point", Point())


def cross_entropy() -> LossFactory:
    return LossFactory("ce", {"ce": Ce()})


def training(how: settings.WeakPlusMasks, changed: dict | None = None, of: Dataset | None = None, labels=None) -> Training:
    torch.manual_seed(0)
    how, of = how.model_copy(update=changed or {}), of or data()
    labels = pseudo(of) if labels is None else labels
    views = Views(weak(how, of), 3, Strong() if how.how == "strong_views" or how.labeled_weight else None)
    pairs = [Pair(one, labels if one.id in labels else None) for one in unlabeled(of)]
    others = [point()((16,), (2,), 3) for _ in how.disturbed] if how.how == "decoders" else []
    network = Network(Pyramid(), point()((16,), (2,), 3))
    return Training(network, others, labeled(of, None), pairs, Pseudo(views, of.classes, how.use_confidence), cross_entropy(), how)


def batch_of(learner: Training) -> dict:
    found = {}
    for name, stream in learner.streams.items():
        torch.manual_seed(5)
        views = [stream.prepare(stream.samples[i % len(stream.samples)]) for i in range(2)]
        found[name] = {key: torch.stack([view[key] for view in views]) for key in views[0]}
    return found


def step(n: int = 60, of: int = 120) -> Step:
    return Step(n, of, torch.Generator())


# ---------------------------------------------------------------- decoders


def test_disturbances_by_what_they_keep():
    torch.manual_seed(0)
    features = torch.rand(2, 64, 5, 6) + 0.5
    noisy = disturbed(features, "noise") / features
    assert noisy.min() >= 0.7 and noisy.max() <= 1.3 and noisy.std() > 0.1
    thinned = disturbed(features, "dropout") / features
    assert set(thinned.flatten(2).amax(dim=2).unique().tolist()) == {0, 2} and (thinned == thinned[:, :, :1, :1]).all()
    places = disturbed(features, "drop") / features
    kept = places[:, 0]
    assert set(places.unique().tolist()) == {0, 1} and (places == kept[:, None]).all()
    activity = features.mean(dim=1)
    for one, value in zip(kept, activity, strict=True):
        assert value[one == 0].min() > value[one == 1].max()
    assert torch.equal(disturbed(torch.ones(1, 4, 3), "drop"), torch.ones(1, 4, 3))


def test_agreement_by_hand():
    logits = torch.logit(torch.tensor([[[0.8, 0.5]]]))
    main = torch.tensor([[[0.4, 0.5], [0.6, 0.5]]])
    found = agreement(torch.cat([torch.zeros_like(logits), logits], dim=1), main, torch.ones(1, 2, dtype=torch.bool))
    assert found.item() == approx(((0.8 - 0.6) ** 2 + 0) / 2)


def test_pseudo_masks_never_reach_the_main_decoder():
    learner = training(DECODERS)
    batch = batch_of(learner)
    terms = learner.terms(batch, "all", step())
    assert list(terms) == ["ce", *(f"{term}-{kind}-{n}" for n, kind in enumerate(DECODERS.disturbed) for term in ("agreement", "weak"))]
    sum(value for name, value in terms.items() if name != "ce").backward()
    assert all(p.grad is None for p in learner.network.head.parameters())
    assert all(
        p.grad is not None and p.grad.any() for p in [*learner.network.encoder.parameters(), *learner.networks["decoders"].parameters()]
    )


def test_weights_follow_the_ramp_of_ccts_code():
    learner = training(DECODERS, {"agreement_weight": 30.0, "ramp": (0.0, 0.1)})
    batch = batch_of(learner)
    values = {}
    for n in (0, 6, 60):
        torch.manual_seed(0)
        values[n] = {name: one.item() for name, one in learner.terms(batch, "all", step(n)).items()}
    assert list(values[0]) == ["ce"]
    for name in ("agreement-noise-0", "weak-drop-1"):
        assert values[6][name] == approx(np.exp(-5 * 0.5**2) * values[60][name], rel=1e-5)
    halved = training(DECODERS, {"weak_weight": 0.2})
    torch.manual_seed(0)
    assert halved.terms(batch, "all", step())["weak-drop-1"].item() == approx(values[60]["weak-drop-1"] / 2, rel=1e-5)


# ---------------------------------------------------------------- strong views


def test_what_the_average_is_not_sure_of_is_left_to_the_pseudo_mask():
    alike = {"cutmix": 0.0, "chance": 0.0, "confidence": 1.0}
    learner = training(STRONG, alike)
    batch = batch_of(learner)
    half = learner.terms(batch, "all", step())
    found = learner.network(batch["rest"]["strong"][:, 0]).logits
    wanted = cross_entropy()(found, batch["rest"]["pseudo"].long()).mean()
    assert half["taught-ce"].item() == approx(0.3 * wanted.item(), rel=1e-5)  # from .5 to .1, half way
    with torch.no_grad():
        for p in learner.mean.parameters():
            p *= 50  # as sure as can be
    sure = training(STRONG, alike | {"confidence": 0.0})
    terms = sure.terms(batch, "all", step())
    own = cross_entropy()(sure.network(batch["rest"]["strong"][:, 0]).logits, said_of(sure, batch)).mean()
    assert terms["taught-ce"].item() == approx(own.item(), rel=1e-5)


def said_of(learner: Training, batch: dict) -> torch.Tensor:
    from smidgen.data.teaching import said

    return said(learner.mean, batch["rest"], batch["rest"]["allowed"])[0].long()


def test_the_average_answers_with_classes_of_the_tags_only():
    from smidgen.data.teaching import said

    of = data()
    only_red = of._with({id: replace(one, tags=(1,)) for id, one in of.samples.items()})
    learner = training(STRONG, of=only_red)
    batch = batch_of(learner)["rest"]
    assert batch["allowed"].tolist() == [[True, True, False]] * 2
    label, sure = said(learner.mean, batch, batch["allowed"])
    free, doubtful = said(learner.mean, batch)
    assert not (label == 2).any()
    assert (sure >= doubtful - 1e-6)[label == free].all()
    unknown = of._with({id: replace(one, tags=None) for id, one in of.samples.items()})
    assert batch_of(training(STRONG, of=unknown))["rest"]["allowed"].all()


def test_confidence_of_pseudo_masks_counts_where_it_is_wanted():
    for wanted, trust in ((False, 1.0), (True, 0.5)):
        batch = batch_of(training(STRONG, {"use_confidence": wanted}))["rest"]
        inside = batch["label"] == 0
        assert batch["trust"][inside].unique().tolist() == [trust]
        assert not batch["trust"][~inside].any()


def test_beyond_the_image_nothing_is_known():
    batch = batch_of(training(STRONG, {"scale": (0.5, 0.5)}))["rest"]
    beyond = batch["label"] == 255
    assert beyond.float().mean() > 0.5
    assert (batch["pseudo"][beyond] == 255).all()
    assert (batch["pseudo"][~beyond] != 255).all()


def test_without_pseudo_masks_it_is_weak_to_strong():
    learner = training(STRONG, labels=Given({}, key="none"))
    batch = batch_of(learner)
    assert (batch["rest"]["pseudo"] == 255).all()
    assert not (batch["rest"]["label"] == 255).all()
    assert set(learner.terms(batch, "all", step())) == {"ce", "taught-ce"}


# ---------------------------------------------------------------- the method


def overlap(segmenter, images, masks) -> float:
    found = np.stack([segmenter.predict(image.transpose(2, 0, 1)).label for image in images.values()])
    truth = np.stack(list(masks.values()))
    return float(np.mean([((found == k) & (truth == k)).sum() / ((found == k) | (truth == k)).sum() for k in range(3)]))


@pytest.mark.parametrize("how", [DECODERS, STRONG], ids=["decoders", "strong views"])
def test_colors_are_learned_from_two_masks_and_moved_ones(run, how):
    torch.manual_seed(0)
    of, how = data(), how.model_copy(update={"steps": 80})
    segmenter = weak_plus_masks(run, how, of, ToyEncoder(), point(), cross_entropy(), pseudo(of))
    assert overlap(segmenter, *scenes(5, seed=1)) > 0.8
    assert segmenter.architecture.head == "point"
    assert list(segmenter.network.state_dict()) == list(Network(Pyramid(), point()((16,), (2,), 3)).state_dict())


@pytest.mark.slow  # test_sparse_labels shows the same without the energy, test_energy the energy
def test_strokes_become_masks(run):
    images, masks = scenes(8)
    strokes = {id: np.where(np.arange(28)[:, None] % 9 == 4, mask, 255).astype(np.uint8) for id, mask in masks.items()}
    made = Dataset(images, strokes, classes=NAMES)
    sparse = made._with({id: replace(one, sparse=True) for id, one in made.samples.items()})
    torch.manual_seed(0)
    how = STRONG.model_copy(update={"smooth_weight": 0.1})
    segmenter = weak_plus_masks(run, how, sparse, ToyEncoder(), point(), cross_entropy())
    assert overlap(segmenter, *scenes(5, seed=1)) > 0.8


def test_where_there_is_nothing_to_put_together_it_says_so(run):
    for of, complaint in ((data(3, 3), "nothing to learn beside"), (data(3, 0), "add masks or scribbles")):
        with pytest.raises(NeedError, match=complaint):
            weak_plus_masks(run, DECODERS, of, ToyEncoder(), point(), cross_entropy())
