"""AdvCAM against hand-computed numbers and properties that any correct climb has."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from pytest import approx
from torch import tensor

from smidgen.core.errors import NeedError
from smidgen.methods.localize import advcam as module
from smidgen.methods.localize.advcam import advcam, ascend, ascent, averaged, levels, objective, summed
from smidgen.methods.localize.cam import cam
from smidgen.methods.localize.settings import Advcam, Cam
from smidgen.parts.imaging.views import normalized, with_mirror

ONE = torch.ones(1, 1, 1, 1, 1)


def row(*values: float) -> torch.Tensor:
    """Numbers as the pixels of one climb with one view."""
    return tensor(values, dtype=torch.float32).reshape(1, 1, 1, 1, -1)


def climb(classifier, settings: Advcam, start: torch.Tensor, *targets: int, steps: int = 6, restraint: float = 0.01, point: str = "pixels"):
    """All rungs of climbs from `start`, one per target."""
    rivals = torch.stack([torch.arange(3) != target for target in targets])
    maps = (lambda x: classifier.class_maps(x, at=point)) if point != "pixels" else classifier.class_maps
    return list(ascent(maps, start, tensor(targets), rivals, settings, steps=steps, restraint=restraint))


@pytest.fixture
def start(pictures):
    """Two climbs of two views."""
    return with_mirror(torch.from_numpy(np.stack([pictures["a"], pictures["b"]])))


# ------------------------------------------------------------------ equations


@pytest.mark.parametrize("views", ["even", "weighted"])
def test_evidence_of_a_linear_head_is_its_positive_logit(views):
    features = tensor([[[1.0, 2], [0, 1]], [[2.0, 0], [1, 1]]])
    logits = torch.einsum("c,chw->hw", tensor([1.0, -0.5]), features)
    assert logits.tolist() == [[0, 2], [-0.5, 0.5]]
    assert averaged(logits[None, None], views)[0].tolist() == [[0, 2], [0, 0.5]]


def test_weighted_views_count_by_their_positive_places():
    logits = tensor([[[[4.0, -1, -1, -1]], [[1.0, 1, 1, -1]]]])  # 1 positive place and 3; the second view is a mirror image
    assert averaged(logits, "weighted").flatten().tolist() == [4 / 4, 3 / 4, 3 / 4, 3 / 4]
    assert averaged(logits, "even").flatten().tolist() == [2, 0.5, 0.5, 0.5]


def test_a_step_rescales_the_gradient_and_stays_within_the_range():
    moved, clipped = ascend(row(-2, 0, 1, 2), row(0.1, -0.4, 0.2, 0.3), 0.08 * ONE, (-2 * ONE, 2 * ONE))
    assert moved.flatten().tolist() == approx([-1.98, -0.08, 1.04, 2.0])
    assert clipped.item() == 0.25


def test_objective_is_the_logit_less_its_rivals():
    assert objective(tensor([[2.0, 1, 0.5]]), tensor([0]), tensor([[False, True, True]])).item() == 0.5


def test_maps_are_summed_raw():
    maps, peak = normalized(np.array([[[4, 2, 0]], [[5, 4, 1]], [[6, 6, 3]]], np.float32).sum(axis=0, keepdims=True))
    assert maps.ravel() == approx([1, 0.8, 0.26667], abs=2e-5)
    assert peak == approx([15])


def test_toy_climb_to_the_printed_digits():
    def class_maps(x):
        return torch.cat([2 * x.relu(), 3 * (x - 0.6).relu()], dim=1)

    settings = Advcam(step_size=0.08, on_above=0.5)
    rungs = list(ascent(class_maps, row(1, 0.5, 0.2), tensor([0]), tensor([[False, True]]), settings, steps=4, restraint=0.1))
    flat = [[getattr(rung, name) for rung in rungs] for name in ("x", "gradient", "on", "objective")]
    x, gradients, on, scores = ([None if v is None else v.flatten().tolist() for v in values] for values in flat)
    assert x == [approx([1, 0.5, 0.2]), approx([0.96, 0.58, 0.28]), approx([0.944, 0.636, 0.36]), approx([0.928, 0.572, 0.44])]
    expected = ([-0.33333, 0.66667, 0.66667], [-0.13333, 0.46667, 0.66667], [-0.13333, -0.53333, 0.66667])
    assert gradients[:3] == [approx(gradient, abs=6e-6) for gradient in expected]
    assert gradients[3] is None
    assert on == [[True, False, False], *[[True, True, False]] * 3]
    assert np.ravel(scores) == approx([0.73333, 0.82933, 0.87493, 0.93653], abs=6e-6)
    total = summed(iter(rungs))[0]
    assert total.flatten().tolist() == approx([7.664, 4.576, 2.56])
    assert normalized(total.numpy())[0].ravel() == approx([0.999999, 0.597076, 0.334029], abs=1e-6)


def test_official_scale_weights_forget_to_go_back():
    assert [(at.scale, at.steps, at.weight) for at in levels(Advcam())] == [(0.5, 13, 2), (1, 27, 2), (1.5, 27, 2), (2, 27, 2)]
    assert [(at.steps, at.weight) for at in levels(Advcam(steps=8, scales=(0.5, 1)))] == [(5, 1), (8, 1)]
    balanced = levels(Advcam(scale_weights="balanced"))
    assert {round(at.steps * at.weight, 6) for at in balanced} == {27}
    assert [at.steps for at in levels(Advcam(steps=1))] == [1, 1, 1, 1]


# ------------------------------------------------------------------ properties of a climb


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9}, {"views": "weighted"}])
def test_range_only_shrinks_and_no_value_moves_further_than_a_step(classifier, start, options):
    xs = [rung.x for rung in climb(classifier, Advcam(**options), start, 0, 1)]
    for before, after in itertools.pairwise(xs):
        assert (after.amax(dim=(1, 2, 3, 4)) <= before.amax(dim=(1, 2, 3, 4))).all()
        assert (after.amin(dim=(1, 2, 3, 4)) >= before.amin(dim=(1, 2, 3, 4))).all()
        assert 0 < (after - before).abs().max() <= 0.018 + 1e-6


@pytest.mark.parametrize(("clip", "third"), [("original", 0.92), ("current", 0.84)])
def test_original_range_lets_values_come_back(clip, third):
    def class_maps(x):
        return (1 - (x - 0.9).abs()).relu()  # two steps down from 1 are one too many

    settings = Advcam(step_size=0.08, clip=clip)
    rungs = ascent(class_maps, row(1, 0.5), tensor([0]), tensor([[False]]), settings, steps=4, restraint=0.0)
    assert [rung.x.flatten().tolist() for rung in rungs] == [approx(x) for x in ([1, 0.5], [0.92, 0.58], [0.84, 0.66], [third, 0.74])]


@pytest.mark.parametrize(("momentum", "third"), [(0.0, [0.605, 0.3025, 1, 0]), (0.5, [0.55 + 0.08 / 1.5, 0.275 + 0.04 / 1.5, 1, 0])])
def test_momentum_keeps_a_share_of_the_last_direction(momentum, third):
    """Logits x², so the direction is x itself: (.5, .25, 1, 0), then (.55, .275, 1, 0); with half of the first (.8, .4, 1.5, 0) / 1.5."""
    settings = Advcam(step_size=0.1, clip="original", momentum=momentum)
    rungs = list(ascent(torch.square, row(0.5, 0.25, 1, 0), tensor([0]), tensor([[False]]), settings, steps=3, restraint=0.0))
    assert rungs[1].x.flatten().tolist() == approx([0.55, 0.275, 1, 0])
    assert rungs[2].x.flatten().tolist() == approx(third)


def test_the_shorter_way_is_taken_where_it_is_wanted(run, data, make_classifier):
    class Shorter(make_classifier):
        def lean(self):
            self.short = make_classifier()
            return self.short

    for n, fold in enumerate((True, False)):
        classifier = Shorter()
        advcam(run._inside(run.folder / str(n), str(n)), Advcam(steps=2, fold=fold), data, classifier)
        assert (classifier.calls == 0, hasattr(classifier, "short") and classifier.short.calls > 0) == (fold, fold)


def test_first_step_knows_no_restraint(classifier, start):
    free, held = (climb(classifier, Advcam(), start, 0, 1, steps=3, restraint=weight) for weight in (0.0, 7.0))
    assert torch.equal(free[0].gradient, held[0].gradient) and free[0].gradient.abs().max() > 0
    assert not torch.equal(free[1].gradient, held[1].gradient)


def test_swapping_the_views_mirrors_the_map(classifier, start):
    there, back = (summed(iter(climb(classifier, Advcam(), x, 0, 1)))[0] for x in (start, start.flip(1)))
    assert torch.allclose(there, back.flip(-1), atol=1e-5)


def test_climbing_raises_the_logit_and_restraint_keeps_what_is_on(classifier, start):
    free, held = (climb(classifier, Advcam(), start, 0, 1, steps=8, restraint=weight) for weight in (0.0, 1.0))
    assert (free[-1].logits > free[0].logits).all()

    def drift(rungs):
        return ((rungs[-1].maps - rungs[0].maps).abs() * rungs[0].on).sum()

    assert drift(held) < drift(free)


def test_climbs_at_once_do_not_know_of_each_other(classifier, start):
    both = summed(iter(climb(classifier, Advcam(momentum=0.5), start, 2, 1)))[0]
    alone = [summed(iter(climb(classifier, Advcam(momentum=0.5), start[n : n + 1], target)))[0][0] for n, target in ((0, 2), (1, 1))]
    assert torch.allclose(both, torch.stack(alone), rtol=1e-4, atol=1e-5)


def test_feature_maps_can_be_climbed_in_half_ranges(classifier, start):
    middle = classifier.features(start.flatten(0, 1), to="middle").unflatten(0, (2, 2))
    rungs = climb(classifier, Advcam(step_size=0.01, step_unit="half-range", point="middle"), middle, 0, 1, point="middle")
    half = (middle.amax(dim=(1, 2, 3, 4)) - middle.amin(dim=(1, 2, 3, 4))) / 2
    change = (rungs[1].x - middle).abs().amax(dim=(1, 2, 3, 4))
    assert (change <= 0.01001 * half).all()
    assert (change / half).max() == approx(0.01, rel=1e-3)
    assert (rungs[-1].logits > rungs[0].logits).all()


def test_sixteen_bits_touch_the_network_only(classifier, start):
    def rungs(autocast):
        rivals = torch.stack([torch.arange(3) != 0] * 2)
        return list(ascent(classifier.class_maps, start, tensor([0, 0]), rivals, Advcam(), steps=4, restraint=0.01, autocast=autocast))

    exact, short = rungs(lambda: torch.autocast("cpu", enabled=False)), rungs(lambda: torch.autocast("cpu", torch.bfloat16))
    assert all(rung.x.dtype == rung.maps.dtype == torch.float32 for rung in short)
    assert torch.allclose(exact[-1].maps, short[-1].maps, atol=0.05 * float(exact[-1].maps.max()))


def test_no_pass_is_wasted(classifier, start):
    climb(classifier, Advcam(), start, 0, 1, steps=5)
    assert classifier.calls == 5


# ------------------------------------------------------------------ the method


@pytest.mark.parametrize("size", [0, 48])
def test_one_step_is_plain_cam(run, data, classifier, size):
    shared = {"size": size, "scales": (0.5, 1.0, 1.5), "threshold": 0.3}
    plain = cam(run, Cam(**shared), data, classifier)
    climbed = advcam(run._inside(run.folder / "other", "1"), Advcam(steps=1, **shared), data, classifier)
    assert set(plain) == set(climbed) == {"a", "b", "c", "d", "e"}
    for id in plain:
        assert climbed[id].maps == approx(plain[id].maps, abs=1e-5)
        assert climbed[id].peak == approx(plain[id].peak, rel=1e-5)
        assert climbed[id].ids == plain[id].ids
        assert (climbed[id].background == plain[id].background).all()


def test_maps_are_heatmaps(run, data, classifier):
    found = advcam(run, Advcam(steps=3, scales=(0.5, 1.0)), data, classifier)
    for id, sample in data.tagged.items():
        h, w = sample.size
        assert found[id].ids == tuple(sorted(sample.tags))
        assert found[id].maps.shape == (len(sample.tags), -(-h // 4), -(-w // 4)) and found[id].size == (h, w)
        assert found[id].maps.min(initial=0) >= 0
        assert found[id].maps.max(axis=(1, 2), initial=0) == approx(np.ones(len(sample.tags)), abs=1e-3)
        assert (found[id].background == np.float32(0.25)).all() and found[id].background.shape == found[id].maps.shape[1:]


def test_batches_and_order_of_classes_change_nothing(run, data, classifier, make_classifier):
    class Reversed(make_classifier):
        ids = (3, 2, 1)

    turned = Reversed()
    turned.head_weights = turned.head_weights.flip(0)
    results = []
    for n, (network, batch) in enumerate(((classifier, 4), (classifier, 1), (turned, 3))):
        settings = Advcam(steps=4, scales=(0.5, 1.0, 2.0), batch=batch)
        results.append(advcam(run._inside(run.folder / str(n), str(n)), settings, data, network))
    for id in data.tagged:
        for other in results[1:]:
            assert other[id].maps == approx(results[0][id].maps, abs=1e-3)
            assert other[id].ids == results[0][id].ids


@pytest.mark.parametrize("over", ["sum", "mean"])
def test_doubled_features_with_halved_weights_climb_the_same(run, data, make_classifier, over):
    settings = Advcam(steps=5, scales=(1.0,), restraint=700.0, restraint_over=over)
    one, two, free = (
        advcam(run._inside(run.folder / str(n), str(n)), settings.model_copy(update=changed), data, make_classifier(copies))
        for n, (copies, changed) in enumerate(((1, {}), (2, {}), (1, {"restraint": 0.0})))
    )
    assert all(two[id].maps == approx(one[id].maps, abs=1e-4) for id in data.tagged)
    assert any(np.abs(free[id].maps - one[id].maps).max(initial=0) > 1e-3 for id in data.tagged)  # the restraint is felt


def test_restraint_is_the_papers_at_its_size_and_stride(classifier):
    over_sum, over_mean = (module.Climber(classifier, Advcam(restraint_over=over), torch.device("cpu")) for over in ("sum", "mean"))
    assert over_sum._restraint(768.0) == over_mean._restraint(768.0) == 7 / 1024
    assert over_sum._restraint(192.0) * 4 == over_mean._restraint(192.0) == 4 * 7 / 1024


def test_absent_rivals_leave_present_classes_alone(classifier):
    every, absent = (module.Climber(classifier, Advcam(competitors=which), torch.device("cpu")) for which in ("all", "absent"))
    assert every._rivals(0, (1, 3)).tolist() == [False, True, True]
    assert absent._rivals(0, (1, 3)).tolist() == [False, True, False]


def test_signals_tell_how_the_climb_went(data, classifier):
    climber = module.Climber(classifier, Advcam(steps=6, scales=(1.0,)), torch.device("cpu"))
    (found,) = module.climb([data.tagged["e"]], climber)
    assert found.ids == (1, 2, 3)
    assert (found.logit_last > found.logit_first).all()
    assert ((found.on > 0) & (found.on < 1)).all() and ((found.clipped >= 0) & (found.clipped < 1)).all()


def test_an_unknown_point_is_said_before_anything_is_done(run, data, classifier):
    with pytest.raises(NeedError, match=r"advcam\.point.*'nowhere'.*pixels, middle"):
        advcam(run, Advcam(point="nowhere"), data, classifier)
