"""Folders with something odd in them, and commands as people type them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from smidgen.cli.main import main

NOBODY = 65534
"""Number of the account without rights."""


@dataclass(frozen=True)
class Said:
    """What a command did.

    Args:
        code: Exit code.
        out: What it wrote for who reads along.
        err: What went wrong, in its words.
    """

    code: int
    out: str
    err: str


class Photos:
    """Writes a dataset's files below `path`."""

    def __init__(self, path: Path):
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    def image(self, name: str, array: Any = None, **options: Any) -> Path:
        """An image file: an array, a picture, or noise of 12 x 16 pixels that depends on the name."""
        if array is None:
            array = np.random.default_rng(sum(map(ord, name))).integers(0, 256, (12, 16, 3), np.uint8)
        picture = array if isinstance(array, Image.Image) else Image.fromarray(np.asarray(array))
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, **options)
        return path

    def mask(self, name: str, values: Any = None, size: tuple[int, int] = (12, 16)) -> Path:
        """A gray mask: an array, one value everywhere, or a square of class 1."""
        array = np.zeros(size, np.uint8)
        if values is None:
            array[2:8, 3:9] = 1
        else:
            array[:] = values
        return self.image(name, array)

    def text(self, name: str, text: str) -> Path:
        """A table or list."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def labeled(self, count: int = 4) -> Photos:
        """So many photos with masks of two classes: 0, 1, 2 …"""
        for i in range(count):
            self.image(f"images/{i}.png")
            self.mask(f"masks/{i}.png")
        self.text("classes.txt", "background\nthing\n")
        return self

    def files(self) -> list[str]:
        """All that lies there."""
        return sorted(path.relative_to(self.path).as_posix() for path in self.path.rglob("*"))


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    """An empty dataset's folder."""
    return Photos(tmp_path / "photos")


@pytest.fixture
def smidgen(capsys: pytest.CaptureFixture[str]):
    """Runs a command in process; whatever comes, it is said in words."""

    def run(*words: object) -> Said:
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Said(code, captured.out, captured.err)

    return run


@pytest.fixture
def nobody() -> Iterator[Photos]:
    """A dataset's folder of an account without rights, as which the test goes on: root may read and write everything."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        root = hasattr(os, "geteuid") and os.geteuid() == 0
        if root:
            os.seteuid(NOBODY)
        try:
            yield Photos(folder / "photos")
        finally:
            if root:
                os.seteuid(0)
            for name, folders, files in os.walk(folder):
                for one in (*folders, *files):
                    (Path(name) / one).chmod(0o777)
