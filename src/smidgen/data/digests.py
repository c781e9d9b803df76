"""Fingerprints of contents: the same for equal bytes, wherever they lie and whenever they were copied."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

LENGTH = 16
"""Bytes of a digest."""
Stamp = tuple[int, int]
"""Size in bytes and time of the last change in ns: a file with the same stamp is taken to be the same."""


def stamp(path: str) -> Stamp:
    """Size and time of a file."""
    found = Path(path).stat()
    return found.st_size, found.st_mtime_ns


class Digests:
    """Digests of files and arrays, each computed once while the file keeps its size and time."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Stamp, str]] = {}

    def of(self, reader: Any) -> str:
        """Digest of what a reader reads: its file, its files, or its array."""
        if several := getattr(reader, "paths", ()):
            return " ".join(self.file(path) for path in several)
        path = getattr(reader, "path", None)
        return self.file(path) if path is not None else array_digest(reader.array)

    def file(self, path: str) -> str:
        """Digest of a file's bytes; "" where it can't be read."""
        try:
            now = stamp(path)
            known = self._known.get(path)
            if known is None or known[0] != now:
                with Path(path).open("rb") as file:
                    known = now, hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=LENGTH)).hexdigest()
                self._known[path] = known
        except OSError:
            return ""
        return known[1]

    def learn(self, path: str, stamp: Stamp, digest: str) -> None:
        """Take over a digest from an earlier run."""
        self._known[path] = (stamp, digest)


def array_digest(array: np.ndarray) -> str:
    """Digest of an array's type, shape and values."""
    found = hashlib.blake2b(repr((array.dtype.str, array.shape)).encode(), digest_size=LENGTH)
    found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()
