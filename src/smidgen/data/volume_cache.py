"""What was decoded last is kept, in each process, up to a number of bytes: the slices of a case do not decode it again each time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

KEPT = 256 << 20
"""Bytes of decoded volumes, as they are stored, that a process keeps."""


class Decoded:
    """Keeps what was decoded last.

    Args:
        most: Bytes; what is larger than half of it is never kept.
    """

    def __init__(self, most: int = KEPT):
        self.most = most
        self._kept: OrderedDict[Any, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any, decode: Callable[[], tuple[Any, int]]) -> Any:
        """What `decode` gives, with the bytes it takes; from memory where it was asked for lately."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][0]
        value, size = decode()
        if size <= self.most // 2:
            with self._lock:
                self._kept[key] = value, size
                while sum(size for _, size in self._kept.values()) > self.most:
                    self._kept.popitem(last=False)
        return value

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        return sum(size for _, size in self._kept.values())


DECODED = Decoded()
"""Of this process."""


def now(paths: tuple[str, ...]) -> tuple[Any, ...]:
    """A changed file is another one."""
    try:
        found = [Path(path).stat() for path in paths]
    except OSError:
        return ()
    return tuple((one.st_size, one.st_mtime_ns) for one in found)
