"""smidgen turns a smidgen of labels into a segmentation model."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from smidgen.actions.again import again
    from smidgen.actions.compare import compare
    from smidgen.actions.convert import convert
    from smidgen.actions.demo import demo
    from smidgen.actions.evaluate import evaluate
    from smidgen.actions.export import export
    from smidgen.actions.inspect import inspect
    from smidgen.actions.predict import predict
    from smidgen.actions.train import train
    from smidgen.core.screen import Silent
    from smidgen.data.dataset import Dataset

__all__ = [
    "ACTIONS",
    "Dataset",
    "Silent",
    "__version__",
    "again",
    "compare",
    "convert",
    "demo",
    "evaluate",
    "export",
    "inspect",
    "predict",
    "train",
]

ACTIONS = ("demo", "inspect", "train", "again", "predict", "evaluate", "compare", "convert", "export", "methods")
"""What a user can ask for: each is a function of the same name in `smidgen.actions`, a command, and - but for `methods`, whose name the
package of the methods has - a function of this module."""

HOMES = {"Dataset": "smidgen.data.dataset", "Silent": "smidgen.core.screen"}
"""Where what is no action comes from."""


def __getattr__(name: str) -> Any:
    """Actions and classes are imported when first asked for: `import smidgen` costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'smidgen' has no attribute '{name}'")
    home = HOMES.get(name, f"smidgen.actions.{name}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
