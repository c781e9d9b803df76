"""Makes the toys beside this file importable by name: tests have no packages, and a method is found by `module:function`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

for name in ("toy_learners", "toy_method", "toy_runs", "toy_stages"):
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert spec and spec.loader
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    import torch

    torch.set_num_threads(1)
