"""The one training loop: streams in, named terms out, exact resume. Depends on torch and Lightning Fabric only.

A learner (INTERFACES, section 2) names its networks, optimizers, streams and terms; everything else - batches, precision, processes,
checkpoints, logs - is here. Batch means the global batch: slot i of step n is the same sample with the same noise on any number of
workers and processes, which share the slots.
"""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from lightning_fabric import Fabric
from torch import Generator, Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset, default_collate

from smidgen.core.codec import remove_leftovers, write_atomically
from smidgen.core.errors import SettingsError, SmidgenError, TrainingError
from smidgen.core.log import Log
from smidgen.core.screen import Bar
from smidgen.core.seeds import generator, seed_all
from smidgen.core.stopping import wanted

Terms = Mapping[str, Tensor]


@dataclass(frozen=True)
class Stream:
    """One source of samples.

    Args:
        samples: What to draw from; an item with an `id` is named by it in messages.
        size: How many make up the global batch.
        prepare: Turns one sample into tensors, in a worker; the global generators are seeded for each call.
        order: One epoch's indices: a permutation by default; groups, class balance, pairs, "every image once".
            Every epoch has the same length.
    """

    samples: Sequence[Any]
    size: int
    prepare: Callable[[Any], dict[str, Tensor]]
    order: Callable[[Generator], Sequence[int]] | None = None

    def epoch(self, random: Generator) -> Sequence[int]:
        """The indices of one epoch."""
        return self.order(random) if self.order else torch.randperm(len(self.samples), generator=random).tolist()


@dataclass(frozen=True)
class Step:
    """Where training stands.

    Args:
        n: Number of this step, from 0.
        of: Number of all steps.
        generator: The same on all processes; for noise of your own use torch's global one.
    """

    n: int
    of: int
    generator: Generator

    @property
    def progress(self) -> float:
        """Share of the steps that are done, in [0, 1)."""
        return self.n / self.of


@runtime_checkable
class Learner(Protocol):
    """What is trained. Optional: `schedule(progress) -> factor on every learning rate`, `after(at)`, `clip` (largest gradient norm)."""

    networks: nn.ModuleDict
    """All that is saved."""

    @property
    def optimizers(self) -> Mapping[str, Optimizer]:
        """One per turn, in order, on one batch; what it holds is what moves in that turn."""
        ...

    @property
    def streams(self) -> Mapping[str, Stream]:
        """What a batch is made of."""
        ...

    steps: int

    def terms(self, batch: dict[str, Any], turn: str, at: Step) -> Terms:
        """Named, already weighted; their sum is minimized. {} = this turn rests (may depend on `at` only)."""
        ...


class Batches(Dataset):
    """Item n = this process's slots of step n."""

    def __init__(self, streams: Mapping[str, Stream], seed: tuple[object, ...], rank: int = 0, world: int = 1):
        self.streams, self.seed, self.rank, self.world = streams, seed, rank, world
        self._orders: dict[tuple[str, int], Sequence[int]] = {}
        for name, stream in streams.items():
            if stream.size < world:
                raise SettingsError(f"stream '{name}': {world} processes can't share a batch of {stream.size}: lower machine.devices")

    def _order(self, name: str, epoch: int) -> Sequence[int]:
        if (name, epoch) not in self._orders:
            self._orders = {kept: order for kept, order in self._orders.items() if kept[0] != name or kept[1] in (0, epoch - 1)}
            seed_all(*self.seed, name, "epoch", epoch)
            order = self._orders[name, epoch] = self.streams[name].epoch(generator(*self.seed, name, "epoch", epoch))
            if len(order) == 0:
                raise TrainingError(f"stream '{name}' has no samples: give it some, or choose a recipe that does not need them")
            if len(order) != len(self._orders.get((name, 0), order)):
                raise TrainingError(f"stream '{name}': epoch {epoch} has {len(order)} samples, not as many as epoch 0: make all equal")
        return self._orders[name, epoch]

    def ids(self, name: str, n: int) -> Iterator[int]:
        """Indices of the samples of step n, all slots."""
        size, length = self.streams[name].size, len(self._order(name, 0))
        for position in range(n * size, (n + 1) * size):
            epoch, at = divmod(position, length)
            yield self._order(name, epoch)[at]

    def names(self, n: int) -> list[str]:
        """Names of the samples that this process has in step n, for messages."""
        return [str(getattr(self.streams[name].samples[i], "id", i)) for name in self.streams for _, i in self._mine(name, n)]

    def _mine(self, name: str, n: int) -> list[tuple[int, int]]:
        return [(slot, i) for slot, i in enumerate(self.ids(name, n)) if slot % self.world == self.rank]

    def __getitem__(self, n: int) -> dict[str, Any] | TrainingError:
        """The batch; or the error, which would lose its words if a worker raised it."""
        try:
            return {name: default_collate([self._prepared(name, i, n, slot) for slot, i in self._mine(name, n)]) for name in self.streams}
        except TrainingError as error:
            return error

    def _prepared(self, name: str, i: int, n: int, slot: int) -> dict[str, Tensor]:
        stream, sample = self.streams[name], None
        seed_all(*self.seed, name, n, slot)
        try:
            sample = stream.samples[i]
            return stream.prepare(sample)
        except Exception as error:
            label = getattr(sample, "path", None) or getattr(sample, "id", i)
            raise TrainingError(f"{label}: could not be prepared for training ({type(error).__name__}: {error})") from error


class _Forward(nn.Module):
    """The learner as one module whose forward is its terms: wrapped once, the library averages whatever took part.

    Batch, turn and step reach it as an attribute, not as arguments, which Fabric and DDP would copy or cast.
    """

    def __init__(self, learner: Learner):
        super().__init__()
        self.networks = learner.networks
        self.learner = [learner]
        self.now: tuple[dict[str, Any], str, Step] | None = None

    def forward(self) -> Terms:
        assert self.now is not None
        return dict(self.learner[0].terms(*self.now))  # DDP looks for tensors in plain dicts only


def read_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """What a fit saved: `networks`, `optimizers`, `scaler`, and `n`, the steps that are done.

    Raises:
        SmidgenError: The file is broken.
    """
    try:
        return torch.load(path, weights_only=True, map_location=device)
    except Exception as error:
        raise SmidgenError(f"{path}: not a readable checkpoint ({error}): delete its folder and run the same command again") from error


def _start_worker(worker: int) -> None:
    """A worker heeds its process, not the terminal, and does not inherit that one's patience (`stopping.polite`)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


class _Training:
    """One fit: the state that a checkpoint holds, and how a step changes it."""

    def __init__(self, fabric: Fabric, learner: Learner, checkpoint: Path, seed: tuple[object, ...]):
        self.fabric, self.learner, self.checkpoint, self.seed = fabric, learner, checkpoint, seed
        learner.networks.train()
        self._release()
        self.inner = _Forward(learner)
        self.module = fabric.setup_module(self.inner)
        self.optimizers: dict[str, Any] = {turn: fabric.setup_optimizers(optimizer) for turn, optimizer in learner.optimizers.items()}
        self.rates = {turn: [group["lr"] for group in o.param_groups] for turn, o in learner.optimizers.items()}
        self.clip: float | None = getattr(learner, "clip", None)
        self.scaler = getattr(fabric.strategy.precision, "scaler", None)
        self.factor = 1.0
        self.start = self._load()

    def _release(self) -> None:
        """Gradients for whatever an optimizer holds, and nothing else: DDP averages only what has them when it is set up."""
        self.learner.networks.requires_grad_(False)
        saved = set(self.learner.networks.parameters())
        for turn, optimizer in self.learner.optimizers.items():
            for parameter in _moving(optimizer):
                if parameter not in saved:
                    raise TrainingError(f"turn '{turn}': its optimizer moves a parameter that is not in `networks` and would not be saved")
                parameter.requires_grad_(True)

    def _load(self) -> int:
        if self.fabric.global_rank == 0:
            remove_leftovers(self.checkpoint)
        if not self.checkpoint.exists():
            return 0
        saved = read_checkpoint(self.checkpoint, self.fabric.device)
        self.learner.networks.load_state_dict(saved["networks"])
        for turn, state in saved["optimizers"].items():
            self.learner.optimizers[turn].load_state_dict(state)
        if self.scaler is not None and saved["scaler"]:
            self.scaler.load_state_dict(saved["scaler"])
        return saved["n"]

    def save(self, n: int) -> None:
        """Rank 0 alone saves; nobody waits for it."""
        if self.fabric.global_rank:
            return
        state = {
            "networks": self.learner.networks.state_dict(),
            "optimizers": {turn: optimizer.state_dict() for turn, optimizer in self.learner.optimizers.items()},
            "scaler": self.scaler.state_dict() if self.scaler is not None else {},
            "n": n,
        }

        def fill(part: Path) -> None:
            with part.open("wb") as file:  # given a path, torch hides what the system said
                torch.save(state, file)

        write_atomically(self.checkpoint, fill)

    def step(self, batch: dict[str, Any], n: int, log: Log, names: Callable[[int], list[str]]) -> float:
        """All turns of step n; returns the sum of all terms."""
        at = Step(n, self.learner.steps, generator(*self.seed, "step", n))
        self.factor = float(getattr(self.learner, "schedule", _constant)(at.progress))
        seed_all(*self.seed, "global", n, self.fabric.global_rank)
        total = 0.0
        for turn, optimizer in self.optimizers.items():
            groups = self.learner.optimizers[turn].param_groups
            self.learner.networks.requires_grad_(False)
            for parameter in _moving(self.learner.optimizers[turn]):
                parameter.requires_grad_(True)
            self.inner.now = (batch, turn, at)
            terms = self.module()
            if not terms:
                continue
            for group, rate in zip(groups, self.rates[turn], strict=True):
                group["lr"] = rate * self.factor
            values = {name: term.item() for name, term in terms.items()}
            if not all(math.isfinite(value) for value in values.values()):
                raise TrainingError(_not_finite(n, turn, values, names(n)))
            minimized: Any = sum(terms.values())
            optimizer.zero_grad()
            self.fabric.backward(minimized)
            if self.clip:
                self.fabric.clip_gradients(self.module, optimizer, max_norm=self.clip, error_if_nonfinite=False)
            optimizer.step()
            log.add(turn, values)
            total += sum(values.values())
        if hasattr(self.learner, "after"):
            with torch.no_grad():
                self.learner.after(at)  # pyright: ignore[reportAttributeAccessIssue] (optional, see Learner)
        return total

    def share(self) -> None:
        """Rank 0's networks for all: statistics that no optimizer moves (BatchNorm's) differ, and only rank 0 saved its own."""
        if self.fabric.world_size > 1:
            for value in self.learner.networks.state_dict().values():
                torch.distributed.broadcast(value, 0)


def _moving(optimizer: Optimizer) -> Iterator[nn.Parameter]:
    return (parameter for group in optimizer.param_groups for parameter in group["params"])


def _constant(progress: float) -> float:
    return 1.0


def _not_finite(n: int, turn: str, values: Mapping[str, float], names: Sequence[str]) -> str:
    listed = ", ".join(f"{name} = {value}" for name, value in values.items())
    return (
        f"step {n}, turn '{turn}': a term is not finite ({listed}); images of this step: {', '.join(names[:16])}: look at them, "
        "or lower the learning rate; the same command goes on from the last checkpoint"
    )


@lru_cache(maxsize=1)
def _safe_start() -> str | None:
    """Workers fork where that is safe (Linux); elsewhere, or where Python was told a start method, that one."""
    return "fork" if sys.platform == "linux" and torch.multiprocessing.get_start_method(allow_none=True) in (None, "fork") else None


def _arriving(loader: DataLoader, first: int) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        for n, batch in enumerate(loader, first):
            if isinstance(batch, TrainingError):
                raise batch
            yield n, batch
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        cause = str(error).strip().splitlines()[-1]  # what comes before is the worker's traceback
        remedy = "lower machine.workers (0 = none), or give it more memory, in Docker also to share (--shm-size 2g)"
        raise TrainingError(f"a process that prepares samples died ({cause}): {remedy}") from error


def _gathered(fabric: Fabric, mine: Any) -> list[Any]:
    everyone = [mine] * fabric.world_size
    if fabric.world_size > 1:
        torch.distributed.all_gather_object(everyone, mine)
    return everyone


def _stop(fabric: Fabric) -> bool:
    """Whether a signal reached any process: all leave after the same step, or those that stay would wait for the others."""
    if fabric.world_size == 1:
        return wanted()
    count: Any = fabric.all_reduce(torch.tensor(float(wanted()), device=fabric.device), reduce_op="sum")
    return bool(count > 0)


def fit(
    fabric: Fabric,
    learner: Learner,
    folder: Path,
    bar: Bar,
    *,
    seed: tuple[object, ...],
    workers: int,
    start_method: str,
    every_seconds: float,
    log_every: int,
) -> None:
    """Train to the last step, from the checkpoint in `folder` where there is one.

    Args:
        fabric: Devices, processes and precision.
        learner: What to train; its networks hold the last weights afterwards.
        folder: `last.pt` and `log.csv` are kept here.
        bar: Hears of every step.
        seed: All randomness derives from it.
        workers: Processes that prepare samples; the numbers do not depend on it.
        start_method: How those are started: fork, forkserver, spawn, or auto.
        every_seconds: Time between two checkpoints.
        log_every: Steps that one row of the log averages.

    Raises:
        TrainingError: A term is not finite, or a sample could not be prepared (both named).
    """
    training = _Training(fabric, learner, folder / "last.pt", seed)
    batches = Batches(learner.streams, seed, fabric.global_rank, fabric.world_size)
    log = Log(folder / "log.csv", training.start, partial(_gathered, fabric), fabric.global_rank == 0)
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=range(training.start, learner.steps),
        num_workers=workers,
        worker_init_fn=_start_worker,
        multiprocessing_context=(_safe_start() if start_method == "auto" else start_method) if workers else None,
    )
    saved_at = time.monotonic()
    for n, batch in _arriving(loader, training.start):
        total = training.step(fabric.to_device(batch), n, log, batches.names)
        stop, last = _stop(fabric), n + 1 == learner.steps
        if last or (n + 1) % log_every == 0:
            log.flush(n + 1, training.factor)
        if last or stop or time.monotonic() - saved_at >= every_seconds:
            training.save(n + 1)
            saved_at = time.monotonic()
        bar.advance(1, {"loss": total})
        if stop:
            raise KeyboardInterrupt
    if learner.steps == 0:
        training.save(0)
    training.share()
    fabric.barrier()
