"""What the speed benchmarks share: two arms measured in turn in one process, and the record made of them.

Times are CPU seconds of this process and its threads, which other work on the machine disturbs less than the clock's. A ratio is made of
each round by itself, whose arms saw the same machine; reported are its median and the range of the middle half of the rounds.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from smidgen.core.codec import write_atomically
from smidgen.core.machine import cores, versions

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "speed"


def seconds(work: Callable[[], Any]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def in_turn(arms: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each arm, round by round; which comes first alternates, and a first round is not counted."""
    found: dict[str, list[float]] = {name: [] for name in arms}
    for n in range(rounds + 1):
        for name in list(arms)[:: 1 if n % 2 else -1]:
            took = seconds(arms[name])
            if n:
                found[name].append(took)
    return found


def ratio(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    """Of two arms' times, round by round: median, and the quartiles."""
    each = [one / other for one, other in zip(above, below, strict=True)]
    low, middle, high = statistics.quantiles(each, n=4) if len(each) > 1 else (each[0],) * 3
    return {"median": round(middle, 4), "low": round(low, 4), "high": round(high, 4)}


def keep(name: str, question: str, figures: Mapping[str, Any], settings: Mapping[str, Any], *, reached: bool | None) -> None:
    """Write `results/speed/NAME.json` and print it.

    Args:
        name: Of the benchmark.
        question: What was measured, against what.
        figures: What was found.
        settings: Sizes and repetitions.
        reached: Whether the aim was met; None: there is none.
    """
    record = {"name": name, "question": question, "reached": reached, "figures": dict(figures), "settings": dict(settings)}
    record |= {"machine": f"{platform.machine()}, {cores()} cores", "versions": versions(), "commit": _commit()}
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_atomically(RESULTS / f"{name}.json", lambda part: part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8"))
    print(f"{name}: {question}")
    for label, value in figures.items():
        print(f"  {label}: {json.dumps(value)}")
    print({None: "", True: "  reached", False: "  NOT reached"}[reached])


def missing(package: str) -> int:
    """Say how to install what is compared with; the exit code."""
    print(f"this benchmark compares with {package}, which is not installed: .venv/bin/pip install {package}", file=sys.stderr)
    return 2


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
