"""Progress for people: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from smidgen.core.screen import Bar

EVERY_SECONDS = 30.0
"""Time between two plain lines of one step."""


class _RichBar:
    def __init__(self, progress: Progress, task: int):
        self.progress, self.task = progress, task

    def advance(self, count: int = 1, facts: Mapping[str, float] | None = None) -> None:
        """So much more is done."""
        shown = "  ".join(f"{name} {value:.3g}" for name, value in (facts or {}).items())
        self.progress.update(self.task, advance=count, facts=shown)  # pyright: ignore[reportArgumentType]


class _PlainBar:
    def __init__(self, console: Console, title: str, total: int, done: int, unit: str):
        self.console, self.title, self.total, self.done, self.unit = console, title, total, done, unit
        self.start = self.shown = time.monotonic()
        self.first = done

    def advance(self, count: int = 1, facts: Mapping[str, float] | None = None) -> None:
        """So much more is done; a line now and then."""
        self.done += count
        now = time.monotonic()
        if now - self.shown >= EVERY_SECONDS and self.done < self.total:
            self.shown = now
            left = (now - self.start) / max(self.done - self.first, 1) * (self.total - self.done)
            shown = "  ".join(f"{name} {value:.3g}" for name, value in (facts or {}).items())
            self.console.print(f"  {self.title} {self.done}/{self.total} {self.unit}  about {_clock(left)} left  {shown}".rstrip())


def _clock(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


class Terminal:
    """A screen for people: the command line's, and Python's where somebody looks.

    Args:
        console: Where to draw; on something else than a terminal or a notebook with ipywidgets, plain lines are printed.
    """

    def __init__(self, console: Console):
        self.console = console
        self.draws = console.is_terminal or (console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None)
        self.stages, self.at, self.title = 0, 0, ""

    def plan(self, stages: int) -> None:
        """So many stages are to come."""
        self.stages, self.at = stages, 0

    def stage(self, stage: str, method: str, key: str, done: bool) -> None:
        """A stage starts, or falls through."""
        self.at += 1
        self.title = f"{self.at}/{max(self.stages, self.at)} {stage}"
        if done or not self.draws:
            self.console.print(f"[bold]{self.title}[/bold]  {method}" + ("  [dim]finished before[/dim]" if done else ""), highlight=False)

    @contextmanager
    def step(self, name: str, total: int, done: int, unit: str) -> Iterator[Bar]:
        """A step with its bar."""
        title = f"{self.title}  {name}" if self.title else name
        if not self.draws:
            start = time.monotonic()
            yield _PlainBar(self.console, name, total, done, unit)
            counted = unit.removesuffix("s") if total == 1 else unit
            self.console.print(f"  {name}: {total} {counted} in {_clock(time.monotonic() - start)}", highlight=False)
            return
        columns = (
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[facts]}"),
        )
        with Progress(*columns, console=self.console) as progress:
            yield _RichBar(progress, progress.add_task(title, total=total, completed=done, facts=""))

    def say(self, text: str) -> None:
        """A line for people."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)
