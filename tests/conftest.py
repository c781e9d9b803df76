"""What tests share: a run whose map and fit work, shapes checked as types."""

from __future__ import annotations

from pathlib import Path

import pytest
from jaxtyping import install_import_hook

install_import_hook("smidgen", "beartype.beartype")


@pytest.fixture
def run(tmp_path: Path):
    """A run inside a stage's folder: map and fit work, nothing else is there."""
    import torch
    from lightning_fabric import Fabric

    from smidgen.core.run import Run

    torch.set_num_threads(1)
    return Run(tmp_path / "run", Fabric(accelerator="cpu", devices=1))._inside(tmp_path / "run" / "stages" / "toy-toy-0", "0")
