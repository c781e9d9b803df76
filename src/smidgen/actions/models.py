"""A run's model, and how the run's own scores were predicted, so that later figures and masks can be compared with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from smidgen.products.segmenter import Segmenter

WAY = ("scales", "flip", "window", "overlap", "max_pixels")
"""Settings of a method that predicts which say how an image is looked at."""


def is_run(path: Path) -> bool:
    """Whether a folder is a run with a model, or a model."""
    return (model_folder(path) / "model.json").is_file()


def model_folder(path: Path) -> Path:
    """The model of a run; a model's folder itself."""
    return path / "model" if (path / "model").is_dir() else path


def run_folder(path: Path) -> Path:
    """The run that a model lies in; a run's folder itself."""
    model = model_folder(path)
    return model.parent if model.name == "model" else model


def load(path: Path) -> Segmenter:
    """The model of a run, or a model.

    Raises:
        UsageError: There is none, or it can't be read.
    """
    from smidgen.products.segmenter import Segmenter

    return Segmenter.load(model_folder(path))


def way(path: Path) -> tuple[bool, dict[str, Any]]:
    """Whether predictions were restricted to known tags, and with which looks they were made."""
    record = run_folder(path) / "run.yaml"
    told = yaml.safe_load(record.read_text(encoding="utf-8")) if record.is_file() else {}
    settings = told.get(told.get("predict"), {})
    return settings.get("restrict", False), {name: settings[name] for name in WAY if name in settings}
