"""UA-MT's mask: which pixels of the teacher count, on hand-made probabilities."""

from __future__ import annotations

import math

import pytest
import torch

from smidgen.core.fit import Step
from smidgen.data.building import network_of
from smidgen.data.pairs import labeled
from smidgen.data.views import Views, unlabeled, weak
from smidgen.methods.semi import settings
from smidgen.methods.semi.mean_teacher import Teaching, certain, consistency, entropy, mean_teacher
from smidgen.products.warm import WarmStart

AT_FIRST = Step(0, 3, torch.Generator())
QUICK = {"crop": 20, "scale": (1.0, 1.0), "batch": 2, "batch_unlabeled": 2, "steps": 3}


def passes(*of_each: list[float]):
    """Probabilities of the foreground in each pass, for one image with a row of pixels: (t, b, k, w)."""
    foreground = torch.tensor(of_each)[:, None, None]
    return torch.cat([1 - foreground, foreground], dim=2)


def test_entropy_is_that_of_the_mean_answer():
    found = entropy(passes([1.0, 0.5, 0.0, 0.9], [1.0, 0.5, 1.0, 0.7]))
    expected = [0.0, math.log(2), math.log(2), -(0.8 * math.log(0.8) + 0.2 * math.log(0.2))]  # sure of the contrary is not sure
    assert found[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_the_threshold_rises_from_three_quarters_of_the_largest_entropy_to_all_of_it():
    sides = [0.5, 0.45, 0.35, 0.25, 0.21, 0.1, 0.0]
    shares = [-(p * math.log2(p) + (1 - p) * math.log2(1 - p)) if p else 0.0 for p in sides]
    for progress in (0.0, 0.3, 0.7, 1.0):
        limit = 0.75 + 0.25 * (math.exp(-5 * (1 - progress) ** 2) if progress else 0.0)
        assert certain(passes(sides), progress)[0].tolist() == [share < limit for share in shares]
    assert certain(passes(sides), 0.0)[0].tolist() == [False, False, False, False, True, True, True]  # 0.25: 0.811 of it
    assert certain(passes(sides), 1.0)[0].tolist() == [False, True, True, True, True, True, True]


def test_of_several_classes_the_largest_entropy_is_the_logarithm_of_their_number():
    probs = torch.tensor([[0.34, 0.33, 0.33], [0.5, 0.5, 0.0], [0.8, 0.1, 0.1]]).T[None, None]
    shares = (entropy(probs) / math.log(3))[0].tolist()
    assert shares == pytest.approx([0.99992, 0.63093, 0.58170], abs=1e-4)
    assert certain(probs, 0.0)[0].tolist() == [False, True, True]


def test_the_consistency_is_the_mean_over_pixels_that_count():
    student, teacher = torch.zeros(1, 2, 4), torch.tensor([0.0, 2.0, 4.0, 50.0]).repeat(1, 2, 1) * torch.tensor([-0.5, 0.5])[:, None]
    apart = (torch.tensor([0.0, 2.0, 4.0, 50.0]).sigmoid() - 0.5).square()
    for counted in ([True] * 4, [False, True, False, True], [False] * 4):
        chosen = torch.tensor([counted])
        assert consistency(student, teacher, chosen).item() == pytest.approx(apart[chosen[0]].mean().item() if any(counted) else 0.0)


def test_at_first_an_unsure_teacher_teaches_nothing_and_a_sure_one_all(few):
    """A teacher whose last layer is zero says one half of everything; the same with a bias is sure of everything."""
    chosen = settings.MeanTeacher(**QUICK, uncertainty=True, passes=2, ramp=(0.0, 0.0), weight=1.0)
    data, made = few.data, few.factories
    views = Views(weak(chosen, data), 1)
    learner = Teaching(network_of(made["encoder"], made["head"], data), labeled(data, None), unlabeled(data), views, made["loss"], chosen)
    for parameter in learner.teacher.head.parameters():
        parameter.zero_()
    torch.manual_seed(0)
    batch = {
        "labeled": torch.utils.data.default_collate([views.labeled(pair) for pair in labeled(data, None)]),
        "unlabeled": torch.utils.data.default_collate([views.unlabeled(sample) for sample in unlabeled(data)[:2]]),
    }
    assert learner.terms(batch, "student", AT_FIRST)["consistency"].item() == 0
    biases = [parameter for parameter in learner.teacher.head.parameters() if parameter.shape == (3,)]
    biases[0].copy_(torch.tensor([9.0, 0.0, 0.0]))
    sure = learner.terms(batch, "student", AT_FIRST)["consistency"].item()
    learner.settings = chosen.model_copy(update={"uncertainty": False})
    torch.manual_seed(1)
    assert sure == pytest.approx(learner.terms(batch, "student", AT_FIRST)["consistency"].item(), rel=0.05)


def test_it_trains(few, run):
    chosen = settings.MeanTeacher(**QUICK, uncertainty=True, passes=2, weight=1.0, ramp=(0.0, 0.5))
    assert mean_teacher(run, chosen, few.data, **few.factories).predict(few.images["s05"][None]).label.shape == (20, 20)


def test_both_networks_start_from_an_earlier_one(few, run, tmp_path):
    still = settings.MeanTeacher(**QUICK | {"steps": 1}, lr_encoder=1e-9, lr_head=1e-9)
    first = mean_teacher(run, still, few.data, **few.factories)
    torch.manual_seed(5)
    cold = mean_teacher(run._inside(tmp_path / "cold", "0"), still, few.data, **few.factories)
    warm = mean_teacher(run._inside(tmp_path / "warm", "0"), still, few.data, **few.factories, warm_from=WarmStart.of(first))

    def apart(one, other):
        return max(float((a - b).abs().max()) for a, b in zip(one.network.parameters(), other.network.parameters(), strict=True))

    assert apart(warm, first) < 1e-6 < 1e-3 < apart(cold, first)
