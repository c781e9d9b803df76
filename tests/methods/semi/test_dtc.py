from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from pytest import approx
from torch import nn

from smidgen.core.errors import NeedError
from smidgen.core.fit import Step
from smidgen.data.dataset import Dataset
from smidgen.data.pairs import labeled
from smidgen.data.strong import Strong
from smidgen.data.views import Views, unlabeled, weak
from smidgen.methods.semi import settings
from smidgen.methods.semi.dtc import Tasks, consistency, dice, dtc, ramped, regression
from smidgen.parts.losses.settings import Ce
from smidgen.parts.losses.sums import LossFactory
from smidgen.parts.networks import settings as networks
from smidgen.parts.networks.encoders import Encoder, EncoderFactory
from smidgen.parts.networks.factories import HeadFactory
from smidgen.parts.networks.heads.dual import Dual, around, mask_logits
from smidgen.parts.networks.heads.settings import Point
from smidgen.parts.networks.network import Network

PAPER = settings.Dtc()
FAST = settings.Dtc(crop=24, batch=2, batch_unlabeled=2, steps=150, optimizer="adamw", lr_encoder=0.02, lr_head=0.02, falls=(), flip=False)


class ToyEncoder(EncoderFactory):
    """Three convolutions at full resolution."""

    key = "toy"

    def __init__(self):
        self.settings, self.in_channels, self.frozen_statistics = networks.Encoder(), 1, True

    def __call__(self):
        return Pyramid()


class Pyramid(Encoder):
    def __init__(self):
        nn.Module.__init__(self)
        self.channels, self.strides = (12,), (1,)
        wide = [nn.Conv2d(12, 12, 5, padding=4, dilation=2), nn.ReLU()]
        self.layers = nn.Sequential(nn.Conv2d(1, 12, 5, padding=2), nn.ReLU(), *wide)

    def forward(self, images):
        return [self.layers(images)]


def scenes(count: int, seed: int = 0, size: int = 28):
    """Gray discs on a dark ground, with noise."""
    rng, images, masks = np.random.default_rng(seed), {}, {}
    rows, columns = np.ogrid[:size, :size]
    for n in range(count):
        y, x = rng.integers(8, size - 8, 2)
        mask = ((rows - y) ** 2 + (columns - x) ** 2 < rng.integers(25, 60)).astype(np.uint8)
        images[f"s{n}"] = np.clip(0.3 + 0.4 * mask + rng.normal(0, 0.08, mask.shape), 0, 1).astype(np.float32)
        masks[f"s{n}"] = mask
    return images, masks


def data(count: int = 8, few: int = 3, seed: int = 0) -> Dataset:
    images, masks = scenes(count, seed)
    return Dataset(images, {id: masks[id] for id in list(masks)[:few]}, classes=["background", "disc"])


def point() -> HeadFactory:
    return HeadFactory("point", Point())


def cross_entropy() -> LossFactory:
    return LossFactory("ce", {"ce": Ce()})


def tasks(changed: dict | None = None, of: Dataset | None = None) -> Tasks:
    torch.manual_seed(0)
    how, of = FAST.model_copy(update=changed or {}), of or data()
    body = Pyramid()
    network = Network(body, around(point(), how.steepness, how.answer)(body.channels, body.strides, 2))
    views = Views(weak(how, of), 1, Strong() if how.strong or how.labeled_weight else None)
    return Tasks(network, labeled(of, None), unlabeled(of), views, cross_entropy(), how, 2)


def batch_of(learner: Tasks) -> dict:
    found = {}
    for name, stream in learner.streams.items():
        torch.manual_seed(7)
        views = [stream.prepare(stream.samples[i]) for i in range(2)]
        found[name] = {key: torch.stack([view[key] for view in views]) for key in views[0]}
    return found


def step(n: int = 149, of: int = 150) -> Step:
    return Step(n, of, torch.Generator())


# ---------------------------------------------------------------- equations


def test_consistency_and_its_gradients_by_hand():
    z = torch.tensor([0, 0.001, -0.001, 0.5]).view(1, 1, 4).requires_grad_()
    p = torch.tensor([0.2, 0.7, 0.6, 0.3]).view(1, 1, 4)
    s = torch.logit(p).requires_grad_()
    scores = torch.cat([torch.zeros_like(s), s], dim=1)  # two scores whose difference is the paper's one
    found = consistency(scores, mask_logits(z, 1500.0), torch.ones(1, 4, dtype=torch.bool))
    found.backward()
    assert found.item() == approx(0.1238055, rel=1e-5)
    assert z.grad is not None and s.grad is not None
    assert z.grad.flatten().tolist() == approx([-56.25, 57.8958, -24.3378, 0], rel=1e-4, abs=1e-6)
    by_probability = s.grad / (p * (1 - p))
    assert by_probability.flatten().tolist() == approx([-0.15, 0.258787, -0.108787, 0.15], rel=1e-4)


def test_consistency_counts_what_is_inside_only():
    random = torch.Generator().manual_seed(0)
    scores, masks = torch.randn(1, 3, 4, 4, generator=random), torch.randn(1, 3, 4, 4, generator=random)
    inside = torch.zeros(1, 4, 4, dtype=torch.bool)
    inside[0, :2] = True
    assert consistency(scores, masks, inside).item() == approx(
        consistency(scores[:, :, :2], masks[:, :, :2], inside[:, :2]).item(), rel=1e-6
    )
    assert consistency(scores, scores, inside).item() == 0


def test_a_floor_where_both_heads_are_perfect():
    from smidgen.parts.imaging.distance import level_sets

    label = np.zeros((5, 5), np.uint8)
    label[1:4, 1:4] = 1
    perfect = 100 * torch.nn.functional.one_hot(torch.from_numpy(label).long(), 2).permute(2, 0, 1)[None].float()
    floors = {}
    for mode in ("paper", "exact"):
        levels = torch.from_numpy(level_sets(label, 2, mode=mode)).float()[None]
        floors[mode] = consistency(perfect, mask_logits(levels, 1500.0), torch.ones(1, 5, 5, dtype=torch.bool)).item()
    assert floors["paper"] == approx(0.25 * 8 / 25)
    assert floors["exact"] == approx(0, abs=1e-6)


def two(p: list[list[float]]) -> torch.Tensor:
    """Scores of two classes with these probabilities of the second."""
    logit = torch.logit(torch.tensor(p), eps=1e-9)
    return torch.stack([torch.zeros_like(logit), logit], dim=1)


def test_dice_by_hand():
    assert dice(two([[0.8, 0.2]]), torch.tensor([[1, 0]])).item() == approx(0.0476188, abs=1e-6)
    assert dice(two([[0.0, 0.0]]), torch.tensor([[0, 0]])).item() == approx(0, abs=1e-6)
    rows, labels = [[0.9, 0.9, 0.1, 0.1], [0.2] * 4], torch.tensor([[1, 1, 0, 0], [0] * 4])
    assert dice(two(rows), labels).item() == approx(0.0526314, abs=1e-6)
    apart = [dice(two([row]), label[None]).item() for row, label in zip(rows, labels, strict=True)]
    assert sum(apart) / 2 == approx(0.5054632, abs=1e-6)


def test_dice_leaves_out_what_is_unknown():
    assert dice(two([[0.8, 0.2, 0.9]]), torch.tensor([[1, 0, 255]])).item() == approx(0.0476188, abs=1e-6)


def test_regression_is_a_mean_over_known_pixels_and_leaves_sparse_images_out():
    z = torch.tensor([[0.5, 0.0, 0.9]])[:, None]
    t = torch.tensor([[0.0, 0.0, -1.0]], dtype=torch.float16)[:, None]
    known = torch.tensor([[True, True, False]])
    assert regression(z, t, known).item() == approx(0.125)
    assert regression(z.repeat(2, 1, 1), torch.cat([t, t * float("nan")]), known.repeat(2, 1)).item() == approx(0.125)
    assert regression(z, t * float("nan"), known).item() == 0


def test_the_ramp_climbs_in_stairs():
    at = {n: ramped(n / 6000, (0.0, 1.0), 40) for n in (0, 149, 150, 3000, 5999, 6000)}
    wanted = {0: 0.0067379, 149: 0.0067379, 150: 0.0086247, 3000: 0.2865048, 5999: 0.9968799, 6000: 1}
    assert at == {n: approx(value, abs=1e-7) for n, value in wanted.items()}
    assert all(
        ramped(150 * e / 6000, (0.0, 1.0), 40) == approx(np.exp(-5 * (1 - e / 40) ** 2)) for e in range(41)
    )  # no stair is lost to rounding
    assert ramped(0.1, (0.2, 0.4), 10) == 0
    assert ramped(0.3, (0.2, 0.4), 10) == approx(np.exp(-1.25))
    assert ramped(0.5, (0.2, 0.4), 10) == ramped(0.3, (0.3, 0.3), 10) == 1


def test_rates_fall_to_a_tenth_twice():
    learner = tasks({"falls": PAPER.falls})
    assert [learner.schedule(n / 6000) for n in (0, 2499, 2501, 5001)] == approx([1, 1, 0.1, 0.01])
    assert tasks({"power": 0.9}).schedule(0.5) == approx(0.5**0.9)


# ---------------------------------------------------------------- the learner


def gradients(learner: Tasks, batch: dict, *names: str) -> list[torch.Tensor]:
    learner.networks.zero_grad()
    terms = learner.terms(batch, "all", step())
    sum(terms[name] for name in names).backward()
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in learner.networks.parameters()]


def test_the_consistency_reaches_both_tasks_and_the_others_their_own():
    learner = tasks()
    batch = batch_of(learner)
    batch["labeled"]["levels"] *= 0
    head = learner.network.head
    assert isinstance(head, Dual)
    with torch.no_grad():
        head.base.scores.weight[2:] *= 1e-3  # level sets near 0, where the step is not flat
        head.base.scores.bias[2:] = 0
    last = [name for name, _ in learner.networks.named_parameters()].index("network.head.base.scores.weight")
    for names, touched in ((("consistency",), (True, True)), (("dice",), (True, False)), (("distance",), (False, True))):
        found = gradients(learner, batch, *names)[last]
        assert (bool(found[:2].any()), bool(found[2:].any())) == touched


def test_labels_of_unlabeled_images_are_out_of_reach():
    images, masks = scenes(6)
    split = {"s0": "train", "s1": "train"}
    plain = Dataset(images, {id: masks[id] for id in split}, classes=["background", "disc"])
    with_all = Dataset(images, masks, classes=["background", "disc"])
    hidden = with_all._with({id: one if id in split else one.without_label() for id, one in with_all.samples.items()})
    found = []
    for of in (plain, hidden):
        learner = tasks(of=of)
        batch = batch_of(learner)
        found.append(gradients(learner, batch, "dice", "distance", "consistency"))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_other_unlabeled_images_change_the_consistency_only():
    learner = tasks()
    batch = batch_of(learner)
    before = learner.terms(batch, "all", step())
    batch["unlabeled"]["image"] = torch.rand_like(batch["unlabeled"]["image"])
    after = learner.terms(batch, "all", step())
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"consistency"}


def test_without_further_weights_it_is_plain_dice_training():
    learner = tasks({"weight": 0.0, "distance_weight": 0.0})
    batch = batch_of(learner)
    terms = learner.terms(batch, "all", step())
    assert list(terms) == ["dice"]
    terms["dice"].backward()
    body = learner.network.encoder
    plain = nn.Conv2d(12, 2, 1)
    with torch.no_grad():
        plain.weight.copy_(learner.network.head.base.scores.weight[:2])
        plain.bias.copy_(learner.network.head.base.scores.bias[:2])
    wanted = [p.grad.clone() for p in body.parameters()]
    body.zero_grad()
    dice(plain(body(batch["labeled"]["image"])[0]), batch["labeled"]["label"]).backward()
    assert all(torch.allclose(p.grad, one, atol=1e-7) for p, one in zip(body.parameters(), wanted, strict=True))
    assert torch.allclose(plain.weight.grad, learner.network.head.base.scores.weight.grad[:2], atol=1e-7)


def test_controls_leave_out_what_they_say():
    everything = tasks()
    batch = batch_of(everything)
    on_labeled = tasks({"consistency_on": "labeled"}).terms(batch, "all", step())
    alone = tasks({"batch_unlabeled": 0})
    assert list(alone.streams) == ["labeled"]
    found = alone.terms({"labeled": batch["labeled"]}, "all", step())
    assert found["consistency"].item() == approx(on_labeled["consistency"].item(), rel=1e-6)
    assert everything.terms(batch, "all", step())["consistency"].item() != approx(found["consistency"].item(), rel=1e-5)
    assert (alone.steps, tasks({"epochs": 2.0}).steps, tasks({"epochs": 2.0, "batch_unlabeled": 0}).steps) == (150, 5, 3)


def test_weak_to_strong_beside_it():
    learner = tasks({"strong": True, "labeled_weight": 0.5, "ema": 0.9, "confidence": 0.0, "cutmix": 1.0, "paste": 1.0})
    batch = batch_of(learner)
    terms = learner.terms(batch, "all", step())
    assert list(terms) == ["dice", "distance", "strong-ce", "taught-ce", "consistency"]
    assert all(value.item() > 0 for value in terms.values())
    unsure = tasks({"strong": True, "ema": 0.9, "confidence": 1.0, "cutmix": 0.0}).terms(batch, "all", step())
    assert unsure["taught-ce"].item() == 0
    start = [p.clone() for p in learner.mean.parameters()]
    with torch.no_grad():
        for p in learner.network.parameters():
            p += 1
    learner.after(step(n=100))
    assert all(torch.allclose(p, one + 0.1) for p, one in zip(learner.mean.parameters(), start, strict=True))


def test_sparse_labels_teach_scores_and_no_rim():
    images, masks = scenes(4)
    strokes = {id: np.where(np.arange(28)[:, None] % 5 == 0, mask, 255).astype(np.uint8) for id, mask in masks.items()}
    made = Dataset(images, strokes, classes=["background", "disc"])
    from dataclasses import replace

    sparse = made._with({id: replace(one, sparse=True) for id, one in made.samples.items()})
    learner = tasks(of=sparse)
    terms = learner.terms(batch_of(learner), "all", step())
    assert terms["distance"].item() == 0
    assert terms["dice"].item() > 0
    assert len(learner.streams["unlabeled"].samples) == 4


def test_streams_travel_to_workers():
    learner = tasks()
    stream = pickle.loads(pickle.dumps(learner.streams["labeled"]))
    assert stream.prepare(stream.samples[0])["levels"].dtype == torch.float16


# ---------------------------------------------------------------- the method


def overlap(segmenter, images, masks) -> float:
    found = np.stack([segmenter.predict(image[None]).label for image in images.values()]) == 1
    truth = np.stack(list(masks.values())) == 1
    return float((found & truth).sum() / (found | truth).sum())


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"steps": 100}, id="paper"),
        pytest.param(
            {"target": "exact", "reach": 5.0, "steepness": 20.0, "answer": "both", "ema": 0.9, "strong": True, "labeled_weight": 0.5},
            id="with strong views",
            marks=pytest.mark.slow,
        ),
        pytest.param({"target": "exact", "reach": 5.0, "answer": "level_sets"}, id="level sets answer", marks=pytest.mark.slow),
    ],
)
def test_discs_are_found(run, changed):
    torch.manual_seed(0)
    segmenter = dtc(run, FAST.model_copy(update=changed), data(10, 4), ToyEncoder(), point(), cross_entropy())
    assert overlap(segmenter, *scenes(6, seed=1)) > 0.85
    assert segmenter.architecture.head == "dual"
    assert segmenter.architecture.head_settings.answer == changed.get("answer", "scores")


def test_where_nothing_is_unlabeled_it_says_so(run):
    with pytest.raises(NeedError, match="nothing to learn beside"):
        dtc(run, FAST, data(3, 3), ToyEncoder(), point(), cross_entropy())


def test_defaults_are_the_papers():
    assert (PAPER.steepness, PAPER.distance_weight, PAPER.weight, PAPER.stairs) == (1500, 0.3, 1, 40)
    assert (PAPER.batch, PAPER.batch_unlabeled, PAPER.steps, PAPER.lr_encoder, PAPER.lr_head) == (2, 2, 6000, 0.01, 0.01)
    assert (PAPER.target, PAPER.reach, PAPER.supervision, PAPER.ema, PAPER.strong) == ("paper", 0, "dice", 0, False)
