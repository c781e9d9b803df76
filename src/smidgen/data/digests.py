"""Fingerprints of contents: the same for equal bytes, wherever they lie and whenever they were copied."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path
from typing import Any

import numpy as np

LENGTH = 16
"""Bytes of a digest."""
Stamp = tuple[int, int]
"""Size in bytes and time of the last change in ns: a file with the same stamp is taken to be the same."""


def stamp(path: str) -> Stamp:
    """Size and time of a file; of a folder (Zarr, DICOM) of all files in it."""
    found = Path(path).stat()
    if not stat.S_ISDIR(found.st_mode):
        return found.st_size, found.st_mtime_ns
    files = [file.stat() for file in Path(path).rglob("*") if file.is_file()]
    return sum(file.st_size for file in files), max((file.st_mtime_ns for file in files), default=0)


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
        """Digest of a file's bytes, or of all files in a folder with their names; "" where it can't be read."""
        try:
            now = stamp(path)
            known = self._known.get(path)
            if known is None or known[0] != now:
                known = now, _digest(Path(path))
                self._known[path] = known
        except OSError:
            return ""
        return known[1]

    def learn(self, path: str, stamp: Stamp, digest: str) -> None:
        """Take over a digest from an earlier run."""
        self._known[path] = (stamp, digest)


def _digest(path: Path) -> str:
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        named = "".join(f"{file.relative_to(path).as_posix()}\n{_digest(file)}\n" for file in files)
        return hashlib.blake2b(named.encode(), digest_size=LENGTH).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=LENGTH)).hexdigest()


def array_digest(array: np.ndarray) -> str:
    """Digest of an array's type, shape and values."""
    found = hashlib.blake2b(repr((array.dtype.str, array.shape)).encode(), digest_size=LENGTH)
    found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()
