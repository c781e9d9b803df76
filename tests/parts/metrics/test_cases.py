"""What is told of structures over cases."""

from __future__ import annotations

import json
from math import sqrt

import numpy as np
from pytest import approx

from smidgen.parts.metrics.bootstrap import Interval
from smidgen.parts.metrics.cases import Cases, Miss, Moments, structures, unit_of


def volume(*starts):
    """A volume of 4 x 8 x 8 voxels; class i is a block of two slices of 4 x 4 from x = starts[i] on, None = it is not there."""
    label = np.zeros((4, 8, 8), np.uint8)
    for value, x in enumerate(starts, 1):
        if x is not None:
            label[2 * value - 2 : 2 * value, 2:6, x : x + 4] = value
    return label


def scored():
    cases = Cases(("atrium", "wall"), "mm")
    pairs = {
        "a": (volume(1, None), volume(1, None)),
        "b": (volume(1, 2), volume(2, 2)),
        "c": (volume(1, 2), volume(3, None)),
        "d": (volume(None, 2), volume(1, 2)),
    }
    for case, (truth, said) in pairs.items():
        cases = cases.adding(case, structures(truth, said, [1, 2], (2.0, 1.0, 1.0)), "p" if case in "ab" else None)
    return cases


def test_means_take_every_case_that_has_the_structure_on_either_side():
    atrium, wall = scored().told
    assert (atrium.dice.mean, atrium.dice.cases, atrium.absent) == (approx((1 + 0.75 + 0.5 + 0) / 4), 4, 0)
    assert (wall.dice.mean, wall.dice.cases, wall.absent) == (approx((1 + 0 + 1) / 3), 3, 1)
    assert wall.dice.sd == approx(np.std([1, 0, 1], ddof=1))
    assert wall.jaccard.mean == approx(2 / 3)
    assert wall.hd95.mean == approx(sqrt(8**2 + 8**2 + 8**2) / 3), "the diagonal of 4 slices of 2 mm, 8 and 8 mm"
    assert atrium.hd95.mean == approx((0 + 1 + 2 + sqrt(3 * 64)) / 4)


def test_the_worst_case_has_a_name_and_misses_are_listed():
    cases = scored()
    assert [one.worst for one in cases.told] == ["d", "c"]
    assert cases.missed == (Miss("c", "wall", "truth"), Miss("d", "atrium", "prediction"))
    assert [str(one) for one in cases.missed] == ["c: wall was missed", "d: atrium is in the prediction only"]


def test_cases_count_alike():
    cases = scored()
    assert cases.dice == {"a": 1.0, "b": approx(0.875), "c": approx(0.25), "d": 0.5}
    assert cases.mean_dice.mean == approx((1 + 0.875 + 0.25 + 0.5) / 4)
    assert Moments.of(np.array([0.5, np.nan])).shares == "50.0"
    assert Moments.of(np.array([1.0, 2.0])).distances == "1.50 ± 0.71"
    assert Moments.of(np.array([np.nan])).distances == "n/a"


def test_few_groups_have_no_interval():
    assert scored().interval is None, "three groups"
    cases = Cases(("x",), "voxels")
    for n in range(6):
        cases = cases.adding(f"{n}", structures(volume(1), volume(1 + n % 2), [1]))
    assert isinstance(cases.interval, Interval)
    assert (cases.interval.low, cases.interval.units) == (approx(0.75 + 0.25 / 6), 6), "1 of 6 good ones: fewer come in 1.6 % of draws"
    assert cases.interval.high == approx(0.75 + 0.25 * 5 / 6)


def test_the_record_is_plain():
    found = json.loads(json.dumps(scored().record()))
    assert found["unit"] == "mm"
    assert found["missed"] == [
        {"case": "c", "class": "wall", "only_in": "truth"},
        {"case": "d", "class": "atrium", "only_in": "prediction"},
    ]
    assert found["per_case"]["a"] == {"atrium": {"dice": 1, "jaccard": 1, "hd95": 0, "assd": 0}, "wall": None}
    assert (found["classes"]["wall"]["worst_case"], found["classes"]["wall"]["in_neither"]) == ("c", 1)
    empty = Cases(("x",), "voxels").adding("a", (None,)).record()
    assert (empty["mean_dice"]["mean"], empty["classes"]["x"]["worst_case"]) == (None, None)


def test_one_case_of_unknown_spacing_makes_all_distances_voxels():
    assert unit_of([(1.0, 1.0, 1.0)] * 2) == "mm"
    assert unit_of([(1.0, 1.0, 1.0), None]) == "voxels"
    assert unit_of([]) == "voxels"
