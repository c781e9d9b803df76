"""Training that is interrupted or killed anywhere: the same call, or the same command, ends with the same model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

import smidgen
from smidgen.core.conventions import INTERRUPTED
from smidgen.core.screen import Silent


def made(run: Path) -> dict[str, bytes]:
    """What a user keeps of a run, and the pseudo-masks behind it."""
    kept = [run / "scores.json", *(run / "model").iterdir(), *run.glob("stages/label-*/*/*.npz")]
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in sorted(kept)}


# ---------------------------------------------------------------- in this process


def at_once() -> None:
    """As a second Ctrl-C: nothing is saved any more."""
    raise KeyboardInterrupt


def politely() -> None:
    """As a first Ctrl-C: the work is saved, then left."""
    os.kill(os.getpid(), signal.SIGINT)


PRESSES = {
    "classify": at_once,
    "localize": politely,
    "refine": politely,
    "label": at_once,
    "check": at_once,
    "segment": politely,
    "predict": at_once,
}
"""In a fit and in a map each."""


class Interrupted(Silent):
    """Ctrl-C after the first item or step of each stage, once each."""

    def __init__(self):
        self.now, self.pressed = "", []

    def stage(self, stage, method, key, done):
        self.now = stage

    @contextmanager
    def step(self, name, total, done, unit):
        yield self

    def advance(self, count=1, facts=None):
        if self.now and self.now not in self.pressed:
            self.pressed.append(self.now)
            PRESSES[self.now]()


def test_interrupted_in_every_stage_it_goes_on_to_the_same_model(folder, tmp_path, quick):
    words = {"use": "tags", "preset": "small", "settings": quick | {"machine": {"threads": 1}}}
    undisturbed = made(smidgen.train(folder, out=tmp_path / "undisturbed", **words).folder)
    assert {"model/model.safetensors", "scores.json"} < set(undisturbed)
    assert sum(name.endswith(".npz") for name in undisturbed) == 9
    screen, run = Interrupted(), tmp_path / "run"
    for stage in PRESSES:
        with pytest.raises(KeyboardInterrupt):
            smidgen.train(folder, out=run, screen=screen, **words)
        assert screen.pressed[-1] == stage
        assert not (run / "model").exists()
    assert next(run.glob("stages/segment-*/01-train/last.pt")).is_file()
    smidgen.train(folder, out=run, screen=screen, **words)
    assert made(run) == undisturbed


# ---------------------------------------------------------------- the real command


def command(folder: Path, run: Path, quick: dict) -> list[str]:
    """The words of a training that takes long enough to be killed in."""
    settings = quick | {"advcam": quick["advcam"] | {"steps": 40}, "supervised": quick["supervised"] | {"steps": 120}}
    words = [sys.executable, "-m", "smidgen", "train", str(folder), "--use", "tags", "--out", str(run), "--preset", "small"]
    for group, values in (settings | {"machine": {"threads": 1}}).items():
        for name, value in values.items():
            words += [f"--{group}.{name.replace('_', '-')}", *map(str, value if isinstance(value, tuple) else [value])]
    return words


def started(words: list[str], log: Path) -> subprocess.Popen:
    with log.open("a") as output:
        return subprocess.Popen(words, stdout=output, stderr=output)


def wait_until(there, work: subprocess.Popen) -> None:
    until = time.monotonic() + 120
    while not there():
        assert work.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.005)


def steps_logged(run: Path) -> int:
    """Steps of the segmentation network that the log tells of."""
    lines = [line for log in run.glob("stages/segment-*/01-train/log.csv") for line in log.read_text().splitlines()[1:]]
    return max((int(line.partition(",")[0]) for line in lines), default=0)


@pytest.mark.slow
def test_the_command_killed_in_a_map_and_in_a_fit_ends_as_undisturbed(folder, tmp_path, quick):
    subprocess.run(command(folder, tmp_path / "undisturbed", quick), check=True, stdout=subprocess.DEVNULL)
    run, log = tmp_path / "killed", tmp_path / "said.txt"
    words = command(folder, run, quick)

    work = started(words, log)
    wait_until(lambda: any(run.glob("stages/localize-*/01-climbs/*.npz")), work)
    work.kill()
    assert work.wait() == -signal.SIGKILL
    assert len(list(run.glob("stages/localize-*/01-climbs/*.npz"))) < 9
    assert not any(run.glob("stages/refine-*"))

    work = started(words, log)
    wait_until(lambda: steps_logged(run) >= 20, work)
    work.send_signal(signal.SIGINT)  # saves, so the kill that follows has something to go on from
    assert work.wait(60) == INTERRUPTED
    assert "the same command goes on" in log.read_text()
    saved = steps_logged(run)

    work = started(words, log)
    wait_until(lambda: steps_logged(run) >= saved + 20, work)
    work.kill()
    assert work.wait() == -signal.SIGKILL
    assert steps_logged(run) < 120
    assert not any(run.glob("stages/segment-*/01-train/finished"))
    assert not (run / "model").exists()

    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    assert made(run) == made(tmp_path / "undisturbed")
    assert json.loads((run / "scores.json").read_text())["val"]["images"] == 3
