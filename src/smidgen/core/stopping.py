"""Ctrl-C and SIGTERM end work between two steps, after it was saved; a second one ends it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_wanted = threading.Event()
_entered = threading.Event()


def stop_if_wanted() -> None:
    """Raise KeyboardInterrupt if a signal asked for it. Called where everything is saved."""
    if _wanted.is_set():
        raise KeyboardInterrupt


def wanted() -> bool:
    """Whether a signal asked to stop."""
    return _wanted.is_set()


@contextmanager
def polite() -> Iterator[None]:
    """Signals only leave a note here, which `stop_if_wanted` heeds. Within another such block, or another thread: no effect."""
    if _entered.is_set() or threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(number: int, frame: FrameType | None) -> None:
        if _wanted.is_set():
            raise KeyboardInterrupt
        _wanted.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    _entered.set()
    try:
        yield
    finally:
        _entered.clear()
        _wanted.clear()
        for number, handler in before.items():
            signal.signal(number, handler)
