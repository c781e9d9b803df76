"""All class probabilities of one image in a file, written as strips come."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float

from smidgen.core.codec import write_atomically

KIND = np.dtype("<f2")
MEMBER = "probs.npy"


class ProbsFile:
    """An array (classes, height, width) on disk that is filled from top to bottom.

    Args:
        file: Where.
        shape: Of the whole array.
    """

    def __init__(self, file: BinaryIO, shape: tuple[int, ...]):
        self._file, self._shape, self._row = file, shape, 0
        np.lib.format.write_array_header_1_0(file, {"descr": KIND.str, "fortran_order": False, "shape": shape})
        self._start = file.tell()

    def add(self, probs: Float[np.ndarray, "k h w"]) -> None:
        """The next rows."""
        _, height, width = self._shape
        for n, plane in enumerate(probs):
            self._file.seek(self._start + (n * height + self._row) * width * KIND.itemsize)
            self._file.write(np.ascontiguousarray(plane, dtype=KIND).tobytes())
        self._row += probs.shape[1]


@contextmanager
def probs_file(path: Path, shape: tuple[int, ...]) -> Iterator[ProbsFile]:
    """An npz with one array `probs` of 16-bit floats; it appears, compressed, when all strips were added.

    Args:
        path: The file; its folder is made.
        shape: Classes, height, width.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = path.with_name(f".{os.getpid()}.part.{path.name}.npy")
    try:
        with plain.open("wb") as file:
            yield ProbsFile(file, shape)

        def fill(part: Path) -> None:
            with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.write(plain, MEMBER)

        write_atomically(path, fill)
    finally:
        plain.unlink(missing_ok=True)
