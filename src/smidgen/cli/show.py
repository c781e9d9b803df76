"""How what an action gives back looks on a screen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from smidgen.actions import figures

if TYPE_CHECKING:
    from smidgen.actions.compare import Compared
    from smidgen.actions.convert import Converted
    from smidgen.actions.evaluate import Evaluated
    from smidgen.actions.export import Exported
    from smidgen.actions.inspect import Inspected
    from smidgen.actions.methods import Listed
    from smidgen.actions.predict import Predicted
    from smidgen.actions.results import TrainedRun

WORST = 8
"""Images listed by name."""


def _trained(result: TrainedRun, console: Console) -> None:
    scores = result.scores.get("val")
    if scores:
        mean = f"val mIoU {100 * scores['miou']:.1f}, the mean over {scores['miou_is_mean_of']}"
        for i, line in enumerate((*figures.volumes(scores), mean)):
            console.print(f"{'' if i else 'result':10}{'' if i else 'val ' if line != mean else ''}{line}", markup=False)
        console.print(f"          (everything is {scores['commonest_class']}: {100 * scores['commonest_class_miou']:.1f})", markup=False)
        for line in figures.further(scores):
            console.print(f"          {line}", markup=False)
    if asked := figures.label_next(result.scores):
        console.print("label     the model is least sure of these; start with them:", markup=False)
        console.print(f"          {', '.join(asked)}", markup=False, soft_wrap=True)
    console.print(f"report    {result.report}", markup=False, soft_wrap=True)
    if (result.folder / "model").is_dir():
        console.print(
            f"model     {result.folder / 'model'}   try: smidgen predict {result.folder} IMAGES --out MASKS --overlay",
            markup=False,
            soft_wrap=True,
        )


def _evaluated(result: Evaluated, console: Console) -> None:
    facts = result.facts
    for line in figures.volumes(facts):
        console.print(line, markup=False, soft_wrap=True)
    number = f"{facts['images']} {'volume' if facts['volumes'] else 'image'}{'s' if facts['images'] != 1 else ''}"
    console.print(f"mIoU {100 * facts['miou']:.2f}, the mean over {facts['miou_is_mean_of']}; {number}", markup=False)
    console.print(f"pixel accuracy {100 * facts['pixel_accuracy']:.2f}", markup=False)
    for line in figures.further(facts):
        console.print(line, markup=False)
    console.print(_class_table(facts))
    if facts["absent"]:
        console.print(f"in neither truth nor prediction, so in no mean: {', '.join(facts['absent'])}", markup=False)
    for line in figures.not_scored(facts):
        console.print(f"left out  {line}", markup=False, soft_wrap=True)
    if facts["predicts_one_class_only"]:
        console.print(f"the prediction is {facts['predicts_one_class_only']} everywhere", markup=False)
    if not facts["volumes"]:
        _worst(facts, console)
    if result.path:
        console.print(f"figures   {result.path}", markup=False, soft_wrap=True)
        console.print(f"report    {result.path.with_suffix('.html')}", markup=False, soft_wrap=True)


def _worst(facts: Mapping[str, Any], console: Console) -> None:
    worst = list(facts["per_image_miou"].items())[:WORST]
    console.print("worst     " + ", ".join(f"{id} {100 * value:.0f}" for id, value in worst), markup=False, soft_wrap=True)


def _class_table(facts: Mapping[str, Any]) -> Table:
    columns, rows = figures.class_table(facts)
    table = Table(*columns, box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*row)
    return table


def _predicted(result: Predicted, console: Console) -> None:
    console.print(f"masks     {len(result.masks)} in {result.folder}", markup=False, soft_wrap=True)
    for image, reason in result.left_out.items():
        console.print(f"left out  {image}: {reason}", markup=False, soft_wrap=True)
    if not result.confidence:
        return
    console.print("unsure    look at these first, or label them:", markup=False)
    for image in result.least_certain:
        console.print(f"          {result.confidence[image]:.2f}  {image}", markup=False, soft_wrap=True)


def _exported(result: Exported, console: Console) -> None:
    console.print(f"takes     {result.takes}", markup=False, soft_wrap=True)
    worst = max(result.differences.values())
    tried = ", ".join(result.differences)
    console.print(f"checked   probabilities differ by {worst:.1g} at most (images of {tried})", markup=False, soft_wrap=True)
    console.print(f"model     {result.path}   try: smidgen predict {result.path} IMAGES --out MASKS", markup=False, soft_wrap=True)


def _listed(result: tuple[Listed, ...], console: Console) -> None:
    rows = result
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
    table = Table("setting", "paper", Path(row.preset).stem, "meaning", box=None, pad_edge=False)
    for setting in row.settings:
        usual = f"[bold]{setting.preset}[/bold]" if setting.preset != setting.default else "="
        table.add_row(f"--{row.name}.{setting.name.replace('_', '-')}", str(setting.default), usual, setting.help)
    console.print(table)
    for kind, settings in row.unlike.items():
        told = ", ".join(f"{name.replace('_', '-')} {value}" for name, value in settings.items())
        console.print(f"for {kind}, {Path(row.preset).stem} has: {told}", markup=False, soft_wrap=True)


def _inspected(result: Inspected, console: Console) -> None:
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


def _converted(result: Converted, console: Console) -> None:
    for text in result.lost:
        console.print(f"mind      {text}", markup=False, soft_wrap=True)
    console.print(f"{result.form:9} {result.images} images in {result.folder}", markup=False, soft_wrap=True)


def _compared(result: Compared, console: Console) -> None:
    heading, rows = figures.arm_table(result.metric, result.figures["arms"])
    table = Table(*heading, box=None, pad_edge=False)
    table.columns[0].overflow = "fold"  # variants have long names that differ at the end
    for column in (2, 3, 5, 6):
        table.columns[column].justify = "right"
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print(f"report    {result.report}", markup=False, soft_wrap=True)


SHOWN: Mapping[str, Callable[[Any, Console], None]] = {
    "TrainedRun": _trained,
    "Evaluated": _evaluated,
    "Predicted": _predicted,
    "tuple": _listed,
    "Inspected": _inspected,
    "Compared": _compared,
    "Converted": _converted,
    "Exported": _exported,
}
"""By name of the class: to know the classes themselves costs half a second of imports, which `smidgen methods` has no need of."""


def show(result: Any, console: Console) -> None:
    """Print what an action gives back."""
    shown = SHOWN.get(type(result).__name__)
    if shown is None:
        console.print(result)
    else:
        shown(result, console)
