"""The command within torchrun, SLURM's variables, and `--devices`: one process's numbers, one report, nothing said twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import safetensors.numpy

import smidgen
from smidgen.core.errors import SettingsError

MACHINE = {"threads": 1, "accelerator": "cpu"}
STILL = {"fpn": {"dropout": 0.0}, "supervised": {"scale": (1.0, 1.0)}}
"""No noise of a process's own, and as many pixels with a label in each sample."""
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def words(folder: Path, run: Path, quick: dict) -> list[str]:
    """The words of a short training."""
    said = ["-m", "smidgen", "train", str(folder), "--use", "tags", "--out", str(run), "--preset", "small"]
    for group, values in (quick | {"machine": MACHINE}).items():
        for name, value in values.items():
            said += [f"--{group}.{name.replace('_', '-')}", *map(str, value if isinstance(value, tuple) else [value])]
    return said


def items(run: Path, step: str) -> dict[str, np.ndarray]:
    """Labels by image."""
    found = {}
    for path in run.glob(f"stages/{step}/*/*.npz"):
        with np.load(path) as file:
            found[path.stem] = file["label"]
    return found


def made(run: Path) -> dict[str, bytes]:
    """What a user keeps of a run, and all values behind it."""
    kept = [run / "scores.json", *(run / "model").iterdir(), *run.glob("stages/*/*/*.npz")]
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in sorted(kept)}


def alike(one: Path, two: Path) -> None:
    """The same images in every step, and nearly the same numbers: the walk's losses are means over pairs, and each process has its own."""
    assert made(one).keys() == made(two).keys()
    mine, others = items(one, "label-*"), items(two, "label-*")
    assert len(mine) == 9
    assert np.mean([np.mean(mine[id] == others[id]) for id in mine]) > 0.99
    trained, again = (safetensors.numpy.load_file(run / "model" / "model.safetensors") for run in (one, two))
    assert max(float(np.abs(value - again[name]).mean()) for name, value in trained.items()) < 1e-4
    scores, other_scores = (json.loads((run / "scores.json").read_text())["val"]["miou"] for run in (one, two))
    assert scores == pytest.approx(other_scores, abs=0.01)


@pytest.fixture(scope="module")
def environment():
    return {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SMIDGEN"))} | {"OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_devices_and_torchrun_give_one_processs_numbers(folder, tmp_path, quick, environment):
    quick = quick | {"fpn": STILL["fpn"], "supervised": quick["supervised"] | STILL["supervised"]}
    settings = {"use": "tags", "preset": "small", "settings": quick | {"machine": MACHINE}}
    smidgen.train(folder, out=tmp_path / "one", **settings)
    two = smidgen.train(folder, out=tmp_path / "two", devices=2, **settings).folder
    assert json.loads((two / "run.json").read_text())["processes"] == 2
    assert [path.name for path in two.rglob(".*")] == [".lock"]
    alike(tmp_path / "one", two)

    launch = [sys.executable, *TORCHRUN, *words(folder, tmp_path / "torchrun", quick)]
    done = subprocess.run(launch, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("recipe    tags") == 1
    assert done.stdout.count("report    ") == 1
    assert json.loads((tmp_path / "torchrun" / "run.json").read_text())["processes"] == 2
    assert made(tmp_path / "torchrun") == made(two)


@pytest.mark.slow
def test_when_torchrun_is_killed_its_workers_leave_and_the_same_command_goes_on(folder, tmp_path, quick, environment):
    run, slow = tmp_path / "run", quick | {"advcam": quick["advcam"] | {"steps": 20}}
    settings = {"use": "tags", "preset": "small", "settings": slow | {"machine": MACHINE}}
    undisturbed = made(smidgen.train(folder, out=tmp_path / "undisturbed", devices=2, **settings).folder)
    launch = [sys.executable, *TORCHRUN, *words(folder, run, slow)]
    work = subprocess.Popen(launch, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 600
    while not any(run.glob("stages/localize-*/01-climbs/*.npz")):
        assert work.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.01)
    family = psutil.Process(work.pid).children(recursive=True)
    assert len(family) >= 2
    work.kill()
    work.wait()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    assert not any(run.glob("stages/refine-*"))
    subprocess.run(launch, env=environment, check=True, capture_output=True, timeout=900)
    assert made(run) == undisturbed


@pytest.mark.slow
def test_slurm_starts_the_same_command(folder, tmp_path, quick, environment):
    """What `srun --ntasks 2` would set; the job is called bash, and says nothing of tasks per node."""
    slurm = {"SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "2", "SLURM_NNODES": "1", "SLURM_NODEID": "0"}
    slurm |= {"SLURM_JOB_NODELIST": "nowhere[3-4]", "SLURM_JOB_NAME": "bash"}
    tasks = [
        subprocess.Popen(
            [sys.executable, *words(folder, tmp_path / "run", quick)],
            env=environment | slurm | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    said = [task.communicate(timeout=900)[0] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], said
    assert [one.count("report    ") for one in said] == [1, 0]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["processes"] == 2
    assert len(items(tmp_path / "run", "label-*")) == 9


def test_devices_is_the_setting_by_another_name(tmp_path):
    data = smidgen.Dataset(images={"a": np.zeros((8, 8, 3), np.uint8)}, tags={"a": ["x"]})
    with pytest.raises(SettingsError, match="arrays in memory train in one process"):
        smidgen.train(data, out=tmp_path / "run", devices=2)


@pytest.mark.slow
def test_a_home_that_can_not_be_written_and_a_display_that_is_not_there(folder, tmp_path, quick, environment):
    """Rows e20 and e12: a container's home is read-only; a cluster's node has a DISPLAY that leads nowhere."""
    bare = {name: value for name, value in environment.items() if not name.startswith(("XDG", "MPL", "TORCH", "HF_"))}
    bare |= {"HOME": "/proc/nobody", "DISPLAY": "localhost:64.0"}
    done = subprocess.run(
        [sys.executable, *words(folder, tmp_path / "run", quick)], env=bare, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "<svg" in (tmp_path / "run" / "report.html").read_text()
    assert "Traceback" not in done.stderr
    assert done.stderr.lower().count("warning") <= 1
