"""A recipe in a time budget, from a table of costs: what is cut, by how much, and what is refused."""

from __future__ import annotations

import pytest

from smidgen.core.errors import SettingsError
from smidgen.core.settings import length
from smidgen.recipes.budget import StageCost, fit_into, replanned, shortened
from smidgen.recipes.choice import resolve

COSTS = (
    StageCost("classify", "gap", "epochs", 10.0, 2, 110.0, 30.0),  # 10 s each, 10 s besides
    StageCost("localize", "advcam", "steps", 8, 3, 80.0, 30.0),  # 10 s each
    StageCost("label", "argmax", "", 0, 0, 10.0, 10.0),
    StageCost("segment", "supervised", "epochs", 12.0, 2, 120.0, 20.0),  # 10 s each
)
"""320 s in full, 90 s at least."""


def test_between_two_lengths_time_is_a_straight_line():
    assert [COSTS[0].at(value) for value in (10, 6, 2)] == [110.0, 70.0, 30.0]
    assert COSTS[2].at(0) == 10.0


def test_with_enough_time_nothing_is_cut():
    plan = fit_into(6.0, COSTS, 20.0)  # 342 s are free, 20 of them gone
    assert plan.settings == {}
    assert plan.said == "nothing had to be shortened"
    assert sum(plan.seconds.values()) == 320


def test_all_are_cut_by_one_share_as_little_as_it_takes():
    plan = fit_into(4.0, COSTS, 8.0)  # 240 s less 5 % less 8 s: 220 s are free
    # At 2/3: 6 + 5 + 8 lengths of 10 s and 20 s besides make 210 s; at 7/10 it were 7 + 5 + 8, which is 220 s.
    assert plan.settings == {"gap": {"epochs": 7.0}, "advcam": {"steps": 5}, "supervised": {"epochs": 8.0}}
    assert sum(plan.seconds.values()) == 220
    assert plan.said == "classify 10 → 7 epochs; localize 8 → 5 steps; segment 12 → 8 epochs"


def test_nothing_goes_below_its_least():
    plan = fit_into(2.0, COSTS, 10.0)  # 104 s are free: the climb stays at its least of 3, which is more than its share
    assert plan.settings["advcam"]["steps"] == 3
    assert plan.settings["gap"]["epochs"] >= 2
    assert sum(plan.seconds.values()) <= 104


def test_what_a_person_said_is_not_cut():
    said = StageCost("segment", "supervised", "", 12.0, 12.0, 120.0, 120.0)
    plan = fit_into(4.0, (*COSTS[:3], said), 8.0)
    assert "supervised" not in plan.settings
    assert sum(plan.seconds.values()) <= 220


def test_too_little_time_is_refused_with_the_least_that_does():
    with pytest.raises(SettingsError, match=r"--minutes 1: too short.*say --minutes 2") as caught:
        fit_into(1.0, COSTS, 10.0)  # 100 s and 5 % are more than one minute and less than two
    assert "classify 30 s" in str(caught.value)
    fit_into(2.0, COSTS, 10.0)


def test_small_lengths_are_cut_in_quarters_and_whole_ones_stay_whole():
    costs = (StageCost("refine", "walk", "epochs", 2.0, 0.5, 60.0, 15.0), StageCost("localize", "advcam", "steps", 3, 1, 60.0, 20.0))
    plan = fit_into(1.5, costs, 0.0)  # 85.5 s are free
    assert plan.settings == {"walk": {"epochs": 1.25}, "advcam": {"steps": 2}} or plan.settings["walk"]["epochs"] % 0.25 == 0
    assert isinstance(plan.settings["advcam"]["steps"], int)


def test_a_plan_changes_the_settings_it_names_and_no_others():
    resolved = resolve("tags", "small", {})
    cut = shortened(resolved, fit_into(4.0, COSTS, 8.0))
    assert cut.methods["advcam"] == resolved.methods["advcam"].model_copy(update={"steps": 5})
    assert cut.methods["supervised"].epochs == 8
    assert cut.methods["walk"] is resolved.methods["walk"]


@pytest.mark.parametrize("preset", ["paper", "small", "demo"])
def test_what_learns_or_climbs_has_a_length(preset):
    found = {name: length(one) for name, one in resolve("tags", preset, {}).methods.items()}
    named = {name: one[0] for name, one in found.items() if one is not None}
    supervised = "steps" if preset == "paper" else "epochs"
    assert {"gap": "epochs", "advcam": "steps", "walk": "epochs", "supervised": supervised}.items() <= named.items()
    assert found["argmax"] is None


def test_what_overrides_comes_first():
    gap = resolve("tags", "small", {"gap": {"steps": 100}}).methods["gap"]
    name, mark = length(gap) or ("", None)
    assert (name, mark.rounds) == ("steps", False)


def test_a_machine_that_turns_out_slower_is_planned_with_anew():
    plan = fit_into(6.0, COSTS, 20.0)
    # The classifier's 110 s took 220: what is left is taken to need twice as long, and 200 s are there for it.
    cut = replanned(plan, COSTS, 1, 2.0, 200.0)
    # At 1/3: 3 steps (60 s), the labels (20 s), 4 epochs (80 s); at 2/5: 3, and 4 or 5 epochs.
    assert cut.settings == {"advcam": {"steps": 3}, "supervised": {"epochs": 5.0}} or cut.settings["supervised"]["epochs"] == 6.0
    assert sum(list(cut.seconds.values())[1:]) <= 200
    assert cut.seconds["classify gap"] == 220
    assert "gap" not in cut.settings


def test_a_faster_one_gives_back_what_was_cut():
    plan = fit_into(4.0, COSTS, 8.0)
    assert replanned(plan, COSTS, 1, 0.5, 150.0).settings == {"gap": {"epochs": 7.0}}


def test_settings_that_a_stage_has_had_stay():
    costs = (*COSTS, StageCost("refine", "gap", "epochs", 10.0, 2, 110.0, 30.0))
    plan = fit_into(6.0, costs, 0.0)
    assert plan.settings["gap"]["epochs"] < 10
    cut = replanned(plan, costs, 4, 3.0, 10.0)
    assert cut.settings == plan.settings


def test_too_slow_for_the_least_it_goes_on_with_the_least():
    cut = replanned(fit_into(6.0, COSTS, 20.0), COSTS, 1, 10.0, 1.0)
    assert cut.settings == {"advcam": {"steps": 3}, "supervised": {"epochs": 2.0}}
