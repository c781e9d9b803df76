"""A run: stages that are skipped when finished, and within them map (item by item) and fit (training).

`RUN/stages/STAGE-METHOD-KEY/NN-step/` keeps every result. A renamed file is a finished one; there is no manifest. Every process runs the
same methods; after a kill they run again from their top and fall through what is finished.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from lightning_fabric import Fabric

from smidgen import __version__
from smidgen.core import codec, memory, registry
from smidgen.core.errors import NeedError, SettingsError, SmidgenError
from smidgen.core.fit import Learner, fit, read_checkpoint
from smidgen.core.keys import key, source
from smidgen.core.screen import Screen, Silent
from smidgen.core.seeds import seed_all
from smidgen.core.settings import Frozen
from smidgen.core.stopping import stop_if_wanted

X = TypeVar("X")
L = TypeVar("L", bound=Learner)
COST = "cost.json"
LOG = logging.getLogger(__name__)


class Results(Mapping[str, X], Generic[X]):
    """The values of one map, read when asked for.

    Args:
        folder: Where the step's files are.
        ids: What there is, in order.
        kind: Class of the values; None: an array or plain value.
        key: Hash of all that the values depend on.
    """

    def __init__(self, folder: Path, ids: Sequence[str], kind: type | None, key: str):
        self.folder, self.ids, self.kind, self.key = folder, tuple(ids), kind, key
        self._known = frozenset(self.ids)

    def __getitem__(self, id: str) -> X:
        if id not in self._known:
            raise KeyError(id)
        return codec.load(_file(self.folder, id), self.kind)

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, id: object) -> bool:
        return id in self._known


class Given(dict[str, X], Generic[X]):
    """Values that were not made by a stage: a dict with the KEY that every need carries."""

    def __init__(self, values: Mapping[str, X], key: str):
        super().__init__(values)
        self.key = key


@dataclasses.dataclass(frozen=True)
class Finished:
    """One stage of a recipe that is done, for reports.

    Args:
        stage: Name of the stage.
        method: Name of the method.
        key: Its KEY.
        folder: Where its steps are.
        product: What it returned.
        settings: Its settings.
        seconds: All time spent on it, over interruptions.
        peak_mib: Largest memory of the process while it worked, in MiB.
        line: What the method does, in its own words.
    """

    stage: str
    method: str
    key: str
    folder: Path
    product: Any
    settings: Frozen
    seconds: float
    peak_mib: float
    line: str


def _file(folder: Path, id: str) -> Path:
    return folder / f"{codec.portable(id)}{codec.SUFFIX}"


@dataclasses.dataclass(frozen=True)
class Later:
    """A stage that is run when it is called.

    Args:
        start: Takes needs by name, returns the product.
        key: Hash of stage, method, settings and parts.
    """

    start: Callable[[Mapping[str, Any]], Any]
    key: str

    def __call__(self, **have: Any) -> Any:
        """Run the stage with these needs."""
        return self.start(have)


class Reached(Exception):
    """The stage that was asked for (`--until`) is done; not an error."""


class Run:
    """What methods and recipes work with.

    Args:
        folder: RUN.
        fabric: Devices, processes, precision.
        settings: Settings by method name; a method that is not in it gets its defaults.
        supplies: Needs that come from the settings and not from a stage: encoder, head, loss. Each has a `key`.
        seed: All randomness derives from it.
        workers: Processes that prepare samples.
        start_method: How those are started: fork, forkserver, spawn; auto = what is safe on this system.
        screen: Hears of everything.
        log_every: Training steps that one row of the log averages.
        until: How many stages to finish before `Reached` is raised; None = all of them.
    """

    def __init__(
        self,
        folder: Path,
        fabric: Fabric,
        settings: Mapping[str, Frozen] | None = None,
        supplies: Mapping[str, Any] | None = None,
        *,
        seed: int = 0,
        workers: int = 0,
        start_method: str = "auto",
        screen: Screen | None = None,
        log_every: int = 10,
        until: int | None = None,
    ):
        self.until = until
        self.folder, self.fabric, self.seed, self.workers, self.log_every = Path(folder), fabric, seed, workers, log_every
        self.start_method = start_method
        self.settings, self.supplies = dict(settings or {}), dict(supplies or {})
        self.screen: Screen = screen if screen is not None and fabric.global_rank == 0 else Silent()
        self.finished: list[Finished] = []
        self.checkpoint_seconds = 60.0
        self._key = ""
        self._steps: dict[str, int] = {}
        self._open, self._done = 0, 0

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return self.fabric.device

    def autocast(self) -> AbstractContextManager[Any]:
        """The run's precision on the run's device, for functions that map."""
        return self.fabric.autocast()

    # ---------------------------------------------------------------- recipes

    def stage(self, stage: str, method: str, data: Any, /, **have: Any) -> Any:
        """Run a method, or fall through it where it is finished.

        Args:
            stage: Which kind of step.
            method: Name of the method, or `module:function`.
            data: The dataset, cut to what the stage may see.
            **have: Products of earlier stages and callables, by name; those that the method does not ask for are left out.

        Returns:
            The method's product, with its `key`.

        Raises:
            NeedError: The method asks for something that is not there.
        """
        row = registry.method(stage, method)
        have = self.supplies | have
        wanted = {need: have[need] for need in registry.handed_over(row, have)}
        loose = [need for need, value in wanted.items() if not getattr(value, "key", None)]
        if loose:
            raise NeedError(f"{stage} {method}: {', '.join(loose)} has no key, so nothing would notice when it changes")
        settings = self._settings_of(row)
        inputs = {need: value.key for need, value in wanted.items()}
        precision = self.fabric.strategy.precision.precision
        told = settings.model_dump(mode="json")
        ident = key(__version__, stage, method, source(row.module), told, self.seed, precision, data.key, inputs)
        inside = self._inside(self.folder / "stages" / f"{stage}-{row.name}-{ident}", ident)
        done = _cost(inside.folder).finished
        self.screen.stage(stage, row.name, ident, done)
        seed_all(self.seed, stage)
        with self._costing(inside) as cost:
            product = registry.find(row)(inside, settings, data, **wanted)
        if not done:
            LOG.info("%s %s: %.1f s in all, %.0f MiB at most", stage, row.name, cost[0].seconds, cost[0].peak_mib)
        if any(product is need for need in wanted.values()):
            product = copy.copy(product)  # handed on as it came: the stage that made it keeps its own key
        product.key = ident
        spent = cost[0].seconds, cost[0].peak_mib
        self.finished.append(Finished(stage, row.name, ident, inside.folder, product, settings, *spent, row.line))
        self._done += not self._open  # what ran within another is no stage of the recipe
        if self.until is not None and self._done >= self.until and not self._open:
            raise Reached
        return product

    def later(self, stage: str, method: str, data: Any, /) -> Later:
        """A stage that a method may run from within its own, such as training a segmenter.

        Args:
            stage: Which kind of step.
            method: Name of the method.
            data: The dataset, cut to what the stage may see.

        Returns:
            A callable that takes further needs by name; its `key` changes with whatever it would use.
        """
        row = registry.method(stage, method)
        settings, precision = self._settings_of(row), self.fabric.strategy.precision.precision
        supplied = {need: self.supplies[need].key for need in row.needs if need in self.supplies}
        told = settings.model_dump(mode="json")
        ident = key(__version__, stage, method, source(row.module), told, self.seed, precision, data.key, supplied)
        return Later(lambda have: self.stage(stage, method, data, **have), ident)

    @contextmanager
    def _costing(self, inside: Run) -> Iterator[list[_Cost]]:
        """Count time and memory of a stage, over interruptions; a stage may run within another. The list holds the cost afterwards."""
        before, started, cost = _cost(inside.folder), time.monotonic(), []
        if not self._open:
            memory.reset_peak()
        self._open += 1
        finished = before.finished
        try:
            yield cost
            finished = True
        finally:
            self._open -= 1
            spent, peak = time.monotonic() - started, memory.peak_mib()
            unchanged = before.finished and inside.fell_through
            cost.append(before if unchanged else _Cost(before.seconds + spent, max(before.peak_mib, peak), finished))
            if self.fabric.global_rank == 0 and not unchanged:
                text = json.dumps(dataclasses.asdict(cost[0]))
                codec.write_atomically(inside.folder / COST, lambda part: part.write_text(text))

    def _settings_of(self, row: registry.Method) -> Frozen:
        return self.settings[row.name] if row.name in self.settings else registry.settings_of(row)()

    def _inside(self, folder: Path, ident: str) -> Run:
        folder.mkdir(parents=True, exist_ok=True)
        inside = type(self)(
            folder, self.fabric, seed=self.seed, workers=self.workers, start_method=self.start_method, log_every=self.log_every
        )
        inside.screen, inside.checkpoint_seconds = self.screen, self.checkpoint_seconds
        inside._key, inside.fell_through = ident, True
        return inside

    # ---------------------------------------------------------------- methods

    fell_through = True
    """Nothing was left to do so far."""

    def _step(self, name: str) -> Path:
        if not self._key:
            raise SettingsError(f"step '{name}': only stages map and fit; what a recipe does itself would have no KEY")
        if name in self._steps:
            raise SettingsError(f"two steps are called '{name}': number them")
        self._steps[name] = len(self._steps) + 1
        folder = self.folder / f"{self._steps[name]:02}-{name}"
        folder.mkdir(exist_ok=True)
        return folder

    def map(
        self,
        name: str,
        one: Callable[..., Any],
        *items: Mapping[str, Any],
        together: Callable[[Any], Hashable] | None = None,
        size: int = 8,
    ) -> Results[Any]:
        """`one(value, …)` for every id that all items share; finished ones are skipped, processes share the rest.

        Args:
            name: Unique within the stage.
            one: A pure function; its return annotation says what the files hold. The global generators are seeded for each item.
            *items: id -> value; each call gets one value of each.
            together: Of a value of the first items; then `one` gets lists of values that share it and returns a list.
            size: At most so many at once. Batches are formed from the full list, so they do not depend on what is finished.

        Returns:
            id -> value, read lazily.
        """
        folder = self._step(name)
        ids = sorted(set(items[0]).intersection(*items[1:]))
        missing = {id for id in ids if not _file(folder, id).exists()}
        if missing:
            self.fell_through = False
            batches = _together(ids, items[0], together, size) if together else [[id] for id in ids]
            mine = batches[self.fabric.global_rank :: self.fabric.world_size]
            todo = [batch for batch in mine if not missing.isdisjoint(batch)]
            codec.remove_leftovers_of(folder, {_file(folder, id) for batch in todo for id in batch})
            done = sum(map(len, mine)) - sum(map(len, todo))
            with self.screen.step(name, sum(map(len, mine)), done, "images") as bar:
                for batch in todo:
                    self._items(name, one, items, batch, folder, together is not None)
                    bar.advance(len(batch))
                    stop_if_wanted()
        self.fabric.barrier()
        seed_all(self.seed, name, "after")
        return Results(folder, ids, _kind(one), key(self._key, name))

    def _items(
        self, name: str, one: Callable[..., Any], items: Sequence[Mapping[str, Any]], batch: list[str], folder: Path, listed: bool
    ) -> None:
        seed_all(self.seed, name, batch[0])
        values = [[item[id] for id in batch] for item in items]
        results = one(*values) if listed else [one(*(value[0] for value in values))]
        kind = _kind(one)
        for id, result in zip(batch, results, strict=True):
            if dataclasses.is_dataclass(result) and type(result) is not kind:
                raise SmidgenError(f"step '{name}' made a {type(result).__name__}: the function's return annotation has to say so")
            path = _file(folder, id)
            path.parent.mkdir(parents=True, exist_ok=True)
            codec.save(result, path)

    def fit(self, name: str, learner: L) -> L:
        """Train a learner to its last step, from its checkpoint where there is one; its networks end in evaluation mode, gradients off."""
        folder = self._step(name)
        finished = folder / "finished"
        if finished.exists():
            learner.networks.to(self.device).load_state_dict(read_checkpoint(folder / "last.pt", self.device)["networks"])
        else:
            self.fell_through = False
            with self.screen.step(name, learner.steps, _steps_done(folder), "steps") as bar:
                fit(
                    self.fabric,
                    learner,
                    folder,
                    bar,
                    seed=(self.seed, name),
                    workers=self.workers,
                    start_method=self.start_method,
                    every_seconds=self.checkpoint_seconds,
                    log_every=self.log_every,
                )
            if self.fabric.global_rank == 0:
                codec.write_atomically(finished, lambda part: part.write_text(f"{learner.steps}\n"))
            self.fabric.barrier()
        learner.networks.eval()
        learner.networks.requires_grad_(False)
        seed_all(self.seed, name, "after")
        return learner


def _together(ids: Sequence[str], values: Mapping[str, Any], together: Callable[[Any], Hashable], size: int) -> list[list[str]]:
    groups: dict[Hashable, list[str]] = defaultdict(list)
    for id in ids:
        groups[together(values[id])].append(id)
    return [group[i : i + size] for group in groups.values() for i in range(0, len(group), size)]


def _kind(one: Callable[..., Any]) -> type | None:
    """The dataclass that a mapped function returns (or lists of), read from its annotation."""
    hint = inspect.signature(one, eval_str=True).return_annotation
    hint = next(iter(getattr(hint, "__args__", ())), hint)
    return hint if isinstance(hint, type) and dataclasses.is_dataclass(hint) else None


def _steps_done(folder: Path) -> int:
    checkpoint = folder / "last.pt"
    return read_checkpoint(checkpoint, torch.device("cpu"))["n"] if checkpoint.exists() else 0


@dataclasses.dataclass(frozen=True)
class _Cost:
    seconds: float = 0.0
    peak_mib: float = 0.0
    finished: bool = False


def _cost(folder: Path) -> _Cost:
    path = folder / COST
    return _Cost(**json.loads(path.read_text())) if path.exists() else _Cost()
