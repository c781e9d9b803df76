"""How what an action gives back looks on a screen."""

from __future__ import annotations

from collections.abc import Mapping
from functools import singledispatch
from typing import Any

from rich.console import Console
from rich.table import Table

from smidgen.actions.evaluate import Evaluated
from smidgen.actions.inspect import Inspected
from smidgen.actions.methods import Listed
from smidgen.actions.predict import Predicted
from smidgen.actions.results import TrainedRun

WORST = 8
"""Images listed by name."""


@singledispatch
def show(result: Any, console: Console) -> None:
    """Print a result."""
    console.print(result)


@show.register
def _(result: TrainedRun, console: Console) -> None:
    scores = result.scores.get("val")
    if scores:
        console.print(f"result    val mIoU {100 * scores['miou']:.1f}, the mean over {scores['miou_is_mean_of']}", markup=False)
        console.print(f"          (everything is {scores['commonest_class']}: {100 * scores['commonest_class_miou']:.1f})", markup=False)
    console.print(f"report    {result.report}", markup=False, soft_wrap=True)
    if (result.folder / "model").is_dir():
        console.print(
            f"model     {result.folder / 'model'}   try: smidgen predict {result.folder} IMAGES --out MASKS --overlay",
            markup=False,
            soft_wrap=True,
        )


@show.register
def _(result: Evaluated, console: Console) -> None:
    facts = result.facts
    console.print(f"mIoU {100 * facts['miou']:.2f}, the mean over {facts['miou_is_mean_of']}; {facts['images']} images", markup=False)
    console.print(f"pixel accuracy {100 * facts['pixel_accuracy']:.2f}", markup=False)
    console.print(_class_table(facts))
    if facts["absent"]:
        console.print(f"in neither truth nor prediction, so in no mean: {', '.join(facts['absent'])}", markup=False)
    if facts["predicts_one_class_only"]:
        console.print(f"the prediction is {facts['predicts_one_class_only']} everywhere", markup=False)
    worst = list(facts["per_image_miou"].items())[:WORST]
    console.print("worst     " + ", ".join(f"{id} {100 * value:.0f}" for id, value in worst), markup=False, soft_wrap=True)
    if result.path:
        console.print(f"figures   {result.path}", markup=False, soft_wrap=True)
        console.print(f"report    {result.path.with_suffix('.html')}", markup=False, soft_wrap=True)


def _class_table(facts: Mapping[str, Any]) -> Table:
    table = Table("class", "IoU", "Dice", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, value in facts["iou"].items():
        table.add_row(name, *("n/a" if one is None else f"{100 * one:.1f}" for one in (value, facts["dice"][name])))
    return table


@show.register
def _(result: Predicted, console: Console) -> None:
    console.print(f"masks     {len(result.masks)} in {result.folder}", markup=False, soft_wrap=True)
    for image, reason in result.left_out.items():
        console.print(f"left out  {image}: {reason}", markup=False, soft_wrap=True)
    if not result.confidence:
        return
    unsure = sorted(result.confidence.items(), key=lambda item: item[1])[:WORST]
    console.print("unsure    look at these first, or label them:", markup=False)
    for image, confidence in unsure:
        console.print(f"          {confidence:.2f}  {image}", markup=False, soft_wrap=True)


@show.register
def _(result: tuple, console: Console) -> None:
    rows: tuple[Listed, ...] = result
    if len(rows) == 1 and rows[0].settings:
        _show_settings(rows[0], console)
        return
    table = Table("stage", "name", "what it is", box=None, pad_edge=False)
    for row in rows:
        table.add_row(row.stage, f"[bold]{row.name}[/bold]", row.line)
    console.print(table)
    console.print("smidgen methods NAME shows its settings", markup=False)


def _show_settings(row: Listed, console: Console) -> None:
    console.print(f"{row.stage} {row.name}: {row.line}", markup=False)
    table = Table("setting", "default", "meaning", box=None, pad_edge=False)
    for setting in row.settings:
        table.add_row(f"--{row.name}.{setting.name.replace('_', '-')}", str(setting.default), setting.help)
    console.print(table)


@show.register
def _(result: Inspected, console: Console) -> None:
    for line in result.lines:
        console.print(line, markup=False, soft_wrap=True)
    if result.classes:
        heading, *rows = result.classes
        table = Table(*heading, box=None, pad_edge=False)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for problem in result.problems:
        console.print(f"fix       {problem}", markup=False, soft_wrap=True)
    if result.next:
        console.print(f"next      {result.next}", markup=False, soft_wrap=True)
