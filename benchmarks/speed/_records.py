"""What the speed benchmarks share: two arms measured in turn in one process, parts that are measured once, and the record made of them.

Times are CPU seconds of this process and its threads, which other work on the machine disturbs less than the clock's. A ratio is made of
each round by itself, whose arms saw the same machine; reported are its median and the range of the middle half of the rounds.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smidgen.core.codec import write_atomically
from smidgen.core.keys import key
from smidgen.core.machine import cores, versions

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "speed"


@dataclass(frozen=True)
class Question:
    """What is measured, against what.

    Args:
        name: Of the record.
        claim: The sentence that is to be shown.
        question: What is asked.
        data: What is worked on.
        metric: What a value is, with its unit.
        baseline: Name of what is compared with.
        settings: Sizes and repetitions.
        aim: What is to be reached, in words; "": nothing.
    """

    name: str
    claim: str
    question: str
    data: str
    metric: str
    baseline: str
    settings: Mapping[str, Any]
    aim: str = ""

    @property
    def path(self) -> Path:
        """Where the record is."""
        return RESULTS / f"{self.name}.json"


@dataclass(frozen=True)
class Part:
    """One case, measured: values of both arms, round by round.

    Args:
        name: What is special about it.
        baseline: Values of what is compared with.
        method: Ours.
        more: What else was found.
        seconds: What measuring took, by the clock.
        key: Of the settings it was measured with.
        commit: Of the code.
    """

    name: str
    baseline: Sequence[float]
    method: Sequence[float]
    more: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    key: str = ""
    commit: str = ""

    @property
    def ratio(self) -> dict[str, float]:
        """Ours over theirs."""
        return ratio(self.method, self.baseline)


def seconds(work: Callable[[], Any]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def in_turn(baseline: Callable[[], Any], method: Callable[[], Any], rounds: int, per: float = 1.0) -> tuple[list[float], list[float]]:
    """CPU seconds of both arms, round by round; which comes first alternates, and a first round is not counted.

    Args:
        baseline: What is compared with.
        method: Ours.
        rounds: How many are counted.
        per: Values are divided by it: images in a call, say.
    """
    found: tuple[list[float], list[float]] = ([], [])
    for n in range(rounds + 1):
        for arm in (0, 1) if n % 2 else (1, 0):
            took = seconds((baseline, method)[arm]) / per
            if n:
                found[arm].append(round(took, 5))
    return found


def ratio(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    """Of two arms' values, round by round: median, and the quartiles."""
    each = [one / other for one, other in zip(above, below, strict=True)]
    low, middle, high = statistics.quantiles(each, n=4) if len(each) > 1 else (each[0],) * 3
    return {"median": round(middle, 4), "low": round(low, 4), "high": round(high, 4)}


def measured(asked: Question, name: str, work: Callable[[], tuple[Sequence[float], Sequence[float], Mapping[str, Any]]]) -> Part:
    """A part of the record: read where it was measured with the same settings, else measured and kept at once.

    Args:
        asked: What it belongs to.
        name: What is special about it.
        work: Returns the values of what is compared with, ours, and what else was found.
    """
    ident = _ident(asked, name)
    parts = _kept(asked)
    if name in parts and parts[name].key == ident:
        return parts[name]
    print(f"  {asked.name}: {name} …", flush=True)
    start = time.monotonic()
    baseline, method, more = work()
    part = Part(name, list(baseline), list(method), dict(more), round(time.monotonic() - start, 1), ident, commit())
    _write(asked, {**parts, name: part})
    return part


def record(asked: Question, parts: Sequence[Part], *, reached: bool | None) -> int:
    """Write `results/speed/NAME.json` and say what it shows.

    Args:
        asked: What was measured.
        parts: The headline comes first.
        reached: Whether the aim was met; None: there is none.

    Returns:
        The exit code.
    """
    _write(asked, {part.name: part for part in parts}, reached=reached)
    print(f"{asked.name}: {asked.claim}")
    for part in parts:
        theirs, ours, found = statistics.median(part.baseline), statistics.median(part.method), part.ratio
        print(
            f"  {part.name}: {asked.baseline} {theirs:.4g}, ours {ours:.4g} {asked.metric}; ratio {found['median']:.3g} {part.more or ''}"
        )
    if reached is not None:
        print(f"  aim: {asked.aim}: {'reached' if reached else 'NOT reached'}")
    return int(reached is False)


def missing(package: str) -> int:
    """Say how to install what is compared with; the exit code."""
    print(
        f"this benchmark compares with {package}, which is not installed and is no dependency: "
        f"pip install --no-deps --target FOLDER {package}, then PYTHONPATH=FOLDER",
        file=sys.stderr,
    )
    return 2


def commit() -> str:
    """The commit that is checked out; with + where files have changed since."""
    done = subprocess.run(["git", "describe", "--always", "--dirty=+"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def kept(asked: Question) -> list[Part]:
    """Parts that were measured with these settings."""
    return [part for name, part in _kept(asked).items() if part.key == _ident(asked, name)]


def _ident(asked: Question, name: str) -> str:
    return key(dict(asked.settings), asked.metric, name)


def _kept(asked: Question) -> dict[str, Part]:
    told = json.loads(asked.path.read_text(encoding="utf-8")) if asked.path.exists() else {}
    return {part["name"]: Part(**part) for part in told.get("parts", [])}


def _write(asked: Question, parts: Mapping[str, Part], *, reached: bool | None = None) -> None:
    """The fields are a claim's; `parts` is what it is made of."""
    first, *others = parts.values()
    whole = {
        "claim": asked.claim,
        "question": asked.question,
        "data": asked.data,
        "split": first.name,
        "metric": asked.metric,
        "higher_is_better": False,
        "baseline": {"name": asked.baseline, "values": first.baseline},
        "method": {"name": "ours", "values": first.method},
        "others": [{"name": part.name, "data": asked.data, "values": part.method, "ratio": part.ratio, **part.more} for part in others],
        "paper": None,
        "seeds": list(range(len(first.method))),
        "settings": dict(asked.settings),
        "seconds": round(sum(part.seconds for part in parts.values()), 1),
        "versions": versions(),
        "commit": sorted({part.commit for part in parts.values()}),
        "cores": cores(),
        "aim": asked.aim,
        "reached": reached,
        "parts": [dataclasses.asdict(part) for part in parts.values()],
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_atomically(asked.path, lambda part: part.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8"))
