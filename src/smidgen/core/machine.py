"""What this machine has, asked without importing torch."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path

REPORTED = ("smidgen", "torch", "timm", "lightning-fabric", "numpy", "scipy", "scikit-image")
"""Packages whose versions stand in `run.json` and in the report."""


def has_gpu() -> bool:
    """Whether an NVIDIA GPU can be used (by torch's word where it is loaded already, else by its device file)."""
    torch = sys.modules.get("torch")
    return bool(torch.cuda.is_available()) if torch is not None else Path("/dev/nvidiactl").exists()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_preset() -> str:
    """`base` where there is a GPU, else `small`."""
    return "base" if has_gpu() else "small"


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in REPORTED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
