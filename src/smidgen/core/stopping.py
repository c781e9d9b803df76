"""Ctrl-C and SIGTERM end work between two steps, after it was saved; a second one, or a step that takes long, ends it at once."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

PATIENCE_SECONDS = 3.5
"""A step that takes longer is not waited for: who pressed Ctrl-C wants to be gone within about five seconds."""
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

    lasts = threading.Timer(PATIENCE_SECONDS, _thread.interrupt_main)  # as a second Ctrl-C would
    lasts.daemon = True

    def note(number: int, frame: FrameType | None) -> None:
        if _wanted.is_set():
            raise KeyboardInterrupt
        _wanted.set()
        lasts.start()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    _entered.set()
    try:
        yield
    finally:
        lasts.cancel()
        _entered.clear()
        _wanted.clear()
        for number, handler in before.items():
            signal.signal(number, handler)
