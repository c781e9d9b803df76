"""`smidgen train`: choose the recipe from the labels, run it, score it, report it."""

from __future__ import annotations

import csv
import importlib
import io
import json
import logging
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from smidgen.actions import calibrating
from smidgen.actions.choose import Chosen, Dims, Use, choose, view
from smidgen.actions.minutes import PLANS, kept_plans, to_yaml, within_budget
from smidgen.actions.opening import checked, open_data
from smidgen.actions.results import TrainedRun
from smidgen.actions.warming import used, warm_start
from smidgen.core.codec import remove_leftovers_of_run, write_atomically
from smidgen.core.conventions import INTERRUPTED
from smidgen.core.errors import SettingsError, SmidgenError, UsageError
from smidgen.core.machine import cores, default_preset, versions
from smidgen.core.plan import Plan
from smidgen.core.registry import STAGES, nearest
from smidgen.core.screen import Logged, Screen, Silent, watching, written_to
from smidgen.core.settings import Machine, is_file, overlay, validated
from smidgen.core.settings import preset as preset_of
from smidgen.data.checks import Facts, content_remarks
from smidgen.data.dataset import Dataset
from smidgen.data.formats import Unannotated
from smidgen.data.volume_folder import volume_folder
from smidgen.parts.networks.settings import Encoder
from smidgen.recipes.choice import SUPPLIED, Resolved, of_kind, resolve, without_effect

if TYPE_CHECKING:
    from smidgen.core.run import Run
    from smidgen.products.warm import WarmStart

LOG = logging.getLogger("smidgen")
STOPPED = "stopped; the same command goes on where it stopped"
"""What is said after Ctrl-C."""


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
        plans: What `run.yaml` is to say of time budgets, by what they are for.
        warm: Networks to start from.
    """

    folder: Path
    full: Dataset
    data: Dataset
    chosen: Chosen
    resolved: Resolved
    words: Mapping[str, Any]
    plans: Mapping[str, Any] = field(default_factory=dict)
    warm: WarmStart | None = None

    @property
    def supplied(self) -> tuple[str, ...]:
        """Needs that do not come from a stage."""
        return (*SUPPLIED, *(("warm_from",) if self.warm is not None else ()))

    def recipe(self, run: Any, data: Dataset | None = None) -> Any:
        """Run the recipe on a Run or a Plan, with all its data or some of them."""
        name = self.resolved.recipe
        made = getattr(importlib.import_module(f"smidgen.recipes.{name}"), name)
        return made(run, self.data if data is None else data, self.resolved.choice)


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
    semi: str | None = None,
    head: str | None = None,
    loss: str | None = None,
    preset: str | None = None,
    until: str | None = None,
    minutes: float | None = None,
    warm_from: str | Path | None = None,
    calibrate: int = 0,
    devices: int | None = None,
    labeled: str | None = None,
    label_folder: str | None = None,
    dims: Dims | None = None,
    unannotated: Unannotated = "unlabeled",
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
        semi: Method that trains it from labeled and unlabeled images.
        head: Head of the segmentation network.
        loss: Loss of the segmentation network; weighted sums such as 0.5*dice+ce.
        preset: small (two cores), base or large (GPU), demo, paper (no overlay), or a YAML file of your own.
        until: Stop after this stage.
        minutes: Shorten what is learned so that all of it takes so long on this machine; what you set yourself stays.
        warm_from: Run whose networks to start from, when there are more labels or classes than it had.
        calibrate: Train so many times more, each without a share of the masks, and choose class biases by these (predict --calibrated).
        devices: Processes on this machine, one a GPU or a share of the cores; the same as machine.devices.
        labeled: How many training images keep their masks: 10, 5%, or 3groups (patients, say); drawn by group with the seed.
        label_folder: Folder of labels to read instead of masks/, such as scribbles.
        dims: Volumes as they are (3), or slice by slice (2); by default 2 where slices lie 4 times as far apart as pixels.
        unannotated: What images of a COCO file without any annotation are: not labeled yet, or known to hold none.
        val: Share of the groups that validate, where split.csv does not say; 0 = none.
        seed: All randomness derives from it.
        skip_broken: Leave out images with a problem instead of stopping.
        settings: Settings by method, as the words NAME.x would say them: {"advcam": {"steps": 8}, "machine": {"devices": 2}}.
        screen: Hears of the progress; bars where somebody looks by default, smidgen.Silent() for none.

    Returns:
        The run with its segmenter, scores and report.

    Raises:
        DataError: The data can't be read, or has problems (all listed).
        SettingsError: A word is not known or does not fit the recipe.
        LockedError: Another command works on this run folder.
        TrainingError: Training can't go on.
    """
    words = {name: value for name, value in locals().items() if name not in ("settings", "screen", "data", "out", "devices")}
    started = time.monotonic()
    words["preset"] = preset_said(preset)
    words["warm_from"] = None if warm_from is None else str(Path(warm_from).resolve())
    name = data.name if isinstance(data, Dataset) else Path(data).resolve().name
    folder = Path(out) if out is not None else Path("runs") / name
    said = overlay(settings or {}, {} if devices is None else {"machine": {"devices": devices}})
    devices = _checked_words(data, words, said)
    from smidgen.core.processes import locked, must_supervise, place

    folder.mkdir(parents=True, exist_ok=True)
    where = None if isinstance(data, Dataset) else str(Path(data).resolve())
    again = {"data": where, "out": str(folder.resolve()), **words, "settings": said}
    here = place()
    watched = Logged(watching(screen) if here is None or here.rank == 0 else Silent(), LOG)
    with written_to(folder / "log.txt", LOG) if here is None or here.rank == 0 else nullcontext():
        if must_supervise(devices):
            return _supervised(folder, again, said)
        with locked(folder):
            try:
                watched.say(_machine(again))
                _work(prepared(data, folder, again, watched), watched, started)
            except SmidgenError as error:
                LOG.error("%s", error)
                raise
    return TrainedRun(folder)


def _checked_words(data: str | Path | Dataset, words: Mapping[str, Any], said: Mapping[str, Any]) -> int:
    """What can be refused before a run folder is made, so that wrong words leave nothing behind; the number of processes.

    Raises:
        DataError: There is no such folder.
        SettingsError: A word is not known, does not fit the recipe, or is impossible.
    """
    if not isinstance(data, Dataset) and not Path(data).exists():
        open_data(data)
    if words["recipe"] is not None:
        resolve(words["recipe"], words["preset"], dict(said) | places_said(words))
    if words["minutes"] is not None and words["minutes"] <= 0:
        raise SettingsError(f"--minutes {words['minutes']:g}: expected a time above 0")
    devices = validated(Machine, said.get("machine", {}), "machine").devices
    if isinstance(data, Dataset) and devices > 1:
        raise SettingsError("machine.devices: arrays in memory train in one process: write them to a folder to use several")
    return devices


def prepared(data: str | Path | Dataset, folder: Path, words: Mapping[str, Any], screen: Screen) -> Job:
    """Open and check the data, choose and resolve the recipe, and try it on paper.

    Args:
        data: As `train` got it.
        folder: RUN.
        words: Arguments of `train`.
        screen: Hears what was found.
    """
    full = open_data(data, words["label_folder"], words["val"], words["seed"], words["unannotated"])
    return prepared_of(*checked(full, folder / "checked.json", words["skip_broken"], screen), folder, words, screen)


def prepared_of(full: Dataset, facts: Facts, folder: Path, words: Mapping[str, Any], screen: Screen) -> Job:
    """The same for data that are checked.

    Args:
        full: The data.
        facts: What the check told.
        folder: As in `prepared`, like all that follow.
        words: Arguments of `train`.
        screen: Hears what was found.
    """
    data = full.using(words["use"])
    if words["labeled"] is not None:
        data = data.keeping(words["labeled"], words["seed"])
    chosen = choose(data, words["use"]) if words["recipe"] is None else Chosen(words["recipe"], "as you said")
    data, kind = view(data, words["dims"])
    resolved = resolve(chosen.recipe, words["preset"], dict(words["settings"]) | places_said(words), kind)
    warm = _warm(words["warm_from"], folder)
    job = Job(folder, full, data, chosen, resolved, words, warm=warm)
    calibrating.check(job)
    plan = planned(job)
    if words["until"] is not None and words["until"] not in [row.stage for row in plan.stages]:
        stages = [row.stage for row in plan.stages]
        raise SettingsError(f"--until {words['until']}: {nearest(words['until'], stages if words['until'] in STAGES else STAGES)}")
    last = _stages_until(job)
    screen.plan(calibrating.stages(job, len(plan.stages)) if last in (None, len(plan.stages)) else last)
    screen.say(f"recipe    {chosen.recipe}: {chosen.why}")
    for note in (*full.notes, *chosen.notes, *content_remarks(data, facts), *without_effect(words["settings"], resolved)):
        screen.say(f"note      {note}")
    if warm is not None:
        screen.say(f"warm      {', '.join(warm.networks)} of {words['warm_from']} to start from")
    return job


def planned(job: Job) -> Plan:
    """The recipe's stages, with needs checked."""
    plan = Plan(job.supplied)
    segmenter = job.recipe(plan)
    plan.stage("predict", job.resolved.choice.predict, job.full, segmenter=segmenter)
    return used(plan, job.warm)


def _warm(run: str | None, folder: Path) -> WarmStart | None:
    """Networks of an earlier run.

    Raises:
        UsageError: It has none, or it is the run that would be trained: then each end would be another start.
    """
    if run is None:
        return None
    if Path(run).resolve() in (folder.resolve(), (folder / "model").resolve()):
        raise UsageError(f"--warm-from {run}: that is the run to be trained: choose another --out")
    return warm_start(Path(run))


def preset_said(preset: str | None) -> str:
    """The preset that is meant: the machine's usual one where nobody says; a file by its whole path, for `again`."""
    name = preset or default_preset()
    return str(Path(name).resolve()) if is_file(name) else name


def _stages_until(job: Job) -> int | None:
    """How many stages `--until` lets run; None: all. Of a chain of refiners, all run."""
    stages = [row.stage for row in planned(job).stages]
    until = job.words["until"]
    return None if until is None else len(stages) - stages[::-1].index(until)


def places_said(words: Mapping[str, Any]) -> dict[str, Any]:
    """The places of a recipe, and the seed, that were named."""
    named = ("classify", "localize", "refine", "label", "segment", "semi", "head", "loss", "seed")
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


def _work(job: Job, screen: Screen, started: float) -> None:
    from smidgen.actions.finishing import finish
    from smidgen.core.processes import join, leave
    from smidgen.core.run import Reached, Run
    from smidgen.core.stopping import polite
    from smidgen.parts.networks.weights import resolve as weights
    from smidgen.recipes.supplies import supplies

    fabric, until = join(job.resolved.machine), _stages_until(job)
    supplied = supplies(job.resolved, job.data)
    if (origin := supplied["encoder"].origin) != weights(job.resolved.encoder).origin:  # which was told already; channels were adapted
        screen.say(f"note      {origin}")
    if job.warm is not None:
        supplied["warm_from"] = job.warm
    with polite():
        budget = within_budget(job, fabric, supplied, until, screen, started)
        job, machine = budget.job, job.resolved.machine
        run = Run(
            job.folder,
            fabric,
            job.resolved.methods,
            supplied,
            seed=job.resolved.seed,
            workers=machine.workers,
            start_method=machine.start_method,
            screen=screen,
            until=until,
        )
        run.checkpoint_seconds = machine.checkpoint_seconds
        _write_down(job, run)
        try:
            segmenter = job.recipe(budget.of(run, lambda: _write_down(budget.job, run)))
        except Reached:
            segmenter = None
        finish(budget.job, run, segmenter)
        _write_down(budget.job, run)
        if fabric.global_rank == 0:
            remove_leftovers_of_run(job.folder)
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

    kind = "slices" if words["data"] is not None and volume_folder(Path(words["data"])) is not None else "pictures"
    values = overlay(of_kind(preset_of(words["preset"]), kind), words["settings"])
    used = device(validated(Machine, values.get("machine", {}), "machine"))
    encoder = validated(Encoder, values.get("encoder", {}), "encoder")
    where = f"{cores()} CPU cores" if used == "cpu" else f"GPU ({used})"
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
        "classes": job.data.classes.names,
        "background": job.data.classes.background,
    }
    known = {"keys": [one.folder.name for one in run.finished]} if run.finished else {}
    known |= {PLANS: plans} if (plans := kept_plans(job.folder) | dict(job.plans)) else {}
    split = io.StringIO(newline="")
    csv.writer(split, lineterminator="\n").writerows(
        [("filename", "split"), *((id, one.split) for id, one in sorted(job.full.samples.items()))]
    )
    texts = {
        "run.yaml": to_yaml(job.resolved, known),
        "run.json": json.dumps(facts, indent=1, default=str),
        "split.csv": split.getvalue(),
        "again.yaml": yaml.safe_dump(json.loads(json.dumps(dict(job.words), default=str))),
    }
    for name, text in texts.items():
        write_atomically(job.folder / name, lambda part, text=text: part.write_text(text, encoding="utf-8"))
