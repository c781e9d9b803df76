"""What all claims share: cells that are measured once, and the record that is made of them.

A cell is one arm with one seed: `results/cells/NAME/DATA/ARM-SEED.json`. It is skipped when it is there with the KEY of the same settings.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smidgen.core.codec import write_atomically
from smidgen.core.keys import key
from smidgen.core.machine import cores, versions

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
T_95 = (float("nan"), 12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)
"""Student's t for 95 % intervals, by degrees of freedom."""

Cell = Mapping[str, Any]


@dataclass(frozen=True)
class Claim:
    """One question.

    Args:
        name: Of the record.
        claim: The sentence that is to be shown.
        question: What is asked of the data.
        data: Name of the data set.
        split: What is scored.
        metric: What is measured, with its unit.
        higher_is_better: Whether more is better.
        paper: The paper's figures; None where it has none.
        settings: What both arms share.
    """

    name: str
    claim: str
    question: str
    data: str
    split: str
    metric: str
    higher_is_better: bool
    paper: Mapping[str, Any] | None
    settings: Mapping[str, Any]


def measured(claim: Claim, arm: str, seed: int, settings: Mapping[str, Any], work: Callable[[], Mapping[str, Any]], data: str = "") -> Cell:
    """A cell: read where it is there, else measured and written.

    Args:
        claim: Whose cell.
        arm: Name of the arm.
        seed: Of everything random.
        settings: What the arm does, beside what the claim says; a cell of other settings is measured again.
        work: Returns at least `value`.
        data: Another data set than the claim's.
    """
    path = RESULTS / "cells" / claim.name / (data or claim.data) / f"{arm}-{seed}.json"
    ident = key(dict(claim.settings), dict(settings))
    if path.exists() and (cell := json.loads(path.read_text(encoding="utf-8")))["key"] == ident:
        return cell
    print(f"  {claim.name}: {arm}, seed {seed} …", flush=True)
    start = time.monotonic()
    found = dict(work())
    seconds = round(time.monotonic() - start, 1)
    cell = {"arm": arm, "seed": seed, "key": ident, "commit": commit(), "seconds": seconds, "settings": dict(settings), **found}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda part: part.write_text(json.dumps(cell, indent=1) + "\n", encoding="utf-8"))
    print(f"  {claim.name}: {arm}, seed {seed}: {found['value']:.4g} ({seconds:.0f} s)", flush=True)
    return cell


def commit() -> str:
    """The commit that is checked out; with + where files have changed since."""
    asked = subprocess.run(["git", "describe", "--always", "--dirty=+"], cwd=ROOT, capture_output=True, text=True, check=False)
    return asked.stdout.strip() or "unknown"


@dataclass(frozen=True)
class Row:
    """One row of a record: the same thing with several seeds.

    Args:
        name: What it is, in words.
        cells: One per seed.
        data: Another data set than the claim's.
        note: What a reader has to know.
    """

    name: str
    cells: Sequence[Cell]
    data: str = ""
    note: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """As the record tells it."""
        values = [cell["value"] for cell in self.cells]
        extra = {"data": self.data} if self.data else {}
        extra |= {"note": self.note} if self.note else {}
        return {"name": self.name, "values": values, **extra, **self.more}


def record(claim: Claim, baseline: Row, method: Row, others: Sequence[Row] = ()) -> None:
    """Write `results/NAME.json` and say what it shows."""
    cells = [*baseline.cells, *method.cells]
    whole = {
        "claim": claim.claim,
        "question": claim.question,
        "data": claim.data,
        "split": claim.split,
        "metric": claim.metric,
        "higher_is_better": claim.higher_is_better,
        "baseline": baseline.record(),
        "method": method.record(),
        "others": [{"data": claim.data, **row.record()} for row in others],
        "paper": claim.paper,
        "seeds": [cell["seed"] for cell in method.cells],
        "settings": dict(claim.settings),
        "seconds": round(sum(cell["seconds"] for cell in cells), 1),
        "versions": versions(),
        "cores": cores(),
        "commit": sorted({cell["commit"] for cell in cells}),
    }
    path = RESULTS / f"{claim.name}.json"
    write_atomically(path, lambda part: part.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8"))
    mean, half = interval([b["value"] - a["value"] for a, b in zip(baseline.cells, method.cells, strict=True)])
    resolved = "  (not resolved: the interval contains 0)" if abs(mean) <= half else ""  # of one pair there is no interval
    spread = f" ± {half:.2f} (95 %, {len(method.cells)} pairs)" if len(method.cells) > 1 else " (one pair)"
    print(f"{claim.name}: {baseline.name} → {method.name}: {mean:+.2f}{spread}{resolved}", flush=True)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half width of its 95 % interval (Student's t)."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return mean, float("nan")
    spread = statistics.stdev(values) / len(values) ** 0.5
    return mean, spread * (T_95[len(values) - 1] if len(values) <= len(T_95) else 1.96)
