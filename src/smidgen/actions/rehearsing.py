"""What a recipe costs on this machine and these data, measured: its own stages on a few images, with a few steps of each training.

Reading order: rehearse, Rehearsal. Items and steps are timed one by one, so nothing is assumed about a method but what its settings mark
(`core.settings.Length`).
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smidgen.core import registry
from smidgen.core.run import Reached, Results, Run
from smidgen.core.screen import Silent
from smidgen.core.settings import Frozen, Length, length
from smidgen.data.dataset import Dataset
from smidgen.recipes.budget import StageCost

if TYPE_CHECKING:
    from smidgen.actions.train import Job

IMAGES = 8
"""Training images of a rehearsal."""
STEPS = 5
"""Steps of a training in a rehearsal; the first one, which starts everything up, is counted apart."""
FOLDER = ".rehearsal"


def rehearse(job: Job, fabric: Any, supplies: Mapping[str, Any], until: int | None, looked_at: int) -> tuple[StageCost, ...]:
    """Play a recipe through in small and count what it would take in full.

    Args:
        job: What is to be done.
        fabric: Devices and processes, all of which take part.
        supplies: Needs that come from the settings.
        until: How many stages there are to be; None = all.
        looked_at: Training images that are predicted in the end, at most.

    Returns:
        The cost of each stage; of the first process.
    """
    folder = job.folder / FOLDER
    if fabric.global_rank == 0:
        shutil.rmtree(folder, ignore_errors=True)  # of one that was killed
    fabric.barrier()
    supplies["encoder"]()  # what is imported now is not imported again
    ids = few(job.data)
    machine, seed = job.resolved.machine, job.resolved.seed
    run = Rehearsal(folder, fabric, job.resolved.methods, supplies, seed=seed, workers=machine.workers, start_method=machine.start_method)
    run.start(job, until, {"full": _views(job.data), "few": _views(job.data.only(ids=ids))})
    try:
        _play(job, run, ids, looked_at)
    finally:
        fabric.barrier()
        if fabric.global_rank == 0:
            shutil.rmtree(folder, ignore_errors=True)
    return fabric.broadcast(tuple(run.costs))


def _play(job: Job, run: Rehearsal, ids: list[str], looked_at: int) -> None:
    small = job.data.only(ids=ids)
    try:
        segmenter = job.recipe(run, small)
    except Reached:
        return
    run.views = {"full": {"seen": len(job.full.val) + min(looked_at, len(job.full.train))}, "few": {"seen": len(ids)}}
    run.stage("predict", job.resolved.choice.predict, job.full.only(ids=ids), segmenter=segmenter)


def few(data: Dataset) -> list[str]:
    """Images that stand for all: evenly from train by labels and size, and of val the same share.

    Args:
        data: Cut to the supervision that is used.
    """

    def rank(id: str) -> tuple[Any, ...]:
        one = data.samples[id]
        return one.read_label is not None, one.tags is not None, len(one.tags or ()), one.size, id

    ids = sorted(data.train, key=rank)
    count = min(IMAGES, len(ids))
    chosen = dict.fromkeys(ids[int((i + 0.5) * len(ids) / count)] for i in range(count))
    for must in (data.labeled, {id: one for id, one in data.tagged.items() if one.tags}):  # rare labels are met all the same
        if must and not chosen.keys() & must.keys():
            chosen[sorted(must, key=rank)[len(must) // 2]] = None
    val = sorted(data.val, key=rank)
    more = round(len(val) * len(chosen) / len(ids)) if ids else 0
    return [*chosen, *(val[int((i + 0.5) * len(val) / more)] for i in range(more))]


def _views(data: Dataset) -> dict[str, int]:
    return {"labeled": len(data.labeled), "tagged": len(data.tagged), "train": len(data.train), "all": len(data.samples)}


class _Clock(Silent):
    """Notes the seconds between one advance and the next."""

    def __init__(self):
        self.laps: list[float] = []
        self.last = 0.0

    @contextmanager
    def step(self, name: str, total: int, done: int, unit: str) -> Iterator[Any]:
        """A step starts."""
        self.laps, self.last = [], time.perf_counter()
        yield self

    def advance(self, count: int = 1, facts: Mapping[str, float] | None = None) -> None:
        """So much more is done."""
        now = time.perf_counter()
        self.laps.append(now - self.last)
        self.last = now


@dataclass
class _Noted:
    """What was measured within one stage.

    Args:
        fits: Steps in full, seconds a step.
        maps: Seconds in full.
        counted: Seconds of the rehearsal that these two stand for, or that another stage within has.
    """

    fits: list[tuple[float, float]] = field(default_factory=list)
    maps: float = 0.0
    counted: float = 0.0


class Rehearsal(Run):
    """A run that cuts every training short and times everything."""

    def start(self, job: Job, until: int | None, views: dict[str, dict[str, int]]) -> None:
        """Say what is rehearsed.

        Args:
            job: What is to be done.
            until: How many stages there are to be; None = all.
            views: "full" and "few" -> kind of images -> how many there are.
        """
        self.words, self.stop_after, self.views = dict(job.words["settings"]), until, views
        self.costs: list[StageCost] = []
        self.noted: list[_Noted] = []
        self.played = 0
        self.screen = _Clock()

    def _inside(self, folder: Path, ident: str) -> Run:
        inside = super()._inside(folder, ident)
        assert isinstance(inside, Rehearsal)
        inside.noted, inside.views, inside.scaled = self.noted, self.views, self.scaled
        return inside

    scaled = True
    """Whether a training's steps grow with the number of images."""

    def stage(self, stage: str, method: str, data: Any, /, **have: Any) -> Any:
        """Play a stage, at its least as well where that tells more, and note its cost."""
        row = registry.method(stage, method)
        settings = self._settings_of(row)
        marked = length(settings)
        self.scaled = marked is None or marked[1].rounds
        product, noted, rest = self._timed(stage, method, data, have)
        name, mark = marked or ("", Length(0))
        value = getattr(settings, name) if name else 0
        steps = sum(steps for steps, _ in noted.fits)
        enough = math.ceil(4 * value * mark.least_steps / steps) / 4 if steps else 0  # in quarters, as lengths are cut
        least = value if name in self.words.get(row.name, {}) else min(value, type(value)(max(mark.least, enough)))
        training = sum(steps * each for steps, each in noted.fits)
        full = rest + noted.maps + training
        seconds_least = full
        if least < value and noted.fits:
            seconds_least = rest + noted.maps + training * least / value
        elif least < value:
            seconds_least = self._at_least(row.name, settings, {name: least}, (stage, method, data, have))
        self.costs.append(StageCost(stage, row.name, name if least < value else "", value, least, full, min(full, seconds_least)))
        if not self.noted:
            self.played += 1
        if self.played == self.stop_after and not self.noted:
            raise Reached
        return product

    def _at_least(self, name: str, settings: Frozen, update: Mapping[str, Any], call: tuple[str, str, Any, dict[str, Any]]) -> float:
        self.settings[name] = settings.model_copy(update=update)
        _, noted, rest = self._timed(*call)
        self.settings[name] = settings
        return rest + noted.maps

    def _timed(self, stage: str, method: str, data: Any, have: dict[str, Any]) -> tuple[Any, _Noted, float]:
        """The product, what was noted, and the seconds that were neither steps nor items."""
        start, noted = time.perf_counter(), _Noted()
        self.noted.append(noted)
        product = super().stage(stage, method, data, **have)
        self.noted.pop()
        spent = time.perf_counter() - start
        if self.noted:
            self.noted[-1].counted += spent
        return product, noted, max(0.0, spent - noted.counted)

    def fit(self, name: str, learner: Any) -> Any:
        """A few steps of a training."""
        wanted = learner.steps
        learner.steps = min(wanted, STEPS)
        super().fit(name, learner)
        laps = self._laps()
        each = sum(laps[1:]) / len(laps[1:]) if len(laps) > 1 else sum(laps)
        samples = max((len(stream.samples) for stream in learner.streams.values()), default=0)
        self.noted[-1].fits.append((wanted * (self._scale(samples) if self.scaled else 1), each))
        self.noted[-1].counted += each * len(laps)
        return learner

    def map(self, name: str, one: Any, *items: Mapping[str, Any], together: Any = None, size: int = 8) -> Results[Any]:
        """All items that there are, which are few."""
        results = super().map(name, one, *items, together=together, size=size)
        seconds = sum(self._laps())
        self.noted[-1].maps += seconds * self._scale(len(results))
        self.noted[-1].counted += seconds
        return results

    def _laps(self) -> list[float]:
        assert isinstance(self.screen, _Clock)
        laps, self.screen.laps = self.screen.laps, []
        return laps

    def _scale(self, count: int) -> float:
        """How many times as many there are in full as in the few: by the smallest kind of images that has so many."""
        fitting = [kind for kind, n in self.views["few"].items() if n >= count > 0]
        kind = min(fitting, key=lambda kind: self.views["few"][kind], default=None)
        return self.views["full"][kind] / self.views["few"][kind] if kind else 1.0
