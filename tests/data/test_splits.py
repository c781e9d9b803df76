"""Drawn splits and drawn subsets of labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smidgen.core.errors import SettingsError
from smidgen.data.dataset import Dataset
from smidgen.data.splits import draw, group_of, keep
from smidgen.products.sample import Sample


def samples(count: int, per_group: int = 1, labeled: range | None = None) -> dict[str, Sample]:
    """Samples whose groups are g0, g1 …; those in `labeled` have masks."""

    def one(i: int) -> Sample:
        reader = (lambda: np.zeros((1, 1), np.uint8)) if labeled is None or i in labeled else None
        return Sample(f"{i:03}", lambda: np.zeros((1, 1, 1), np.float32), (1, 1), read_label=reader, group=f"g{i // per_group}")

    return {f"{i:03}": one(i) for i in range(count)}


@given(st.integers(2, 60), st.integers(1, 5), st.integers(0, 5), st.floats(0.01, 0.9))
def test_groups_stay_together_and_both_sides_have_something(count, per_group, seed, val):
    items = samples(count, per_group)
    split = draw(items, val, seed)
    sides = {group_of(items[id]): set() for id in items}
    for id, part in split.items():
        sides[group_of(items[id])].add(part)
    assert all(len(parts) == 1 for parts in sides.values())
    groups = len(sides)
    in_val = sum(parts == {"val"} for parts in sides.values())
    assert in_val == (0 if groups < 2 else min(max(1, round(val * groups)), groups - 1))


@given(st.integers(3, 30), st.integers(2, 4), st.integers(0, 30))
def test_labels_are_on_both_sides_where_two_groups_have_them(count, labeled, seed):
    items = samples(count, labeled=range(min(labeled, count)))
    split = draw(items, 0.2, seed)
    assert {split[id] for id, sample in items.items() if sample.read_label} == {"train", "val"}


@given(st.integers(2, 30), st.integers(0, 30))
def test_a_single_labeled_image_is_learned_from(count, seed):
    """Report b27: one labeled image makes no split of labels."""
    split = draw(samples(count, labeled=range(1)), 0.2, seed)
    assert split["000"] == "train"
    assert draw(samples(1), 0.2, seed) == {"000": "train"}


def test_zero_is_no_val_and_other_shares_are_refused():
    assert set(draw(samples(9), 0, 0).values()) == {"train"}
    for val in (1, -0.1, 20):
        with pytest.raises(SettingsError, match="share of the groups from 0 to below 1"):
            draw(samples(9), val, 0)


def test_splits_depend_on_the_seed_only():
    items = samples(50)
    assert draw(items, 0.2, 0) == draw(dict(reversed(items.items())), 0.2, 0) != draw(items, 0.2, 1)
    # The order is that of a hash, so it is the same on every machine and for every version.
    assert [id for id, part in draw(samples(10), 0.2, 0).items() if part == "val"] == ["000", "004"]


@pytest.mark.parametrize(
    ("labeled", "kept"), [(0, 0), (7, 7), ("7", 7), ("5%", 2), ("1%", 1), ("0%", 0), ("100%", 40), ("all", 40), (40, 40)]
)
def test_numbers_and_shares(labeled, kept):
    assert len(keep(samples(40), labeled, 0)) == kept


@pytest.mark.parametrize("labeled", ["some", "-3", -3, "5.5", "120%", "%", 41])
def test_impossible_numbers_are_refused(labeled):
    with pytest.raises(SettingsError, match=f"labeled = {labeled}"):
        keep(samples(40), labeled, 0)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 9))
def test_a_smaller_choice_is_part_of_a_larger_one(a, b, seed):
    small, large = (keep(samples(40, per_group=4), n, seed) for n in sorted((a, b)))
    assert small <= large


def test_labels_are_kept_group_by_group():
    items = samples(40, per_group=4)
    kept = keep(items, 10, 3)
    groups = [sum(group_of(items[id]) == f"g{i}" for id in kept) for i in range(10)]
    assert sorted(groups)[-3:] == [2, 4, 4] and sum(groups) == 10


def test_keeping_leaves_val_and_tags_alone():
    masks = [np.eye(4, dtype=np.uint8)] * 10
    data = Dataset([np.zeros((4, 4), np.uint8)] * 10, masks, tags=[["x"]] * 10, split=["val"] * 2 + ["train"] * 8)
    kept = data.keeping(3, seed=1)
    assert len(kept.labeled) == 3 and len(kept.unlabeled) == 5 and len(kept.tagged) == 8
    assert all(sample.read_label for sample in kept.val.values()) and len(data.labeled) == 8
    assert data.keeping(3, seed=1).key == kept.key != data.keeping(3, seed=2).key


def test_whole_groups_are_kept_where_groups_are_counted():
    items = samples(12, per_group=3)
    kept = keep(items, "2groups", seed=5)
    assert len(kept) == 6 and len({group_of(items[id]) for id in kept}) == 2
    assert keep(items, "1groups", 5) < kept < keep(items, "4groups", 5) == set(items)
    with pytest.raises(SettingsError, match="only 4 groups of train images have masks"):
        keep(items, "5groups", 5)
    with pytest.raises(SettingsError, match="expected a number of images like 10, a share like 5%, groups like 3groups"):
        keep(items, "twogroups", 5)
