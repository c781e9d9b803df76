"""`smidgen inspect`: which labels are there, what is broken, which recipe `train` would run and about how long it takes."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from smidgen.actions.choose import Chosen, Use, choose, kind_of
from smidgen.actions.opening import open_data
from smidgen.actions.spoken import spoken
from smidgen.actions.train import train
from smidgen.core import settings
from smidgen.core.errors import DataError, Problem, UsageError
from smidgen.core.machine import cores, default_preset
from smidgen.core.plan import Plan
from smidgen.core.screen import Screen, watching
from smidgen.data.dataset import Dataset
from smidgen.data.formats import Unannotated
from smidgen.data.summary import Summary, summarize
from smidgen.recipes.choice import COSTS, STEP_COSTS, Kind, Resolved, resolve

STOPPED = "stopped; nothing was written"
"""What is said after Ctrl-C."""
REFERENCE_CORES = 2
"""The seconds in the presets were measured on so many cores."""


@dataclass(frozen=True)
class Inspected:
    """What was found.

    Args:
        summary: Counts, sizes, meanings, problems.
        chosen: The recipe that `train` would run; None where there is nothing to learn from.
        stages: Its stages, as "stage method".
        minutes: About how long it takes on this machine; None where the preset does not know.
        lines: All of it in words, for a screen.
        command: What trains on these data, in this way.
        tagged: Split -> images tagged with each class, by label value.
    """

    summary: Summary
    chosen: Chosen | None
    stages: tuple[str, ...]
    minutes: float | None
    lines: tuple[str, ...]
    command: str
    tagged: Mapping[str, tuple[int, ...]]

    @property
    def figures(self) -> dict[str, Any]:
        """What `--json` tells: all but the words for a screen."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "lines"} | {"next": self.next}

    @property
    def exit_code(self) -> int:
        """Of the command: 2 where something is wrong with the data, as `train` would end."""
        return UsageError.exit_code if self.problems else 0

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong, with remedies."""
        return self.summary.problems

    @property
    def classes(self) -> tuple[tuple[str, ...], ...]:
        """A heading, then a row per class, as text: name, tagged images per split, masks (of those looked at) with it, share of pixels."""
        heading = ("class", *(f"tagged in {split}" for split in self.tagged), "masks with it", "share of pixels")
        rows = [
            (
                f"{row.value} {row.name}",
                *(str(counts[row.value]) for counts in self.tagged.values()),
                str(row.masks),
                f"{100 * row.share:.1f} %" if row.masks else "",
            )
            for row in self.summary.classes
        ]
        return (heading, *rows)

    @property
    def next(self) -> str:
        """What to type next."""
        if self.problems:
            return "mend the files above, or train with --skip-broken where only single images are named"
        return self.command if self.chosen else ""


def inspect(
    data: str | Path | Dataset,
    *,
    use: Use | None = None,
    preset: str | None = None,
    label_folder: str | None = None,
    unannotated: Unannotated = "unlabeled",
    val: float = 0.2,
    seed: int = 0,
    full: bool = False,
    screen: Screen | None = None,
) -> Inspected:
    """Tell what is in a dataset before anything is trained: labels, problems, recipe, time.

    Reads headers, tables, end markers and a seeded sample of the masks. The command ends with exit code 2 where something is wrong.

    Args:
        data: Folder with images and whatever labels there are; in Python also a Dataset.
        use: Which supervision `train` would use; all there is by default.
        preset: small (two cores), base or large (GPU), demo, paper, or a YAML file of your own.
        label_folder: Folder of labels to read instead of masks/, such as scribbles.
        unannotated: What images of a COCO file without any annotation are: not labeled yet, or known to hold none.
        val: Share of the groups that validate, where split.csv does not say.
        seed: Of the split that is drawn where there is no split.csv.
        full: Decode every file.
        screen: Hears of the progress; bars where somebody looks by default, smidgen.Silent() for none.

    Returns:
        What was found.

    Raises:
        DataError: There is no such folder, or no image in it.
    """
    opened = open_data(data, label_folder, val, seed, unannotated)
    with watching(screen).step("look", len(opened.samples), 0, "volumes" if opened.dims == 3 else "images") as bar:
        summary = summarize(opened, full, progress=lambda done, of: bar.advance())
    usable = opened.using(use)
    try:
        chosen, reason = choose(usable, use), ""
    except DataError as error:
        chosen, reason = None, str(error)
    name = preset or default_preset()
    stages, minutes = plan(chosen, usable, name) if chosen else ((), None)
    said = {"use": use, "preset": preset, "label_folder": label_folder, "unannotated": unannotated, "val": val, "seed": seed}
    command = spoken(train, ["DATA" if isinstance(data, Dataset) else data], said)
    return Inspected(
        summary, chosen, stages, minutes, tuple(_lines(summary, chosen, reason, stages, minutes, name)), command, _tagged(opened, summary)
    )


def _tagged(data: Dataset, summary: Summary) -> dict[str, tuple[int, ...]]:
    values = range(len(data.classes))
    tags = {split: [sample.tags or () for sample in getattr(data, split).values()] for split in summary.splits}
    return {split: tuple(sum(value in one for one in known) for value in values) for split, known in tags.items()}


def plan(chosen: Chosen, data: Dataset, preset_name: str) -> tuple[tuple[str, ...], float | None]:
    """Stages of a recipe, and about how many minutes they take on this machine; None where the preset does not know all of them."""
    kind = kind_of(data)
    resolved = resolve(chosen.recipe, preset_name, {}, kind)
    planned = Plan()
    recipe = getattr(importlib.import_module(f"smidgen.recipes.{chosen.recipe}"), chosen.recipe)
    planned.stage("predict", resolved.choice.predict, data, segmenter=recipe(planned, data, resolved.choice))
    images = len(data.train) if kind != "pictures" else max(len(data.labeled if chosen.recipe == "masks" else data.tagged), 1)
    costs = [_seconds(row.name, images, resolved, settings.preset(preset_name), kind) for row in planned.stages]
    known = [one for one in costs if one is not None]
    minutes = sum(known) / 60 * REFERENCE_CORES / max(cores(), 1) if len(known) == len(costs) else None
    return tuple(f"{row.stage} {row.name}" for row in planned.stages), minutes


def _seconds(name: str, images: int, resolved: Resolved, values: Mapping[str, Any], kind: Kind) -> float | None:
    """What a method takes on two cores; None where the preset does not say."""
    said = values if kind == "pictures" else values.get(kind) or {}
    step, image = said.get(STEP_COSTS, {}).get(name), said.get(COSTS, {}).get(name)
    if step is not None and not getattr(resolved.methods[name], "epochs", 0):
        return step * getattr(resolved.methods[name], "steps", 0)
    return None if image is None else image * images


def _lines(
    summary: Summary, chosen: Chosen | None, reason: str, stages: tuple[str, ...], minutes: float | None, preset_name: str
) -> Iterator[str]:
    modes = ", ".join(f"{count} {mode}" for mode, count in (summary.volumes.formats if summary.volumes else summary.modes).items() if mode)
    things, axes = ("volumes", "z × y × x") if summary.dims == 3 else ("images", "height × width")
    yield f"{summary.name}: {summary.images} {things}, {len(summary.problems)} problems"
    sizes = " … ".join(" × ".join(map(str, size)) for size in dict.fromkeys((summary.smallest, summary.median, summary.largest)))
    yield f"sizes     {sizes} ({axes}: smallest, median, largest)" + (f"; {modes}" if modes else "")
    for what, how in summary.volumes.lines if summary.volumes else ():
        yield f"{what:9} {how}"
    for split, one in summary.splits.items():
        kinds = {"tags": one.tags, "full masks": one.masks, "sparse masks": one.sparse, "instances": one.instances, "nothing": one.nothing}
        parts = [f"{count} {kind}" for kind, count in kinds.items() if count]
        known = f" ({one.empty} known to hold none)" if one.empty else ""
        yield f"{split:9} {one.images} {things}: {', '.join(parts)}{known}; {one.groups} groups"
    if summary.split_drawn:
        yield "split     drawn by group with the seed, since there is no split.csv"
    if summary.masks:
        share = 100 * (summary.labeled_share or 0)
        yield f"masks     {summary.masks_seen} of {summary.masks} looked at; median labeled share {share:.0f} %"
    for text in (*summary.notes, *summary.remarks, *(chosen.notes if chosen else ())):
        yield f"note      {text}"
    if chosen is None:
        yield f"recipe    none: {reason}"
        return
    yield f"recipe    {chosen.recipe}: {chosen.why}"
    yield f"          {' → '.join(stages)} (preset {preset_name})"
    if minutes is not None:
        yield f"time      about {max(1, round(minutes))} min on this machine ({cores()} cores)"
    else:
        yield "time      not known beforehand for these stages; `train --minutes N` fits them into N minutes"
