"""What the core tells a watcher while it works; the command line shows it as bars, a log as lines."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable


@runtime_checkable
class Bar(Protocol):
    """Progress of one step."""

    def advance(self, count: int = 1, facts: Mapping[str, float] | None = None) -> None:
        """So many items or training steps more are done; `facts` are numbers worth showing (the loss)."""
        ...


@runtime_checkable
class Screen(Protocol):
    """Receives what happens; must not change it."""

    def plan(self, stages: int) -> None:
        """So many stages are to come."""
        ...

    def stage(self, stage: str, method: str, key: str, done: bool) -> None:
        """A stage starts (or was finished before)."""
        ...

    @contextmanager
    def step(self, name: str, total: int, done: int, unit: str) -> Iterator[Bar]:
        """A map or fit of `total` units starts, `done` of them finished before."""
        ...

    def say(self, text: str) -> None:
        """A line for people."""
        ...


class _Still:
    def advance(self, count: int = 1, facts: Mapping[str, float] | None = None) -> None:
        """Nobody looks."""


class Silent:
    """The screen where nobody looks: tests and all processes but the first."""

    def plan(self, stages: int) -> None:
        """Nothing."""

    def stage(self, stage: str, method: str, key: str, done: bool) -> None:
        """Nothing."""

    @contextmanager
    def step(self, name: str, total: int, done: int, unit: str) -> Iterator[Bar]:
        """Nothing."""
        yield _Still()

    def say(self, text: str) -> None:
        """Nothing."""


def watching(screen: Screen | None) -> Screen:
    """The screen that an action tells of its progress.

    Args:
        screen: One that was given, such as `Silent()`; None: bars on the standard error where somebody looks (a terminal, a notebook), else
            nothing.
    """
    if screen is not None:
        return screen
    if not (in_notebook() or (sys.stderr is not None and sys.stderr.isatty())):
        return Silent()
    from rich.console import Console

    from smidgen.core.terminal import Terminal

    return Terminal(Console(stderr=not in_notebook(), highlight=False))  # rich draws notebooks' bars through their display only


def in_notebook() -> bool:
    """Whether a notebook's kernel runs this process."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


class Logged:
    """Passes everything on to another screen and leaves a line in the log for each stage, step and word.

    Args:
        inner: Who is shown it.
        log: Where lines go.
    """

    def __init__(self, inner: Screen, log: logging.Logger):
        self.inner, self.log = inner, log

    def plan(self, stages: int) -> None:
        """So many stages are to come."""
        self.inner.plan(stages)

    def stage(self, stage: str, method: str, key: str, done: bool) -> None:
        """A stage starts."""
        self.log.info("%s %s %s%s", stage, method, key, " (finished before)" if done else "")
        self.inner.stage(stage, method, key, done)

    @contextmanager
    def step(self, name: str, total: int, done: int, unit: str) -> Iterator[Bar]:
        """A step starts; its seconds are logged."""
        start = time.monotonic()
        self.log.info("  %s: %d %s, %d done before", name, total, unit, done)
        with self.inner.step(name, total, done, unit) as bar:
            yield bar
        self.log.info("  %s: %.1f s", name, time.monotonic() - start)

    def say(self, text: str) -> None:
        """A line for people."""
        self.log.info(text)
        self.inner.say(text)


@contextmanager
def written_to(path: Path, log: logging.Logger) -> Iterator[None]:
    """Lines of a logger go to a file, too, while this is entered.

    Args:
        path: The file; lines are added to it.
        log: The logger, with all below it.
    """
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.handleError = lambda record: None  # on a full disk each line would print a traceback; the work says it once
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()
