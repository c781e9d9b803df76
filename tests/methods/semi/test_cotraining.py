from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch

from smidgen.core.fit import Step
from smidgen.data.building import network_of
from smidgen.data.dataset import Dataset
from smidgen.data.pairs import labeled
from smidgen.data.views import Views, unlabeled, weak
from smidgen.methods.semi import settings
from smidgen.methods.semi.cotraining import Cotraining, agreement, cotraining, diversity
from smidgen.parts.losses.agreement import log_probs
from smidgen.parts.losses.predicted import terms_of

SMALL = settings.Cotraining(
    crop=16, batch=2, batch_unlabeled=2, steps=6, lr_encoder=0.01, lr_head=0.01, ramp=(0.0, 0.0), diversity_ramp=(0.0, 0.0)
)
OFF = SMALL.model_copy(update={"agreement_weight": 0.0, "diversity_weight": 0.0})


@pytest.fixture
def made(few) -> SimpleNamespace:
    """Makes networks and learners on the toy."""
    views = Views(weak(SMALL, few.data), 1)
    pairs = labeled(few.data, None)

    def networks(count: int = 2) -> list:
        torch.manual_seed(3)
        return [network_of(few.factories["encoder"], few.factories["head"], few.data) for _ in range(count)]

    def learner(networks: list, chosen: settings.Cotraining = SMALL) -> Cotraining:
        return Cotraining(networks, [pairs] * len(networks), unlabeled(few.data), views, few.factories["loss"], chosen)

    def batch(learner: Cotraining) -> dict:
        torch.manual_seed(1)
        drawn = {name: [stream.prepare(stream.samples[n]) for n in range(stream.size)] for name, stream in learner.streams.items()}
        return {name: torch.utils.data.default_collate(views) for name, views in drawn.items()}

    return SimpleNamespace(networks=networks, learner=learner, batch=batch, pairs=pairs, views=views, **few.__dict__)


def at(n: int = 3, of: int = 6) -> Step:
    return Step(n, of, torch.Generator().manual_seed(0))


def test_without_agreement_and_diversity_each_network_learns_as_it_would_alone(made, run):
    class Alone(Cotraining):
        """One network, with the labeled stream that it has among others."""

        def __init__(self, number: int, network):
            super().__init__([network], [made.pairs], [], made.views, made.factories["loss"], OFF)
            self.streams = {f"labeled-{number}": self.streams["labeled-1"]}
            self.name = f"labeled-{number}"

        def terms(self, batch, turn, at):
            views = batch[self.name]
            return terms_of(self.loss, self.students[0](views["image"]), views["label"], None, at.progress)

    together = run.fit("train", made.learner(made.networks(), OFF))
    for number, network in enumerate(made.networks(), 1):
        inside = run._inside(run.folder.parent / f"alone-{number}", "0")
        alone = inside.fit("train", Alone(number, network))
        states = [one.networks["network-1" if one is alone else f"network-{number}"].state_dict() for one in (together, alone)]
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_equal_networks_agree_and_still_are_not_diverse(made):
    first = made.networks(1)[0]
    learner = made.learner([first, copy.deepcopy(first)])
    learner.networks.eval()
    terms = learner.terms(made.batch(learner), "all", at())
    assert float(terms["agreement"].detach()) == pytest.approx(0, abs=1e-6)
    assert float(terms["diversity"].detach()) > 1e-6


def test_weights_rise_from_exactly_nothing(made):
    learner = made.learner(made.networks(), SMALL.model_copy(update={"ramp": (0.0, 0.5), "diversity_ramp": (0.3, 0.5)}))
    batch = made.batch(learner)
    terms = [set(learner.terms(batch, "all", at(n))) for n in range(3)]
    assert terms == [{"1-ce", "2-ce"}, {"1-ce", "2-ce", "agreement"}, {"1-ce", "2-ce", "agreement", "diversity"}]


@pytest.mark.parametrize("attack", ["fgsm", "vat"])
def test_diversity_teaches_the_one_who_was_not_fooled(made, attack):
    learner = made.learner(made.networks(), SMALL.model_copy(update={"attack": attack}))
    batch = made.batch(learner)
    known = learner._asked(0, batch["labeled-1"], batch["labeled-1"]["image"], attacked=True, known=True)
    seen = learner._asked(0, batch["unlabeled"], batch["unlabeled"]["image"], attacked=True, known=False)
    for fooled in (known, seen):
        learner.networks.zero_grad()
        learner._diversity(fooled, learner.students[1]).backward()
        assert all(one.grad is None for one in learner.students[0].parameters())
        assert any(one.grad is not None and one.grad.any() for one in learner.students[1].parameters())
        assert fooled.image.grad is None


def test_an_attack_makes_the_network_err_within_its_size_and_limits(made):
    learner = made.learner(made.networks(), SMALL.model_copy(update={"epsilon": 0.1}))
    batch = made.batch(learner)
    learner.networks.eval()
    one = learner._asked(0, batch["labeled-1"], batch["labeled-1"]["image"], attacked=True, known=True)
    moved = learner._attacked(one)
    assert not moved.requires_grad
    assert float((moved - one.image.detach()).abs().max()) <= 0.1 + 1e-6
    assert moved.min() >= 0 and moved.max() <= 1
    worse = learner._asked(0, batch["labeled-1"], moved, attacked=False, known=True)
    assert float(worse.surprise().detach()) > float(one.surprise().detach())


def test_batch_statistics_know_nothing_of_attacked_images(made):
    learner = made.learner(made.networks(), SMALL)
    learner.networks.train()
    learner.terms(made.batch(learner), "all", at())
    counts = [value for name, value in learner.networks.state_dict().items() if name.endswith("num_batches_tracked")]
    assert counts and all(int(count) == 2 for count in counts)  # labeled and unlabeled


def test_agreement_leaves_out_what_lies_beyond_the_image():
    logs = torch.stack([log_probs(torch.randn(2, 3, 4, 4)) for _ in range(2)])
    inside = torch.zeros(2, 4, 4, dtype=torch.uint8)
    inside[:, :, 2:] = 255
    assert torch.allclose(agreement(logs, inside), agreement(logs[..., :2], inside[..., :2]))


def test_no_gradient_reaches_the_clean_answer():
    clean, fooled = (torch.randn(1, 2, 3, 3, requires_grad=True) for _ in range(2))
    diversity(log_probs(clean), log_probs(fooled)).backward()
    assert clean.grad is None
    assert fooled.grad is not None


@pytest.mark.parametrize(("kind", "teachers"), [("cross", [[1, 2], [0, 2], [0, 1]]), ("own", [[0], [1], [2]]), ("vote", [[0, 1, 2]] * 3)])
def test_who_teaches_whom(made, kind, teachers):
    learner = made.learner(made.networks(3), SMALL.model_copy(update={"agreement": kind, "networks": 3, "confidence": 0.4}))
    batch = made.batch(learner)["unlabeled"]
    probs = torch.stack([one.eval()(batch["image"]).logits.softmax(dim=1) for one in learner.teachers])
    for (label, sure), voters in zip(learner._taught(batch), teachers, strict=True):
        confidence, expected = probs[voters].mean(dim=0).max(dim=1)
        inside = batch["label"] != 255
        assert torch.equal(label[inside].long(), expected[inside])
        assert torch.equal(sure, (confidence >= 0.4).float())


def test_groups_stay_together_and_are_shared_as_asked(few, run, monkeypatch):
    kept = {}
    monkeypatch.setattr(type(run), "fit", lambda self, name, learner: kept.setdefault(name, learner))
    groups = {id: f"g{n % 5}" for n, id in enumerate(few.images)}
    data = Dataset(
        few.images,
        dict(list(few.masks.items())[:10]),
        classes=["background", "square", "disc"],
        split=dict.fromkeys(few.images, "train"),
        groups=groups,
    )
    cotraining(run, SMALL.model_copy(update={"overlap": 0.2}), data, **few.factories)
    views = [{groups[pair.id] for pair in kept["train"].streams[f"labeled-{n}"].samples} for n in (1, 2)]
    assert [len(view) for view in views] == [3, 3]
    assert len(views[0] & views[1]) == 1
    assert all(len(kept["train"].streams[f"labeled-{n}"].samples) == 6 for n in (1, 2))
    kept.clear()
    cotraining(run, SMALL.model_copy(update={"overlap": 0.0, "networks": 6}), data, **few.factories)
    assert {len(kept["train"].streams[f"labeled-{n}"].samples) for n in range(1, 7)} == {10}  # too few groups to share: all get all


def test_who_is_fooled_depends_on_the_step_alone(made):
    learner = made.learner(made.networks(3), SMALL.model_copy(update={"networks": 3}))
    batch, values = made.batch(learner), []
    learner.networks.eval()
    for seed in (0, 1):
        torch.manual_seed(seed)
        values.append(float(learner.terms(batch, "all", at())["diversity"].detach()))
    assert values[0] == values[1]
