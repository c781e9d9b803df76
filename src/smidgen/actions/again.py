"""`smidgen again`: run the same training again, where it stopped."""

from __future__ import annotations

from pathlib import Path

import yaml

from smidgen.actions.results import TrainedRun
from smidgen.actions.train import STOPPED, train
from smidgen.core.errors import UsageError
from smidgen.core.screen import Screen

__all__ = ["STOPPED", "again"]


def again(run: str | Path, *, screen: Screen | None = None) -> TrainedRun:
    """Go on with a training as it was started; what is finished is not done again.

    Args:
        run: Run folder.
        screen: Hears of the progress; bars where somebody looks by default, smidgen.Silent() for none.

    Returns:
        The run.

    Raises:
        UsageError: The folder holds no run, or one whose data were arrays in memory.
    """
    path = Path(run) / "again.yaml"
    if not path.is_file():
        raise UsageError(f"{run}: no run (again.yaml is missing): name the folder that `smidgen train` wrote")
    words = yaml.safe_load(path.read_text(encoding="utf-8"))
    if words["data"] is None:
        raise UsageError(f"{run}: it was trained on arrays in memory: call smidgen.train with them again")
    return train(**words | {"out": run}, screen=screen)  # the folder may have moved since
