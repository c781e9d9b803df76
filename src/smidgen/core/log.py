"""The log of a fit, `log.csv`: step, term, value. What is minimized is what is logged."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from smidgen.core.codec import unwritable, write_atomically

HEADER = ("step", "term", "value")


class Log:
    """Means over an interval of steps, and over the processes that had the term.

    A reduction per term would hang where a term exists on one process only, so what each has is gathered at the end of an interval.

    Args:
        path: The file; rows behind `start` are dropped: they belong to steps that will be done again.
        start: Steps that are done.
        gather: What all processes hold, for what this one holds.
        writes: Whether this process writes the file.
    """

    def __init__(self, path: Path, start: int, gather: Callable[[Any], list[Any]], writes: bool):
        self.path, self.gather, self.writes = path, gather, writes
        self._sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        if writes and path.exists():
            with path.open(newline="") as file:
                kept = [row for row in csv.reader(file) if len(row) == len(HEADER) and row[0].isdigit() and int(row[0]) <= start]
            write_atomically(path, lambda part: _write(part, [HEADER, *kept]))

    def add(self, turn: str, values: Mapping[str, float]) -> None:
        """The terms of one turn."""
        for name, value in values.items():
            total = self._sums[f"{turn}/{name}"]
            total[0] += value
            total[1] += 1

    def flush(self, n: int, rate: float) -> None:
        """Write the interval's means, and the factor on the learning rates; every process calls it at the same steps."""
        everyone = self.gather({name: tuple(total) for name, total in self._sums.items()})
        self._sums.clear()
        if not self.writes:
            return
        rows: list[tuple[Any, ...]] = [] if self.path.exists() else [HEADER]
        for name in sorted(set().union(*everyone)):
            total, count = (sum(part) for part in zip(*(one[name] for one in everyone if name in one), strict=True))
            rows.append((n, name, f"{total / count:.6g}"))
        _write(self.path, [*rows, (n, "rate", f"{rate:.6g}")])


def _write(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    try:
        with path.open("a", newline="") as file:
            csv.writer(file).writerows(rows)
    except OSError as error:
        raise unwritable(path, error) from error
