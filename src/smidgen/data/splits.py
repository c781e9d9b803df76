"""Drawn choices: which groups are scored, which train items keep their labels.

Both follow one order of the groups that depends on the seed and the groups' names only: the same on every machine, and a smaller choice is
a part of every larger one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping

from smidgen.core.errors import SettingsError
from smidgen.products.sample import Sample

GROUPS = "groups"
"""What follows a number of groups."""


def shuffled(names: Iterable[str], *seed: object) -> list[str]:
    """Names in an order that depends on the seed and on each name alone."""
    return sorted(set(names), key=lambda name: hashlib.sha256(repr((*seed, name)).encode()).digest())


def group_of(sample: Sample) -> str:
    """What stays together: the sample's group, else the sample by itself."""
    return sample.id if sample.group is None else sample.group


def has_dense(sample: Sample) -> bool:
    """There is a mask, scribbles or instances."""
    return sample.read_label is not None or sample.read_instances is not None


def draw(samples: Mapping[str, Sample], val: float | int, seed: int) -> dict[str, str]:
    """A split by group: id -> train or val.

    Val gets `val` of the groups, rounded, and at least one that has labels (masks, else tags), if train keeps another one with labels.

    Args:
        samples: All that is to be split.
        val: Share of the groups in [0, 1); 0 = no val.
        seed: Of the drawn order.

    Raises:
        SettingsError: `val` is no such share.
    """
    if not 0 <= val < 1:
        raise SettingsError(f"val = {val}: a share of the groups from 0 to below 1 was expected; 0 = no validation")
    groups = shuffled((group_of(sample) for sample in samples.values()), seed, "split")
    count = min(max(1, round(val * len(groups))), len(groups) - 1) if val else 0
    if count <= 0:
        return dict.fromkeys(samples, "train")
    labeled = _groups_with(samples, has_dense) or _groups_with(samples, lambda sample: bool(sample.tags))
    chosen = _with_labels_on_both_sides(groups, count, labeled)
    return {id: "val" if group_of(sample) in chosen else "train" for id, sample in samples.items()}


def _groups_with(samples: Mapping[str, Sample], wanted: Callable[[Sample], bool]) -> set[str]:
    return {group_of(sample) for sample in samples.values() if wanted(sample)}


def _with_labels_on_both_sides(groups: list[str], count: int, labeled: Collection[str]) -> set[str]:
    """The first groups; the last of them is exchanged where one side would have no labels although there are two."""
    chosen, others = groups[:count], groups[count:]
    if len(labeled) >= 2:
        for poor, rich in ((chosen, others), (others, chosen)):
            if not any(group in labeled for group in poor):
                partner = next(i for i, group in enumerate(rich) if group in labeled)
                poor[-1], rich[partner] = rich[partner], poor[-1]
    elif labeled and len(groups) > count:
        # The only group with labels is worth more for training than for a score.
        only = next(iter(labeled))
        if only in chosen:
            chosen[chosen.index(only)], others[0] = others[0], only
    return set(chosen)


def keep(samples: Mapping[str, Sample], labeled: int | str, seed: int) -> set[str]:
    """Ids of those train items that keep their dense labels, group after group in drawn order.

    Args:
        samples: The train items.
        labeled: How many (10), which share of those with labels ("5%", at least one), how many groups ("3groups"), or "all".
        seed: Of the drawn order.

    Raises:
        SettingsError: No such number, or more than there are.
    """
    have = [id for id, sample in samples.items() if has_dense(sample)]
    ranks = {group: i for i, group in enumerate(shuffled((group_of(samples[id]) for id in have), seed, "labeled"))}
    said = str(labeled).strip()
    by_group = said.endswith(GROUPS)
    number = _number(said.removesuffix(GROUPS) if by_group else said, len(ranks if by_group else have))
    if number > len(ranks if by_group else have):
        what = f"{len(ranks)} groups of train images" if by_group else f"{len(have)} train images"
        raise SettingsError(f"labeled = {labeled}: only {what} have masks; choose at most that many")
    if by_group:
        return {id for id in have if ranks[group_of(samples[id])] < number}
    within = {id: i for i, id in enumerate(shuffled(have, seed, "labeled"))}
    have.sort(key=lambda id: (ranks[group_of(samples[id])], within[id]))
    return set(have[:number])


def folds(samples: Mapping[str, Sample], count: int, seed: int) -> tuple[frozenset[str], ...]:
    """Groups that have dense labels, dealt out to so many folds.

    Args:
        samples: The train items.
        count: How many folds, at least 2.
        seed: Of the drawn order.

    Raises:
        SettingsError: There are fewer such groups than folds, so that one would have nothing.
    """
    full = _groups_with(samples, lambda sample: sample.read_label is not None and not sample.sparse)
    if count < 2:
        raise SettingsError(f"calibrate = {count}: one share of the masks is left out at a time: expected at least 2 shares")
    if count > len(full):
        groups = "1 group" if len(full) == 1 else f"{len(full)} groups"
        raise SettingsError(f"calibrate = {count}: only {groups} of train images have full masks; choose at most that many shares of them")
    order = shuffled(full, seed, "folds")
    return tuple(frozenset(order[n::count]) for n in range(count))


def _number(labeled: int | str, all: int) -> int:
    text = str(labeled).strip()
    if text == "all":
        return all
    try:
        if text.endswith("%"):
            share = float(text[:-1]) / 100
            if 0 <= share <= 1:
                return min(all, max(1, round(share * all))) if share else 0
        elif int(text) >= 0:
            return int(text)
    except ValueError:
        pass
    raise SettingsError(f"labeled = {labeled}: expected a number of images like 10, a share like 5%, groups like 3groups, or all")
