"""What tests of claims share: a script with results and runs in a folder of the test's own, and a toy that stands for its data."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

CLAIMS = Path(__file__).parents[2] / "benchmarks" / "claims"


@pytest.fixture
def claim_named(monkeypatch, tmp_path) -> Iterator[Callable[[str], ModuleType]]:
    """Imports a claim and what it shares with others, afresh; writes below the test's folder."""
    own = [path.stem for path in CLAIMS.glob("*.py")]

    def load(name: str) -> ModuleType:
        monkeypatch.syspath_prepend(str(CLAIMS))
        for one in own:
            monkeypatch.delitem(sys.modules, one, raising=False)
        module = importlib.import_module(name)
        for one in [sys.modules[one] for one in own if one in sys.modules]:
            for folder in ("RESULTS", "RUNS"):
                if hasattr(one, folder):
                    monkeypatch.setattr(one, folder, tmp_path / folder.lower())
        return module

    yield load
    for one in own:
        sys.modules.pop(one, None)


@pytest.fixture
def toy_named(monkeypatch, tmp_path) -> Callable[..., Path]:
    """Writes five images of 32 x 32 pixels with masks; the last is val."""

    def write(name: str, classes: tuple[str, str], inside: Callable[[int], tuple[slice, slice]]) -> Path:
        folder, rng = tmp_path / "data" / name, np.random.default_rng(0)
        for kind in ("images", "masks"):
            (folder / kind).mkdir(parents=True)
        for n in range(5):
            mask = np.zeros((32, 32), np.uint8)
            mask[inside(n)] = 1
            Image.fromarray(np.uint8(mask[..., None] * 150 + rng.integers(0, 60, (32, 32, 3)))).save(folder / "images" / f"p{n}.png")
            Image.fromarray(mask).save(folder / "masks" / f"p{n}.png")
        (folder / "classes.txt").write_text("\n".join(classes) + "\n")
        (folder / "split.csv").write_text("filename,split\n" + "".join(f"p{n},{'val' if n == 4 else 'train'}\n" for n in range(5)))
        monkeypatch.setenv("SMIDGEN_DATA", str(tmp_path / "data"))
        return folder

    return write
