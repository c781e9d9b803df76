"""`smidgen compare`: several recipes on one split, with few labels and with many: what does each label buy?"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from smidgen.actions.choose import Dims, Use, view
from smidgen.actions.opening import checked, open_data
from smidgen.actions.train import prepared_of, preset_said
from smidgen.actions.variants import Variant
from smidgen.core.codec import write_atomically
from smidgen.core.errors import NeedError, SettingsError, UsageError
from smidgen.core.screen import Screen, watching
from smidgen.core.settings import Machine, validated
from smidgen.data.dataset import Dataset
from smidgen.data.formats import Unannotated
from smidgen.recipes.choice import Kind, resolve

if TYPE_CHECKING:
    from smidgen.actions.comparing import Cell

STOPPED = "stopped; the same command goes on where it stopped"
"""What is said after Ctrl-C."""
SHOWN = 6
"""Val images whose predictions are shown side by side."""
RECORD, PAGE = "comparison.json", "comparison.html"


@dataclass(frozen=True)
class Arm:
    """A recipe with so many labels, over all seeds.

    Args:
        recipe: As it was said.
        labeled: As it was said.
        scores: Mean score of each seed, in [0, 1].
        masks: Training images with masks, mean over seeds.
        minutes: Of a person who labels that many.
        seconds: Of one training, mean over seeds.
        peak_mib: Largest memory, MiB.
        gain: Mean difference of the score to the first recipe with as many labels, over seeds; None for the first recipe itself, or where
            it was left out.
        interval: 95 % interval of that difference, from a bootstrap over val images (groups of them); None where there are too few.
    """

    recipe: str
    labeled: str
    scores: tuple[float, ...]
    masks: float | int
    minutes: float | int
    seconds: float
    peak_mib: float
    gain: float | None
    interval: tuple[float, float] | None

    @property
    def mean(self) -> float:
        """Over seeds."""
        return statistics.mean(self.scores)

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds; None for one seed."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else None

    @property
    def verdict(self) -> str:
        """Whether it differs from the first recipe by more than noise."""
        if self.gain is None:
            return ""
        if self.interval is None:
            return "too few val images or groups to tell"
        if self.interval[0] <= 0 <= self.interval[1]:
            return "within noise"
        return "better" if self.gain > 0 else "worse"


@dataclass(frozen=True)
class Compared:
    """What was found.

    Args:
        folder: Where record, page and stages are.
        metric: What was scored, in words.
        arms: Recipes by number of labels, in the order they were said.
        left_out: What could not be trained and why: with masks for all there is nothing that a recipe could learn beside them.
    """

    folder: Path
    metric: str
    arms: tuple[Arm, ...]
    left_out: tuple[str, ...] = ()

    @property
    def report(self) -> Path:
        """The page with curves, table and pictures."""
        return self.folder / PAGE

    @property
    def figures(self) -> dict[str, Any]:
        """What `--json` tells."""
        arms = [{**vars(arm), "mean": arm.mean, "spread": arm.spread, "verdict": arm.verdict} for arm in self.arms]
        return {"folder": self.folder, "report": self.report, "metric": self.metric, "arms": arms, "left_out": self.left_out}

    def _repr_html_(self) -> str:
        """Scores and costs, for notebooks."""
        from smidgen.actions.shown import of_comparison

        return of_comparison(self.metric, self.figures["arms"], self.report)


def compare(
    data: str | Path | Dataset,
    *,
    recipes: str,
    labeled: str = "all",
    seeds: int = 1,
    out: str | Path | None = None,
    use: Use | None = None,
    head: str | None = None,
    loss: str | None = None,
    preset: str | None = None,
    label_folder: str | None = None,
    unannotated: Unannotated = "unlabeled",
    dims: Dims | None = None,
    val: float = 0.2,
    seed: int = 0,
    minutes_per_mask: float = 5.0,
    minutes_per_tag: float = 0.1,
    skip_broken: bool = False,
    settings: Mapping[str, Any] | None = None,
    screen: Screen | None = None,
) -> Compared:
    """Train several recipes with few labels and with many, and show what each label buys.

    All are scored on the same val images. With the same seed they have the same labels, and a smaller choice of labels is part of every
    larger one. What two of them share is computed once; the same call goes on where an earlier one stopped.

    Args:
        data: Folder with images and whatever labels there are; in Python also a Dataset.
        recipes: Names joined with commas, such as masks,dtc,cotraining; the others are compared with the first. What one of them has for
            itself follows its name: masks,masks:head=ocr,masks:loss=dice+ce:supervised.steps=500.
        labeled: How many training images keep their masks, joined with commas: 5,10,all; shares (10%) and groups (3groups) do, too.
        seeds: So many trainings of each; labels are drawn anew for each of them.
        out: Folder of the comparison; runs/<name of data>-compared by default.
        use: Which supervision to use; all there is by default.
        head: Head of the segmentation network.
        loss: Loss of the segmentation network.
        preset: small (two cores), base or large (GPU), or a YAML file of your own; its schedule is the budget of each training.
        label_folder: Folder of labels to read instead of masks/, such as scribbles.
        unannotated: What images of a COCO file without any annotation are: not labeled yet, or known to hold none.
        dims: Volumes as they are (3), or slice by slice (2).
        val: Share of the groups that validate, where split.csv does not say.
        seed: The first seed.
        minutes_per_mask: What one mask costs a person.
        minutes_per_tag: What the tags of one image cost a person.
        skip_broken: Leave out images with a problem instead of stopping.
        settings: Settings by method, for all recipes that use it.
        screen: Hears of the progress; bars where somebody looks by default, smidgen.Silent() for none.

    Returns:
        Scores, spreads and costs; the page is `report`.

    Raises:
        DataError: The data can't be read, or no val image has a mask.
        SettingsError: A word is not known or does not fit a recipe.
    """
    words = {
        "use": use,
        "head": head,
        "loss": loss,
        "preset": preset_said(preset),
        "label_folder": label_folder,
        "dims": dims,
        "val": val,
        **dict.fromkeys(("classify", "localize", "refine", "label", "segment", "semi", "until", "warm_from", "minutes")),
        "unannotated": unannotated,
        "skip_broken": skip_broken,
        "settings": dict(settings or {}),
    }
    names, counts = _listed(recipes, "recipes"), _listed(labeled, "labeled")
    _check(names, seeds, words)
    screen = watching(screen)
    full = open_data(data, label_folder, val, seed, unannotated)
    folder = Path(out) if out is not None else Path("runs") / f"{full.name}-compared"
    cells, left_out = _cells(full, folder, names, counts, range(seed, seed + seeds), words, screen)
    groups = {id: one.group for id, one in full.val.items()}
    arms = tuple(_arms(cells, names, counts, groups, minutes_per_mask, minutes_per_tag))
    compared = Compared(folder, cells[0].metric, arms, left_out)
    _write(compared, cells, full)
    return compared


def _listed(text: str, what: str) -> list[str]:
    """Names joined with commas, each once."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise SettingsError(f"--{what}: nothing is named: join names with commas")
    return list(dict.fromkeys(names))


def _check(names: Sequence[str], seeds: int, words: Mapping[str, Any]) -> None:
    """What can be refused before anything is read."""
    if seeds < 1:
        raise SettingsError(f"--seeds {seeds}: expected at least 1")
    said = _of_recipe(names[0], words, "pictures")[0]
    if validated(Machine, said.get("machine", {}), "machine").devices > 1:
        raise SettingsError("machine.devices: a comparison runs in one process: train one recipe after the other with `smidgen train`")
    unused = dict(words["settings"])
    for name, kind in product(names, get_args(Kind)):  # what the data are is not known yet
        own, within = _of_recipe(name, words, kind)
        resolved = resolve(within["recipe"], words["preset"], own, kind)
        for group in (*resolved.methods, "encoder", "machine"):
            unused.pop(group, None)
    if unused:
        raise SettingsError(f"{', '.join(unused)}: no recipe of this comparison uses it: leave it out")


def _of_recipe(name: str, words: Mapping[str, Any], kind: Kind) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings that a recipe uses, of those that were said for all, and its own: alone, and within the words."""
    variant = Variant.of(name)
    spoken = {place: words[place] for place in ("head", "loss") if words[place] is not None} | dict(variant.places)
    used = {*resolve(variant.recipe, words["preset"], spoken, kind).methods, "encoder", "machine"}
    mine = variant.over({group: values for group, values in words["settings"].items() if group in used})
    return {**mine, **spoken}, {**words, **variant.places, "recipe": variant.recipe, "settings": mine}


def _cells(
    data: Dataset,
    folder: Path,
    names: Sequence[str],
    counts: Sequence[str],
    seeds: Sequence[int],
    words: Mapping[str, Any],
    screen: Screen,
) -> tuple[list[Cell], tuple[str, ...]]:
    from smidgen.actions.comparing import TAGS_ONLY, worked
    from smidgen.core.processes import join, leave, locked
    from smidgen.core.stopping import polite

    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder), polite():
        data, facts = checked(data, folder / "checked.json", words["skip_broken"], screen)
        fabric, kind = join(validated(Machine, words["settings"].get("machine", {}), "machine")), view(data, words["dims"])[1]
        cells, left_out = [], {}
        for seed in seeds:
            for count in counts:
                for name in names:
                    screen.say(f"compare   {name}, {count} labeled, seed {seed}")
                    mine = _of_recipe(name, words, kind)[1] | {"labeled": count, "seed": seed}
                    if mine["recipe"] == TAGS_ONLY:
                        mine |= {"use": "tags", "labeled": None}
                    try:
                        cell = worked(prepared_of(data, facts, folder, mine, screen), fabric, screen, name, count)
                    except NeedError as error:  # with masks for all, say: the other recipes are worth their numbers nevertheless
                        left_out[name, count] = error
                        screen.say(f"left out  {name}, {count} labeled: {error}")
                        continue
                    if cell is None:
                        raise UsageError(f"{data.name}: no val image has a mask to score by: add masks for some of them")
                    cells.append(cell)
        leave(fabric)
    if not cells:
        raise next(iter(left_out.values()))
    return cells, tuple(f"{name}, {count} labeled: {error}" for (name, count), error in left_out.items())


def _arms(
    cells: Sequence[Cell], names: Sequence[str], counts: Sequence[str], groups: Mapping[str, str | None], per_mask: float, per_tag: float
) -> list[Arm]:
    found = {(name, count): [cell for cell in cells if cell.arm == (name, count)] for count in counts for name in names}
    arms = []
    for (name, count), some in found.items():
        if not some:
            continue
        base = found[names[0], count]
        gain, interval = _gain(base, some, groups) if base and name != names[0] else (None, None)
        masks, tagged = (statistics.mean(getattr(cell, what) for cell in some) for what in ("masks", "tagged"))
        arms.append(
            Arm(
                recipe=name,
                labeled=count,
                scores=tuple(cell.score for cell in some),
                masks=masks,
                minutes=masks * per_mask + tagged * per_tag,
                seconds=statistics.mean(cell.seconds for cell in some),
                peak_mib=max(cell.peak_mib for cell in some),
                gain=gain,
                interval=interval,
            )
        )
    return arms


def _gain(base: Sequence[Cell], other: Sequence[Cell], groups: Mapping[str, str | None]) -> tuple[float | None, tuple[float, float] | None]:
    """Mean difference over seeds that both have, and how far it would move with other val images."""
    import numpy as np

    from smidgen.parts.metrics.bootstrap import FEW, of_differences, of_means

    seeds = {cell.seed: cell for cell in base}
    pairs = [(seeds[cell.seed], cell) for cell in other if cell.seed in seeds]
    if not pairs:
        return None, None
    ids = sorted(set(pairs[0][0].each).intersection(*(cell.each for pair in pairs for cell in pair)))
    of = [groups.get(id) for id in ids]
    if all(cell.counts for pair in pairs for cell in pair):
        counts = [(np.stack([a.counts[id] for id in ids]), np.stack([b.counts[id] for id in ids])) for a, b in pairs]
        gain, interval = statistics.mean(b.score - a.score for a, b in pairs), of_differences(counts, of)
    else:
        differences = np.array([statistics.mean(b.each[id] - a.each[id] for a, b in pairs) for id in ids])
        gain, interval = float(differences.mean()), of_means(differences, of)
    return gain, None if interval is None or interval.units < FEW else (interval.low, interval.high)


def _write(compared: Compared, cells: Sequence[Cell], data: Dataset) -> None:
    from smidgen.actions.cases import is_oriented
    from smidgen.actions.comparing import shown_of
    from smidgen.report.comparison import Shown, write_page

    record = {**compared.figures, "cells": [cell.record() for cell in cells]}
    write_atomically(compared.folder / RECORD, lambda part: part.write_text(json.dumps(record, indent=1, default=str), encoding="utf-8"))
    first = [cell for cell in cells if cell.seed == cells[0].seed]
    shown = []
    for id in shown_of(first[0].each, SHOWN):
        said = {f"{cell.recipe}, {cell.labeled}": (cell.predictions[id].label, cell.each[id]) for cell in first if id in cell.each}
        sample = data.samples[id]
        shown.append(Shown(id, sample.image(), sample.label(), said, is_oriented(sample)))
    write_page(compared.report, data.name, data.classes, compared.metric, compared.figures["arms"], shown, compared.left_out)
