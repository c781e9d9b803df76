"""Several processes: started, ended, told to stop; the lock; and SIGKILL at any moment."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from smidgen.core import processes
from smidgen.core.errors import LockedError, UsageError
from smidgen.core.processes import Place, locked, must_supervise, place, supervise
from smidgen.core.settings import Machine

KILLABLE = str(Path(__file__).with_name("killable.py"))


# ---------------------------------------------------------------- who started us


def test_places_are_read_from_the_environment():
    assert place({}) is None
    assert place({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}) == Place(3, 4, 2)
    slurm = {"SLURM_PROCID": "1", "SLURM_NTASKS": "4", "SLURM_NNODES": "2"}
    assert place(slurm | {"SLURM_STEP_ID": "0"}) == Place(1, 4, 2)
    assert place(slurm) is None  # a job's script, not a task that srun started
    assert place(slurm | {"SLURM_STEP_ID": "0", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}) is None


def test_slurms_variables_become_torchruns():
    """Fabric would refuse tasks that are not counted per node, and jobs called bash."""
    slurm = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_LOCALID": "1", "SLURM_NODEID": "1"}
    slurm |= {"SLURM_JOB_ID": "123456", "SLURM_JOB_NODELIST": "gpu[03-05,9],cpu1", "SLURM_JOB_NAME": "bash"}
    here = place(slurm)
    assert processes._for_fabric(here, slurm) == {
        "TORCHELASTIC_RUN_ID": "smidgen", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "1", "GROUP_RANK": "1",
        "MASTER_ADDR": "gpu03", "MASTER_PORT": "18456",
    }  # fmt: skip
    one = processes._for_fabric(Place(1, 2, 2), slurm | {"MASTER_PORT": "7"})
    assert (one["MASTER_ADDR"], one["GLOO_SOCKET_IFNAME"]) == ("127.0.0.1", processes._loopback())
    assert "MASTER_PORT" not in one  # what the user says stays
    with pytest.raises(UsageError, match="give all machines as many"):
        processes._for_fabric(Place(0, 3, 2), slurm)
    hosts = {"a": "a", "a,b": "a", "gpu03": "gpu03", "n[1,3]": "n1", "n-[01-04]-x": "n-01-x"}
    assert {nodes: processes._first_host(nodes) for nodes in hosts} == hosts


def test_torchruns_variables_stay(monkeypatch):
    torchrun = {
        "RANK": "1",
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "here",
        "MASTER_PORT": "1",
        "TORCHELASTIC_RUN_ID": "x",
    }
    assert set(processes._for_fabric(place(torchrun), torchrun)) == {"GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"}
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    assert processes._starter() == os.getppid()  # torchrun leaves its workers behind when it is killed
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    assert processes._starter() is None


def test_one_process_speaks(monkeypatch):
    assert processes.speaks()
    for rank, expected in (("0", True), ("1", False)):
        for name, value in {"RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
            monkeypatch.setenv(name, value)
        assert processes.speaks() is expected
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv(processes.STORE, "set")
    assert not processes.speaks()  # the supervisor does


def test_who_supervises(monkeypatch):
    assert must_supervise(2)
    assert not must_supervise(1)
    monkeypatch.setattr(sys, "platform", "win32")
    assert not must_supervise(1)
    with pytest.raises(UsageError, match="Linux and macOS only: leave it at 1"):
        must_supervise(2)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "2")
    assert not must_supervise(2)


def test_an_accelerator_that_is_not_there_is_refused(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert [processes._accelerator(wanted, 1) for wanted in ("auto", "gpu", "cpu")] == ["cuda", "cuda", "cpu"]
    with pytest.raises(UsageError, match=r"2 GPUs are wanted, torch finds 1: lower machine\.devices or choose cpu"):
        processes._accelerator("auto", 2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert processes._accelerator("auto", 2) == "cpu"


def test_alone_it_is_one_process():
    import torch

    fabric = processes.join(Machine(accelerator="cpu", precision="bf16-mixed", threads=1))
    assert (fabric.world_size, fabric.device.type, fabric.strategy.precision.precision) == (1, "cpu", "bf16-mixed")
    assert torch.get_num_threads() == 1
    processes.leave(fabric)


# ---------------------------------------------------------------- supervising, with programs that import nothing

TOLD = "import os, sys; rank, world = os.environ['RANK'], os.environ['WORLD_SIZE']; folder = sys.argv[1]\n"
WAITS = TOLD + "import signal, time\nopen(f'{folder}/{rank}', 'w').close()\n"


def supervised(folder, program: str, devices: int = 2) -> int:
    return supervise(devices, folder, ["-c", program, str(folder)])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_every_copy_is_told_its_rank(tmp_path):
    assert supervised(tmp_path, TOLD + "open(f'{folder}/{rank} of {world}', 'w').close()", devices=3) == 0
    assert names(tmp_path) == ["0 of 3", "1 of 3", "2 of 3"]


def test_the_store_of_a_killed_supervisor_is_removed(tmp_path):
    (tmp_path / ".store-0123abcd").touch()
    assert supervised(tmp_path, TOLD) == 0
    assert names(tmp_path) == []


def test_copies_meet_wherever_the_run_folder_is_named_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert supervised(Path("runs"), TOLD + "open(f'{folder}/{rank}', 'w').write(os.environ['SMIDGEN_STORE'])") == 0
    assert [Path((tmp_path / "runs" / rank).read_text()).parent for rank in "01"] == 2 * [tmp_path / "runs"]


@pytest.mark.parametrize(("end", "code"), [("sys.exit(3)", 3), ("os.kill(os.getpid(), 9)", 137)])
def test_when_one_fails_all_are_ended(tmp_path, capfd, end, code):
    started = time.monotonic()
    program = TOLD + f"import time\nif rank == '0': time.sleep(60)\nsys.stderr.write('what it was')\nsys.stderr.flush()\n{end}"
    assert supervised(tmp_path, program) == code
    assert time.monotonic() - started < 5
    assert capfd.readouterr().err == "what it was"


def test_one_that_does_not_listen_is_ended_too(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "GRACE_SECONDS", 0.3)
    deaf = "import signal, time\nif rank == '0':\n signal.signal(signal.SIGTERM, signal.SIG_IGN)\n time.sleep(60)\n"
    deaf += "time.sleep(0.3)\nsys.exit(3)"
    assert supervised(tmp_path, TOLD + deaf) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_passed_on_and_waited_for(tmp_path, number):
    polite = (
        f"def leave(*_):\n  time.sleep(0.2)\n  open(f'{{folder}}/{{rank}} saved', 'w').close()\n  sys.exit(130)\n"
        f"signal.signal({int(number)}, leave)\nopen(f'{{folder}}/{{rank}} ready', 'w').close()\ntime.sleep(60)"
    )

    def press():
        while len(list(tmp_path.glob("* ready"))) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    threading.Thread(target=press).start()
    before = signal.getsignal(number)
    assert supervised(tmp_path, WAITS + polite) == 130
    assert signal.getsignal(number) is before
    assert len(list(tmp_path.glob("* saved"))) == 2


def test_a_signal_while_copies_are_started_reaches_the_later_ones_too(tmp_path, monkeypatch):
    start = subprocess.Popen

    def press_after_the_first(*words, **options):
        if (tmp_path / "0 ready").exists():
            return start(*words, **options)
        first = start(*words, **options)
        while not (tmp_path / "0 ready").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        return first

    monkeypatch.setattr(processes.subprocess, "Popen", press_after_the_first)
    begun = time.monotonic()
    program = WAITS + "open(f'{folder}/{rank} ready', 'w').close()\ntime.sleep(60)"
    assert supervised(tmp_path, program) == 130
    assert time.monotonic() - begun < 30


# ---------------------------------------------------------------- the lock


def test_a_second_command_is_refused(tmp_path):
    with (
        locked(tmp_path / "RUN"),
        pytest.raises(LockedError, match=r"RUN: another command works in this run folder.*--out") as caught,
        locked(tmp_path / "RUN"),
    ):
        pass
    assert caught.value.exit_code == 2
    with locked(tmp_path / "RUN"):
        pass


def test_copies_of_a_command_come_in_with_it(tmp_path, monkeypatch):
    with locked(tmp_path):
        monkeypatch.setenv(processes.STORE, "set")
        with locked(tmp_path):
            pass
        monkeypatch.delenv(processes.STORE)
        for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
            monkeypatch.setenv(name, value)
        with locked(tmp_path):
            pass
        monkeypatch.setenv("RANK", "0")
        with pytest.raises(LockedError), locked(tmp_path):
            pass


# ---------------------------------------------------------------- SIGKILL


def started(folder: Path, devices: int, pause: float = 0.1) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, KILLABLE, str(folder), str(devices)], env=os.environ | {"PAUSE": str(pause)})


def wait_for(folder: Path, pattern: str, count: int, command: subprocess.Popen) -> None:
    until = time.monotonic() + 120
    while len([path for path in folder.glob(f"stages/toy/{pattern}") if not path.name.startswith(".")]) < count:
        assert command.poll() is None and time.monotonic() < until, "it ended before it could be killed"
        time.sleep(0.01)


def result(folder: Path) -> str:
    """Hash of all values, and of the network through the last of them."""
    hashed = hashlib.sha256()
    for path in sorted(folder.glob("stages/toy/*/*.npz")):
        with np.load(path) as file:
            hashed.update(path.name.encode() + file["value"].tobytes())
    return hashed.hexdigest()


def test_killed_in_a_map_and_in_a_fit_it_ends_as_undisturbed(tmp_path, monkeypatch):
    """Two real kills; the other runs are calls in this process."""
    monkeypatch.syspath_prepend(Path(KILLABLE).parent)
    import killable

    assert killable.main(tmp_path / "undisturbed", 1) == 0
    run = tmp_path / "killed"
    command = started(run, 1)
    wait_for(run, "01-heat/*.npz", 2, command)
    assert killable.main(run, 1) == 2  # it is at work
    command.kill()
    command.wait()
    command = started(run, 1)
    wait_for(run, "02-mean/last.pt", 1, command)
    command.kill()
    command.wait()
    assert len(list(run.glob("stages/toy/01-heat/*.npz"))) == 16
    assert not (run / "stages/toy/02-mean/finished").exists()
    assert killable.main(run, 1) == 0  # the lock is free at once
    assert result(run) == result(tmp_path / "undisturbed")


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["supervisor", "rank 0", "rank 1"])
@pytest.mark.parametrize("where", ["01-heat/*.npz", "02-mean/last.pt"])
@pytest.mark.parametrize("time_of_day", [0, 1])
def test_two_processes_killed_anywhere_end_as_undisturbed(tmp_path, two_undisturbed, victim, where, time_of_day):
    command = started(tmp_path, 2)
    wait_for(tmp_path, where, 1, command)
    time.sleep(random.Random(f"{victim} {where} {time_of_day}").random() * 0.5)
    supervisor = psutil.Process(command.pid)
    ranks = sorted(supervisor.children(), key=lambda child: child.pid)
    {"supervisor": supervisor, "rank 0": ranks[0], "rank 1": ranks[1]}[victim].kill()
    command.wait(20)
    _, alive = psutil.wait_procs(ranks, timeout=8)
    assert alive == []
    assert started(tmp_path, 2, pause=0).wait(240) == 0
    assert result(tmp_path) == two_undisturbed


@pytest.fixture(scope="module")
def two_undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    assert started(folder, 2, pause=0).wait(240) == 0
    return result(folder)
