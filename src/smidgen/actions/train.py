"""`smidgen train`: choose the recipe from the labels, run it, score it, report it."""

from __future__ import annotations

import csv
import importlib
import io
import json
import logging
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from smidgen.actions.choose import Chosen, Use, choose
from smidgen.actions.opening import checked, open_data
from smidgen.actions.results import TrainedRun
from smidgen.core.codec import write_atomically
from smidgen.core.conventions import INTERRUPTED
from smidgen.core.errors import SettingsError, SmidgenError
from smidgen.core.machine import cores, default_preset, versions
from smidgen.core.plan import Plan
from smidgen.core.registry import STAGES, nearest
from smidgen.core.screen import Logged, Screen, Silent
from smidgen.core.settings import Machine, overlay, validated
from smidgen.core.settings import preset as preset_of
from smidgen.data.dataset import Dataset
from smidgen.parts.networks.settings import Encoder
from smidgen.recipes.choice import Resolved, resolve

if TYPE_CHECKING:
    from smidgen.core.run import Run

LOG = logging.getLogger("smidgen")


@dataclass(frozen=True)
class Job:
    """A training that is resolved and checked, before anything learns.

    Args:
        folder: RUN.
        full: The data with all its labels, for scoring only.
        data: The data cut to the supervision that is used.
        chosen: Recipe and reason.
        resolved: Its settings.
        words: The arguments of `train`, to say it again.
    """

    folder: Path
    full: Dataset
    data: Dataset
    chosen: Chosen
    resolved: Resolved
    words: Mapping[str, Any]

    def recipe(self, run: Any) -> Any:
        """Run the recipe on a Run or a Plan."""
        name = self.resolved.recipe
        return getattr(importlib.import_module(f"smidgen.recipes.{name}"), name)(run, self.data, self.resolved.choice)


def train(
    data: str | Path | Dataset,
    *,
    out: str | Path | None = None,
    use: Use | None = None,
    recipe: str | None = None,
    classify: str | None = None,
    localize: str | None = None,
    refine: str | None = None,
    label: str | None = None,
    segment: str | None = None,
    head: str | None = None,
    loss: str | None = None,
    preset: str | None = None,
    until: str | None = None,
    labeled: str | None = None,
    label_folder: str | None = None,
    val: float = 0.2,
    seed: int = 0,
    skip_broken: bool = False,
    settings: Mapping[str, Any] | None = None,
    screen: Screen | None = None,
) -> TrainedRun:
    """Train the best model that the labels allow, score it and write a report.

    The same call goes on where an earlier one stopped; what is finished is not done again.

    Args:
        data: Folder with images and whatever labels there are; in Python also a Dataset.
        out: Run folder; runs/<name of data> by default.
        use: Which supervision to use; all there is by default. With tags, no mask is read for any choice.
        recipe: Recipe to run; chosen from the labels by default.
        classify: Method that learns image tags.
        localize: Method that finds where a tag is.
        refine: Methods that improve heatmaps, joined with +; none = leave them as they are.
        label: Method that turns heatmaps into labels.
        segment: Method that trains the segmentation network.
        head: Head of the segmentation network.
        loss: Loss of the segmentation network; weighted sums such as 0.5*dice+ce.
        preset: small (two cores), base or large (GPU), demo, or paper (no overlay).
        until: Stop after this stage.
        labeled: How many training images keep their masks: a number, or a share such as 10%; drawn by group with the seed.
        label_folder: Folder of labels to read instead of masks/, such as scribbles.
        val: Share of the groups that validate, where split.csv does not say; 0 = none.
        seed: All randomness derives from it.
        skip_broken: Leave out images with a problem instead of stopping.
        settings: Settings by method, as the words NAME.x would say them: {"advcam": {"steps": 8}, "machine": {"devices": 2}}.
        screen: Hears of the progress; silent by default.

    Returns:
        The run with its segmenter, scores and report.

    Raises:
        DataError: The data can't be read, or has problems (all listed).
        SettingsError: A word is not known or does not fit the recipe.
        LockedError: Another command works on this run folder.
        TrainingError: Training can't go on.
    """
    words = {name: value for name, value in locals().items() if name not in ("settings", "screen", "data", "out")}
    words["preset"] = preset or default_preset()
    if not isinstance(data, Dataset) and not Path(data).exists():
        open_data(data)  # says so, before a run folder is made
    if recipe is not None:
        resolve(recipe, words["preset"], dict(settings or {}) | places_said(words))  # as above: wrong words leave nothing behind
    name = data.name if isinstance(data, Dataset) else Path(data).resolve().name
    folder = Path(out) if out is not None else Path("runs") / name
    said = dict(settings or {})
    devices = validated(Machine, said.get("machine", {}), "machine").devices
    if isinstance(data, Dataset) and devices > 1:
        raise SettingsError("machine.devices: arrays in memory train in one process: write them to a folder to use several")
    from smidgen.core.processes import locked, must_supervise, place

    folder.mkdir(parents=True, exist_ok=True)
    again = {
        "data": None if isinstance(data, Dataset) else str(Path(data).resolve()),
        "out": str(folder.resolve()),
        **words,
        "settings": said,
    }
    watching = Logged(screen or Silent(), LOG)
    here = place()
    with _LoggingTo(folder / "log.txt") if here is None or here.rank == 0 else nullcontext():
        if must_supervise(devices):
            return _supervised(folder, again, said)
        with locked(folder):
            try:
                watching.say(_machine(again))
                _work(prepared(data, folder, again, watching), watching)
            except SmidgenError as error:
                LOG.error("%s", error)
                raise
    return TrainedRun(folder)


def prepared(data: str | Path | Dataset, folder: Path, words: Mapping[str, Any], screen: Screen) -> Job:
    """Open and check the data, choose and resolve the recipe, and try it on paper.

    Args:
        data: As `train` got it.
        folder: RUN.
        words: Arguments of `train`.
        screen: Hears what was found.
    """
    full = open_data(data, words["label_folder"], words["val"], words["seed"])
    full = checked(full, folder / "checked.json", words["skip_broken"], screen)
    data = full.using(words["use"])
    if words["labeled"] is not None:
        data = data.keeping(words["labeled"], words["seed"])
    chosen = choose(data, words["use"]) if words["recipe"] is None else Chosen(words["recipe"], "as you said")
    resolved = resolve(chosen.recipe, words["preset"], dict(words["settings"]) | places_said(words))
    job = Job(folder, full, data, chosen, resolved, words)
    plan = planned(job)
    if words["until"] is not None and words["until"] not in [row.stage for row in plan.stages]:
        stages = [row.stage for row in plan.stages]
        raise SettingsError(f"--until {words['until']}: {nearest(words['until'], stages if words['until'] in STAGES else STAGES)}")
    last = _stages_until(job)
    screen.plan(len(plan.stages) + bool(full.val) if last in (None, len(plan.stages)) else last)
    screen.say(f"recipe    {chosen.recipe}: {chosen.why}")
    for note in (*full.notes, *chosen.notes):
        screen.say(f"note      {note}")
    return job


def planned(job: Job) -> Plan:
    """The recipe's stages, with needs checked."""
    plan = Plan()
    segmenter = job.recipe(plan)
    plan.stage("predict", job.resolved.choice.predict, job.full, segmenter=segmenter)
    return plan


def _stages_until(job: Job) -> int | None:
    """How many stages `--until` lets run; None: all. Of a chain of refiners, all run."""
    stages = [row.stage for row in planned(job).stages]
    until = job.words["until"]
    return None if until is None else len(stages) - stages[::-1].index(until)


def places_said(words: Mapping[str, Any]) -> dict[str, Any]:
    """The places of a recipe, and the seed, that were named."""
    named = ("classify", "localize", "refine", "label", "segment", "head", "loss", "seed")
    return {name: words[name] for name in named if words[name] is not None}


def _supervised(folder: Path, words: Mapping[str, Any], said: Mapping[str, Any]) -> TrainedRun:
    from smidgen.core.processes import locked, supervise

    devices = said["machine"]["devices"]
    path = folder / "again.yaml"
    write_atomically(path, lambda part: part.write_text(yaml.safe_dump(dict(words)), encoding="utf-8"))
    with locked(folder):
        code = supervise(devices, folder, ["-m", "smidgen", "again", str(folder)])
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code:
        raise SmidgenError(f"{folder}: one of {devices} processes ended with exit code {code}; see log.txt there; the same command goes on")
    return TrainedRun(folder)


def _work(job: Job, screen: Screen) -> None:
    from smidgen.actions.finishing import finish
    from smidgen.core.processes import join, leave
    from smidgen.core.run import Reached, Run
    from smidgen.core.stopping import polite
    from smidgen.recipes.supplies import supplies

    fabric = join(job.resolved.machine)
    supplied = supplies(job.resolved, job.data)
    if (encoder := supplied["encoder"]).in_channels != 3:
        screen.say(f"note      {encoder.origin}")
    run = Run(
        job.folder,
        fabric,
        job.resolved.methods,
        supplied,
        seed=job.resolved.seed,
        workers=job.resolved.machine.workers,
        screen=screen,
        until=_stages_until(job),
    )
    _write_down(job, run)
    with polite():
        try:
            segmenter = job.recipe(run)
        except Reached:
            segmenter = None
        finish(job, run, segmenter)
    leave(fabric)


def _machine(words: Mapping[str, Any]) -> str:
    """The first line: what the work runs on and which weights it starts from, known before the data are looked at.

    Raises:
        SettingsError: An unknown preset, or an impossible setting of machine or encoder.
        UsageError: No such device.
        WeightsError: The weights are not where the settings say.
    """
    from smidgen.core.processes import device
    from smidgen.parts.networks.weights import resolve as weights

    values = overlay(preset_of(words["preset"]), words["settings"])
    kind = device(validated(Machine, values.get("machine", {}), "machine"))
    encoder = validated(Encoder, values.get("encoder", {}), "encoder")
    where = f"{cores()} CPU cores" if kind == "cpu" else f"GPU ({kind})"
    return f"machine   {where}, preset {words['preset']}, {weights(encoder).origin}"


def _write_down(job: Job, run: Run) -> None:
    if run.fabric.global_rank:
        return
    import torch

    facts = {
        "versions": versions(),
        "data": job.data.key,
        "seed": run.seed,
        "threads": torch.get_num_threads(),
        "processes": run.fabric.world_size,
        "command": dict(job.words),
    }
    split = io.StringIO(newline="")
    csv.writer(split, lineterminator="\n").writerows(
        [("filename", "split"), *((id, one.split) for id, one in sorted(job.full.samples.items()))]
    )
    texts = {
        "run.yaml": job.resolved.to_yaml(),
        "run.json": json.dumps(facts, indent=1, default=str),
        "split.csv": split.getvalue(),
        "again.yaml": yaml.safe_dump(json.loads(json.dumps(dict(job.words), default=str))),
    }
    for name, text in texts.items():
        write_atomically(job.folder / name, lambda part, text=text: part.write_text(text, encoding="utf-8"))


class _LoggingTo:
    """Lines of smidgen's loggers go to a file while this is entered."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> None:
        self.handler = logging.FileHandler(self.path, encoding="utf-8")
        self.handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        LOG.addHandler(self.handler)
        LOG.setLevel(logging.INFO)

    def __exit__(self, *error: object) -> None:
        LOG.removeHandler(self.handler)
        self.handler.close()
