"""The command within torchrun, SLURM's variables, and `--devices`: one process's numbers, one report, nothing said twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import smidgen
from smidgen.core.errors import SettingsError

WHOLE = {"encoder": {"frozen": 3}, "machine": {"threads": 1, "accelerator": "cpu"}}
"""Nothing that depends on how a batch is shared."""


def words(folder: Path, run: Path, quick: dict) -> list[str]:
    """The words of a short training."""
    said = ["-m", "smidgen", "train", str(folder), "--use", "tags", "--out", str(run), "--preset", "small"]
    for group, values in (quick | {"machine": WHOLE["machine"]}).items():
        for name, value in values.items():
            said += [f"--{group}.{name.replace('_', '-')}", *map(str, value if isinstance(value, tuple) else [value])]
    return said


def items(run: Path, step: str) -> dict[str, np.ndarray]:
    """Labels or scores by image."""
    found = {}
    for path in run.glob(f"stages/{step}/*/*.npz"):
        with np.load(path) as file:
            found[path.stem] = file["label"]
    return found


def alike(one: Path, two: Path) -> bool:
    """The same images labeled, nearly all pixels alike: networks differ by roundings, BatchNorm sees half of each batch."""
    mine, others = items(one, "label-*"), items(two, "label-*")
    assert mine.keys() == others.keys() and len(mine) == 9
    assert set(items(one, "predict-*")) == set(items(two, "predict-*"))
    return np.mean([np.mean(mine[id] == others[id]) for id in mine]) > 0.8


@pytest.fixture(scope="module")
def environment():
    return {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SMIDGEN"))} | {"OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_torchrun_starts_the_same_command(folder, tmp_path, quick, environment):
    smidgen.train(folder, out=tmp_path / "one", use="tags", preset="small", settings=quick | {"machine": WHOLE["machine"]})
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launch, *words(folder, tmp_path / "two", quick)], env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("recipe    tags") == 1
    assert done.stdout.count("report    ") == 1
    assert json.loads((tmp_path / "two" / "run.json").read_text())["processes"] == 2
    assert alike(tmp_path / "one", tmp_path / "two")


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
    said = [task.communicate(timeout=400)[0] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], said
    assert [one.count("report    ") for one in said] == [1, 0]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["processes"] == 2
    assert len(items(tmp_path / "run", "label-*")) == 9


@pytest.mark.slow
def test_devices_from_python(folder, tmp_path, quick):
    run = smidgen.train(folder, out=tmp_path / "run", use="tags", preset="small", devices=2, settings=quick | {"machine": WHOLE["machine"]})
    assert json.loads((run.folder / "run.json").read_text())["processes"] == 2
    assert len(items(run.folder, "label-*")) == 9
    assert [path.name for path in run.folder.rglob(".*")] == [".lock"]


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
        [sys.executable, *words(folder, tmp_path / "run", quick)], env=bare, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "<svg" in (tmp_path / "run" / "report.html").read_text()
    assert "Traceback" not in done.stderr
    assert done.stderr.lower().count("warning") <= 1
