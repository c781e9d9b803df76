"""What `train` gives back in Python: the run's folder with its model, scores and report."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smidgen.products.segmenter import Segmenter


@dataclass(frozen=True)
class TrainedRun:
    """A finished run.

    Args:
        folder: RUN.
    """

    folder: Path

    @property
    def segmenter(self) -> Segmenter:
        """The trained model.

        Raises:
            UsageError: The run has none (it was stopped before, `--until`).
        """
        from smidgen.products.segmenter import Segmenter

        return Segmenter.load(self.folder / "model")

    @property
    def scores(self) -> dict[str, Any]:
        """The content of `scores.json`; {} where there was nothing to score against."""
        path = self.folder / "scores.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    @property
    def figures(self) -> dict[str, Any]:
        """What `--json` tells: where everything is, and the scores."""
        model = self.folder / "model"
        return {"run": self.folder, "report": self.report, "model": model if model.is_dir() else None, "scores": self.scores}

    def _repr_html_(self) -> str:
        """Score and twelve pictures, for notebooks."""
        from smidgen.actions.shown import of_run

        return of_run(self.folder, self.scores)

    @property
    def report(self) -> Path:
        """The report, a self-contained page."""
        return self.folder / "report.html"
