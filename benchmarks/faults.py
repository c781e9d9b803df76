"""Kills and interrupts a small run at random moments, goes on with the same command, and compares what comes out with an undisturbed run.

`python benchmarks/faults.py [KILLS]` takes about 40 minutes on two quiet cores with its 50 kills. It prints a table and keeps every part in
`results/faults.json` as it goes: called again, it does what is missing.

SIGKILL: in every phase of a run (its start, each stage, the report), at a moment drawn evenly from the time that the phase takes. After
each kill every file under its final name must parse; in the end model, scores, maps and labels must be the same bytes, with no temporary
file left.
SIGINT (Ctrl-C): in every phase once; it must end with exit code 130 and a line on how to go on.
Two processes: SIGKILL of the command that was typed, or of either of its copies, while they share images or train; all must be gone soon.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml
from PIL import Image

import smidgen
from smidgen.core.codec import write_atomically

SOURCE = Path(smidgen.__file__).parents[1]
RESULT = Path(__file__).parent / "results" / "faults.json"
KILLS = 50
START, END = "start", "report"
"""What comes before the first stage, and after the last."""
STAGE = re.compile(r"^\S+ \S+ (\w+) (\w+) [0-9a-f]{10}( \(finished before\))?$", re.MULTILINE)
DONE = re.compile(r"^\S+ \S+ (\w+ \w+): [\d.]+ s in all", re.MULTILINE)
SETTINGS: dict[str, Any] = {
    "builds_on": "small",
    "gap": {"steps": 24, "batch": 4, "long_side": [48, 48], "crop": 48, "score_size": 0, "stride": 8},
    "advcam": {"steps": 12, "size": 0, "scales": [1.0]},
    "walk": {"steps": 24, "batch": 4, "crop": 32, "walk_steps": 8, "background": 0.95},
    "deletion": {"images": 12, "draws": 2, "size": 0},
    "supervised": {"steps": 30, "epochs": 0, "batch": 4, "crop": 32, "warmup": 0},
    "machine": {"threads": 1, "accelerator": "cpu", "checkpoint_seconds": 0.3},
}
"""A second or more a stage on a quiet machine, with many checkpoints; what is learned is enough for labels that differ."""


# ---------------------------------------------------------------- the run


def write_data(folder: Path, images: int = 24) -> Path:
    """Photos of red squares and green discs on gray, with tags, masks and a split."""
    draw = np.random.default_rng(1)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[tuple[str, str]]] = {"tags": [], "split": []}
    down, across = np.ogrid[:40, :48]
    for i in range(images):
        image, label = draw.integers(100, 140, (40, 48, 3)).astype(np.uint8), np.zeros((40, 48), np.uint8)
        y, x, kind = draw.integers(12, 28), draw.integers(12, 36), i % 3
        inside = (abs(down - y) < 8) & (abs(across - x) < 8) if kind == 1 else (down - y) ** 2 + (across - x) ** 2 < 64
        if kind:
            image[inside], label[inside] = ((220, 40, 40), 1) if kind == 1 else ((40, 200, 60), 2)
        Image.fromarray(image).save(folder / "images" / f"p{i:02}.png")
        Image.fromarray(label).save(folder / "masks" / f"p{i:02}.png")
        rows["tags"].append((f"p{i:02}.png", ("", "square", "disc")[kind]))
        rows["split"].append((f"p{i:02}.png", "val" if i % 4 == 3 else "train"))
    (folder / "classes.txt").write_text("background\nsquare\ndisc\n")
    for name, table in rows.items():
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("filename", name), *table])
    return folder


@dataclass
class Work:
    """One start of the command.

    Args:
        run: Run folder.
        process: What was started.
        since: Length of `log.txt` when it was started.
        said: File with what it said.
    """

    run: Path
    process: subprocess.Popen
    since: int
    said: Path
    begun: float = field(default_factory=time.monotonic)

    def log(self) -> str:
        """What this start has logged so far."""
        path = self.run / "log.txt"
        return path.read_bytes()[self.since :].decode(errors="replace") if path.exists() else ""

    def phase(self, stages: int) -> int:
        """Number of the phase it is in: 0 before the first stage, 1 … in that stage, `stages` + 1 after the last."""
        found = list(STAGE.finditer(text := self.log()))
        finished = sum(bool(one[3]) for one in found) + len(DONE.findall(text))
        return stages + 1 if len(found) == stages and finished == stages else len(found)

    def wait(self) -> int:
        """Its exit code."""
        return self.process.wait(600)


class Bench:
    """A folder for data, a copy of the source and runs, and what was found so far, which is kept in a file."""

    def __init__(self, place: Path, result: Path):
        self.place, self.result = place, result
        self.found: dict[str, Any] = json.loads(result.read_text()) if result.exists() else {}
        place.mkdir(parents=True, exist_ok=True)
        if not (place / "data").exists():
            write_data(place / "data.new").rename(place / "data")
        if not (place / "src").exists():  # edits meanwhile would change KEYs
            shutil.copytree(SOURCE, place / "src.new", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            (place / "src.new").rename(place / "src")
        (place / "quick.yaml").write_text(yaml.safe_dump(SETTINGS))

    def keep(self, name: str, value: Any) -> None:
        """Write a finding down."""
        self.found[name] = value
        self.result.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.result, lambda part: part.write_text(json.dumps(self.found, indent=1)))

    def start(self, name: str, devices: int = 1) -> Work:
        """Start the command, or go on with it."""
        run = self.place / name
        words = ["train", str(self.place / "data"), "--use", "tags", "--out", str(run), "--preset", str(self.place / "quick.yaml")]
        if devices > 1:
            words += ["--machine.devices", str(devices), "--machine.workers", "1"]
        log, said = run / "log.txt", self.place / f"{name}.said"
        environment = os.environ | {"PYTHONPATH": str(self.place / "src"), "OMP_NUM_THREADS": "1"}
        with said.open("ab") as output:
            process = subprocess.Popen([sys.executable, "-m", "smidgen", *words], env=environment, stdout=output, stderr=output)
        return Work(run, process, log.stat().st_size if log.exists() else 0, said)

    def undisturbed(self, devices: int = 1) -> dict[str, Any]:
        """Phases with their seconds, and what came out."""
        name = f"undisturbed-{devices}"
        if name not in self.found or not (self.place / name).exists():
            shutil.rmtree(self.place / name, ignore_errors=True)
            work, moments = self.start(name, devices), [(0, time.monotonic())]
            while work.process.poll() is None:
                if (phase := work.phase(10**6)) != moments[-1][0]:
                    moments.append((phase, time.monotonic()))
                time.sleep(0.002)
            if work.wait():
                raise SystemExit(f"the undisturbed run failed: see {work.said}")
            names = [one[1] for one in STAGE.finditer(work.log())]
            done = [name + (f" {n}" if (n := names[: i + 1].count(name)) > 1 else "") for i, name in enumerate(names)]
            reported = _report_began(work)
            times = [moment for _, moment in moments] + [work.begun + reported, time.monotonic()]
            seconds = [max(after - before, 0.01) for before, after in pairwise(times)]
            self.keep(name, {"phases": [START, *done, END], "seconds": seconds, "made": made(work.run), "leftovers": leftovers(work.run)})
        return self.found[name]


def _report_began(work: Work) -> float:
    """Seconds after the start at which the scores were written; the last stage had just ended."""
    files = sorted(work.run.glob("stages/predict-*/cost.json"), key=lambda path: path.stat().st_mtime)
    return files[-1].stat().st_mtime - (time.time() - time.monotonic() + work.begun)


def made(run: Path) -> dict[str, str]:
    """Hashes of what a user keeps of a run, and of all values behind it: maps, labels, predictions."""
    kept = [run / "scores.json", *(run / "model").iterdir(), *run.glob("stages/*/*/*.npz")]
    return {path.relative_to(run).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in sorted(kept)}


def leftovers(run: Path) -> list[str]:
    """Temporary files."""
    return [path.relative_to(run).as_posix() for path in sorted(run.rglob(".*")) if path.name != ".lock"]


def broken(run: Path) -> list[str]:
    """Files under their final names that can't be read."""
    found = []
    for path in sorted(run.rglob("*")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(run).parts):
            try:
                _read(path)
            except Exception as error:
                found.append(f"{path.relative_to(run)}: {type(error).__name__}: {error}")
    return found


def _read(path: Path) -> None:
    import safetensors.numpy
    import torch

    readers: dict[str, Callable[[Path], Any]] = {
        ".npz": lambda p: [array.sum for array in np.load(p, allow_pickle=False).values()],
        ".json": lambda p: json.loads(p.read_text(encoding="utf-8")),
        ".yaml": lambda p: yaml.safe_load(p.read_text(encoding="utf-8")),
        ".pt": lambda p: torch.load(p, weights_only=True),
        ".safetensors": safetensors.numpy.load_file,
        ".html": lambda p: p.read_text(encoding="utf-8").rstrip().endswith(">") or _complain("no end"),
        ".csv": lambda p: len({len(row) for row in csv.reader(p.open(newline=""))}) == 1 or _complain("rows of several lengths"),
        ".txt": lambda p: p.read_text(encoding="utf-8"),
    }
    readers.get(path.suffix, Path.read_bytes)(path)


def _complain(what: str) -> None:
    raise ValueError(what)


# ---------------------------------------------------------------- what is done to it


def reach(work: Work, phase: int, stages: int, calm: float) -> float:
    """Wait until a run is in a phase, or done; returns its start's seconds, as a multiple of the `calm` ones of the undisturbed run."""
    pace = 1.0
    while (now := work.phase(stages)) < phase and work.process.poll() is None:
        if now == 0:
            pace = (time.monotonic() - work.begun) / calm
        time.sleep(0.002)
    return pace if phase else 1.0


def strike(bench: Bench, name: str, phase: int, share: float, number: int, devices: int = 1) -> tuple[Work, dict[str, Any]] | None:
    """Start the command and send it a signal when a phase is done to this share; None: it was done before."""
    calm = bench.undisturbed(devices)
    stages = len(calm["phases"]) - 2
    work = bench.start(name, devices)
    pace = reach(work, phase, stages, calm["seconds"][0])
    time.sleep(pace * share * calm["seconds"][phase])
    if work.process.poll() is not None:
        return _ended(work)
    hit = work.phase(stages)
    work.process.send_signal(number)
    return work, {"phase": hit, "after": round(time.monotonic() - work.begun, 3)}


def _ended(work: Work) -> None:
    if work.wait():
        raise SystemExit(f"the command failed by itself: see {work.said}")


def chain(bench: Bench, name: str, phases: Sequence[int], draw: random.Random, number: int) -> dict[str, Any]:
    """One run that is struck once in each of these phases, and then goes on to its end."""
    calm = bench.undisturbed()
    shutil.rmtree(bench.place / name, ignore_errors=True)
    struck = []
    for phase in phases:
        tries = (strike(bench, name, phase, draw.random(), number) for _ in range(8))  # one that came too late hit nothing
        if (hit := next(filter(None, tries), None)) is None:
            continue
        work, row = hit
        struck_at = time.monotonic()
        code = work.wait()
        row |= {"phase": calm["phases"][row["phase"]], "code": code, "seconds": round(time.monotonic() - struck_at, 2)}
        row |= {"broken": broken(work.run), "said": work.said.read_text(errors="replace").strip().splitlines()[-1:]}
        struck.append(row)
    last = bench.start(name)
    same = not (code := last.wait()) and made(last.run) == calm["made"]
    return {"struck": struck, "code": code, "equal": same, "broken": broken(last.run), "leftovers": leftovers(last.run)}


def two_processes(bench: Bench, name: str, victim: str, stage: str, draw: random.Random) -> dict[str, Any]:
    """SIGKILL of one of three processes in a stage: when are all gone, and what does the same command make of it?"""
    calm = bench.undisturbed(2)
    stages, phase = len(calm["phases"]) - 2, calm["phases"].index(stage)
    shutil.rmtree(bench.place / name, ignore_errors=True)
    work = bench.start(name, 2)
    pace = reach(work, phase, stages, calm["seconds"][0])
    time.sleep(pace * draw.random() * calm["seconds"][phase] * 0.9)
    if work.process.poll() is not None:
        raise SystemExit(f"the command ended by itself: see {work.said}")
    typed = psutil.Process(work.process.pid)
    copies = sorted(typed.children(), key=lambda child: child.pid)
    family = [typed, *typed.children(recursive=True)]
    {"typed": typed, "rank 0": copies[0], "rank 1": copies[1]}[victim].kill()
    struck_at, hit = time.monotonic(), work.phase(stages)
    while any(map(_alive, family)) and time.monotonic() - struck_at < 60:
        work.process.poll()
        time.sleep(0.02)
    row: dict[str, Any] = {"victim": victim, "phase": calm["phases"][hit], "processes": len(family)}
    row |= {"seconds": round(time.monotonic() - struck_at, 2), "left": sum(map(_alive, family)), "broken": broken(work.run)}
    code = bench.start(name, 2).wait()
    return row | {"code": code, "equal": not code and made(work.run) == calm["made"], "leftovers": leftovers(work.run)}


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# ---------------------------------------------------------------- the whole of it


def chains(kills: int, phases: int) -> Iterator[list[int]]:
    """Phases to be struck, run by run: each as often as the others, as near as that goes."""
    while kills > 0:
        picked = range(phases) if kills >= phases else sorted({round(i * (phases - 1) / max(kills - 1, 1)) for i in range(kills)})
        yield list(picked)
        kills -= len(picked)


def measure(bench: Bench, kills: int, more: bool = True) -> dict[str, Any]:
    """Do what is missing; returns all findings.

    Args:
        bench: Where.
        kills: How many.
        more: Whether to interrupt, and to kill two processes, too.
    """
    phases = len(bench.undisturbed()["phases"])
    bench.keep("settings", {"kills": kills, "images": 24, **SETTINGS})
    jobs: dict[str, Callable[[], Any]] = {
        f"killed-{i}": lambda i=i, picked=picked: chain(bench, f"killed-{i}", picked, random.Random(f"kill {i}"), signal.SIGKILL)
        for i, picked in enumerate(chains(kills, phases))
    }
    if more:
        jobs["interrupted"] = lambda: chain(bench, "interrupted", range(phases), random.Random("interrupt"), signal.SIGINT)
        for victim in ("typed", "rank 0", "rank 1"):
            for stage in ("localize", "segment"):
                name = f"two-{victim.replace(' ', '-')}-{stage}"
                jobs[name] = lambda name=name, victim=victim, stage=stage: two_processes(bench, name, victim, stage, random.Random(name))
    for name, job in jobs.items():
        if name not in bench.found:
            bench.keep(name, job())
            print(f"{name}: {json.dumps({key: value for key, value in bench.found[name].items() if key != 'struck'})}", flush=True)
    bench.keep("summary", summary(bench.found))
    return bench.found


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """The figures."""
    runs = [one for name, one in found.items() if name.startswith("killed-")]
    kills = [row for one in runs for row in one["struck"]]
    pressed = found.get("interrupted", {"struck": []})
    two = [one for name, one in found.items() if name.startswith("two-")]
    everything = [*runs, *two, *([pressed] if pressed["struck"] else [])]
    return {
        "kills": len(kills),
        "kills_by_phase": {phase: sum(row["phase"] == phase for row in kills) for phase in found["undisturbed-1"]["phases"]},
        "runs": len(runs),
        "runs_equal": sum(one["equal"] for one in runs),
        "half_written": sum(len(row["broken"]) for row in (*kills, *everything)),
        "leftovers": sum(len(one["leftovers"]) for one in everything),
        "interrupts": {row["phase"]: {"seconds": row["seconds"], "code": row["code"], "said": row["said"]} for row in pressed["struck"]},
        "interrupted_equal": pressed.get("equal"),
        "two_processes": [{key: one[key] for key in ("victim", "phase", "seconds", "left", "equal")} for one in two],
    }


def show(figures: dict[str, Any]) -> None:
    """Print the table."""
    print(f"SIGKILL at {figures['kills']} moments; {figures['runs_equal']} of {figures['runs']} runs that went on ended as undisturbed;")
    print(f"  files half-written: {figures['half_written']}; temporary files left in the end: {figures['leftovers']}")
    print("  by phase: " + ", ".join(f"{phase} {count}" for phase, count in figures["kills_by_phase"].items()))
    if figures["interrupts"]:
        print(f"Ctrl-C, once in each phase; the run ended as undisturbed: {figures['interrupted_equal']}")
        for phase, one in figures["interrupts"].items():
            print(f"  {phase:10}{one['seconds']:6.2f} s   exit code {one['code']}   {' '.join(one['said'])}")
    if figures["two_processes"]:
        print("SIGKILL of one of two processes, or of the command that started them")
        for one in figures["two_processes"]:
            end = "as undisturbed" if one["equal"] else "NOT as undisturbed"
            print(f"  {one['victim']:8}in {one['phase']:10}all gone after {one['seconds']:5.2f} s ({one['left']} left); ended {end}")


def main() -> int:
    """Measure and show; 0 if nothing was lost."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and so would all it starts
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else KILLS
    place = Path(os.environ.get("SMIDGEN_FAULTS", Path(tempfile.gettempdir()) / "smidgen-faults"))
    figures = measure(Bench(place, RESULT), kills)["summary"]
    show(figures)
    good = figures["runs_equal"] == figures["runs"] and not figures["half_written"] and not figures["leftovers"]
    pressed = all(one["code"] in (0, 130) and one["seconds"] <= 5 for one in figures["interrupts"].values())  # 0: all was done
    good = good and pressed and figures["interrupted_equal"]
    return int(not (good and all(one["equal"] and not one["left"] and one["seconds"] <= 10 for one in figures["two_processes"])))


if __name__ == "__main__":
    sys.exit(main())
