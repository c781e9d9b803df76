"""One command in several processes: a supervisor starts copies of it, or torchrun or SLURM did; and the lock of a run folder.

`--devices N` starts N copies of the same command, each told its rank in torchrun's variables. They find each other through a file in the
run folder and talk over the loopback interface, so nothing listens beyond it. When one fails all are ended; when the supervisor dies they
leave. Every process runs the same methods; what is not shared among them rank 0 does. Linux and macOS; elsewhere one process.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import IO, Any

from smidgen.core.conventions import INTERRUPTED
from smidgen.core.errors import LockedError, UsageError
from smidgen.core.machine import cores
from smidgen.core.settings import Machine

STORE = "SMIDGEN_STORE"
"""Names the file through which the copies find each other; set by the supervisor for them only."""
STORE_FILE = ".store-"
"""How its name begins."""
PARENT = "SMIDGEN_PARENT"
"""Process id of the supervisor."""
POLL_SECONDS = 0.05
GRACE_SECONDS = 5.0
"""So long the other processes may take to end by themselves once one has left."""
LONGEST_WAIT = timedelta(hours=24)
"""Between two meetings of the processes (the end of a map, say) the slowest may need this long."""


@dataclass(frozen=True)
class Place:
    """Where this process stands among those that were started for one command.

    Args:
        rank: From 0.
        world: How many there are.
        local: How many of them are on this machine.
    """

    rank: int
    world: int
    local: int


def place(environment: Mapping[str, str] = os.environ) -> Place | None:
    """What the supervisor, torchrun or SLURM (within `srun`) says; None: this process is alone."""

    def read(*names: str) -> list[int] | None:
        return [int(environment[name]) for name in names] if all(name in environment for name in names) else None

    if found := read("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        return Place(*found)
    if "SLURM_STEP_ID" in environment and (found := read("SLURM_PROCID", "SLURM_NTASKS", "SLURM_NNODES")) and found[1] > 1:
        return Place(found[0], found[1], found[1] // found[2])
    return None


def is_copy() -> bool:
    """Whether a supervisor on this machine started this process; it has the last word."""
    return STORE in os.environ


def speaks() -> bool:
    """Whether this process is the one that tells people: one of several would only say the same."""
    here = place()
    return not is_copy() and (here is None or here.rank == 0)


def must_supervise(devices: int) -> bool:
    """Whether this process is to start `devices` copies of its command; False: it is alone, or one of several already.

    Raises:
        UsageError: Several processes were asked for where they are not supported.
    """
    if devices <= 1 or place():
        return False
    if sys.platform not in ("linux", "darwin"):
        raise UsageError(f"machine.devices {devices}: several processes work on Linux and macOS only: leave it at 1")
    return True


# ---------------------------------------------------------------- supervising


def supervise(devices: int, folder: Path, argv: Sequence[str]) -> int:
    """Run copies of a Python command until all are done or one fails.

    Ctrl-C and SIGTERM are passed on once, so that the copies save and leave; a second one ends them at once.

    Args:
        devices: How many copies.
        folder: The run folder, which the caller has locked.
        argv: What follows `python`: `["-m", "smidgen", …]`.

    Returns:
        0, or the exit code of a copy that failed (as a shell gives it); 130 after a signal.
    """
    for left in folder.glob(f"{STORE_FILE}*"):  # of a supervisor that was killed
        left.unlink(missing_ok=True)
    store = folder.resolve() / f"{STORE_FILE}{uuid.uuid4().hex[:8]}"  # in an address, a relative path's first part would be a host
    environment = os.environ | _environment(devices, store)
    outputs: list[IO[bytes] | None] = [None, *(tempfile.TemporaryFile() for _ in range(devices - 1))]  # noqa: SIM115 (closed when it goes)
    ranks: list[subprocess.Popen] = []
    try:
        with _passing_on(ranks) as noted:
            for rank, output in enumerate(outputs):
                told = environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
                # A session of its own: a terminal's Ctrl-C reaches the supervisor only, which passes it on. One signal each, not two.
                ranks.append(subprocess.Popen([sys.executable, *argv], env=told, stdout=output, stderr=output, start_new_session=True))
            for number, started in tuple(noted):
                for later in ranks[started:]:  # it came while they were being started
                    later.send_signal(number)
            codes = _first_end(ranks)
            _wait(ranks, GRACE_SECONDS if noted else 0.0)
    finally:
        _end(ranks)
        store.unlink(missing_ok=True)
    for code, output in zip(codes, outputs, strict=True):
        _relay(output if code else None)
    failed = next((code for code in codes if code), 0)
    return INTERRUPTED if noted and failed else failed if failed >= 0 else 128 - failed


def _for_fabric(here: Place, given: Mapping[str, str]) -> dict[str, str]:
    """What is missing of torchrun's variables; Fabric then knows but one starter (its SLURM refuses `--ntasks`, and jobs called bash).

    Raises:
        UsageError: The processes are not spread evenly over the machines.
    """
    if here.world % here.local or here.local < 1:
        raise UsageError(f"SLURM: {here.world} tasks on machines with {here.local} each: give all machines as many (--ntasks-per-node)")
    told = {"TORCHELASTIC_RUN_ID": "smidgen"}
    if here.world == here.local:  # one machine: no need to know its name, nor to be reached from elsewhere
        told |= {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": _loopback(), "NCCL_SOCKET_IFNAME": _loopback()}
    if "RANK" not in given:
        told |= {"RANK": str(here.rank), "WORLD_SIZE": str(here.world), "LOCAL_WORLD_SIZE": str(here.local)}
        told |= {"LOCAL_RANK": given["SLURM_LOCALID"], "GROUP_RANK": given["SLURM_NODEID"]}
        told |= {"MASTER_PORT": str(15000 + int(given["SLURM_JOB_ID"]) % 10000)}
        told.setdefault("MASTER_ADDR", _first_host(given.get("SLURM_STEP_NODELIST") or given["SLURM_JOB_NODELIST"]))
    return {name: value for name, value in told.items() if name not in given}


def _first_host(nodes: str) -> str:
    """First machine of a list as SLURM writes it: `gpu[03-05,9],cpu1` -> `gpu03`."""
    first = re.match(r"([^,\[]+)(?:\[(\w+)[^\]]*\])?([^,\[]*)", nodes)
    return nodes if first is None else first[1] + (first[2] or "") + first[3]


def _loopback() -> str:
    return "lo0" if sys.platform == "darwin" else "lo"


def _environment(devices: int, store: Path) -> dict[str, str]:
    loopback = _loopback()
    return {
        "WORLD_SIZE": str(devices),
        "LOCAL_WORLD_SIZE": str(devices),
        "GROUP_RANK": "0",
        "TORCHELASTIC_RUN_ID": "smidgen",  # by this Fabric knows torchrun's variables
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "0",
        "GLOO_SOCKET_IFNAME": loopback,
        "NCCL_SOCKET_IFNAME": loopback,
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, cores() // devices))),
        "TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR"),  # DDP warns where no parameter is unused
        STORE: str(store),
        PARENT: str(os.getpid()),
    }


def _first_end(ranks: Sequence[subprocess.Popen]) -> list[int | None]:
    """Exit codes when all are done or one has failed."""
    while True:
        codes = [rank.poll() for rank in ranks]
        if any(codes) or None not in codes:
            return codes
        time.sleep(POLL_SECONDS)


def _wait(ranks: Sequence[subprocess.Popen], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(rank.poll() is None for rank in ranks):
        time.sleep(POLL_SECONDS)


def _end(ranks: Sequence[subprocess.Popen]) -> None:
    for rank in ranks:
        rank.terminate()
    _wait(ranks, GRACE_SECONDS)
    for rank in ranks:
        rank.kill()
        rank.wait()


@contextmanager
def _passing_on(ranks: Sequence[subprocess.Popen]) -> Iterator[list[tuple[int, int]]]:
    """Signals go to the copies; yields those that came, each with how many copies there were. Outside the main thread: no effect."""
    noted: list[tuple[int, int]] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        noted.append((number, len(ranks)))
        for rank in ranks:
            rank.send_signal(number)

    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _relay(output: IO[bytes] | None) -> None:
    """Show what a copy that failed had to say; rank 0 spoke for itself."""
    if output is not None:
        output.seek(0)
        sys.stderr.write(output.read().decode(errors="replace"))


# ---------------------------------------------------------------- joining


def join(machine: Machine) -> Any:
    """Take this process's place: device, precision and, where there are several processes, their group.

    Args:
        machine: Accelerator, precision, threads. How many processes there are stands in the environment.

    Returns:
        A launched `lightning_fabric.Fabric`.

    Raises:
        UsageError: There is no such accelerator, or there are too few.
    """
    import torch
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
    from lightning_fabric.strategies.ddp import DDPStrategy

    here = place()
    local = here.local if here else 1
    torch.set_num_threads(machine.threads or int(os.environ.get("OMP_NUM_THREADS", "0").partition(",")[0]) or max(1, cores() // local))
    accelerator = _accelerator(machine.accelerator, local)
    if here is None:
        # The environment is named, or Fabric would take one task of a SLURM job for one of many.
        fabric = Fabric(accelerator=accelerator, devices=1, precision=machine.precision, plugins=[LightningEnvironment()])
    else:
        if parent := _starter():
            _leave_with(parent)
        if is_copy():
            _meet(here, "cpu:gloo,cuda:nccl" if accelerator == "cuda" else "gloo")
        os.environ.update(_for_fabric(here, os.environ))
        fabric = Fabric(
            accelerator=accelerator,
            devices=here.local,
            num_nodes=here.world // here.local,
            strategy=DDPStrategy(find_unused_parameters=True, timeout=LONGEST_WAIT),
            precision=machine.precision,
            plugins=[TorchElasticEnvironment()],
        )
    fabric.launch()
    if accelerator == "cuda":
        torch.cuda.init()  # from now on what is seeded is seeded there, too
    return fabric


def device(machine: Machine) -> str:
    """Kind of device that `join` takes: cpu, cuda or mps.

    Raises:
        UsageError: There is no such accelerator, or there are too few.
    """
    here = place()
    return _accelerator(machine.accelerator, here.local if here else 1)


def _accelerator(wanted: str, local: int) -> str:
    import torch

    gpus = torch.cuda.device_count()
    if wanted == "cpu" or (wanted == "auto" and not gpus):
        return "cpu"
    if not gpus and local == 1 and torch.backends.mps.is_available():
        return "mps"
    if gpus < local:
        raise UsageError(f"machine.accelerator {wanted}: {local} GPUs are wanted, torch finds {gpus}: lower machine.devices or choose cpu")
    return "cuda"


def _meet(here: Place, backend: str) -> None:
    import torch

    torch.distributed.init_process_group(
        backend, init_method=f"file://{os.environ[STORE]}", rank=here.rank, world_size=here.world, timeout=LONGEST_WAIT
    )


def _starter() -> int | None:
    """Process without which this one has no purpose: the supervisor, or torchrun, which would leave us behind when it is killed."""
    if is_copy():
        return int(os.environ[PARENT])
    return os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else None


def _leave_with(parent: int) -> None:
    """End this process soon after its supervisor has gone, whatever it is doing."""

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=look, name="parent watch", daemon=True).start()


def leave(fabric: Any) -> None:
    """Wait for all processes and part from them. Only at the end of work that succeeded: after an error nobody would come."""
    import torch

    fabric.barrier()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


# ---------------------------------------------------------------- the lock


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other commands out of a run folder; copies of this command come in with it. The system frees it when the process ends.

    Raises:
        LockedError: Another command works on it.
    """
    from filelock import FileLock, Timeout

    here = place()
    if is_copy() or (here and here.rank):
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise LockedError(f"{folder}: another command works in this run folder: wait for it, stop it, or choose another --out") from error
    try:
        yield
    finally:
        lock.release()
