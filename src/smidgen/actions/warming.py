"""`--warm-from RUN`: what an earlier run has to start from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smidgen.actions import models
from smidgen.core.errors import SettingsError, UsageError
from smidgen.core.keys import key
from smidgen.core.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smidgen.products.warm import Origin, WarmStart

CLASSIFY = "classify"


def used(plan: Plan, warm: WarmStart | None) -> Plan:
    """The plan, where something in it starts from what is given.

    Raises:
        SettingsError: Nothing does.
    """
    if warm is not None and not plan.uses("warm_from"):
        names = ", ".join(f"{row.stage} {row.name}" for row in plan.stages)
        raise SettingsError(f"--warm-from: nothing in this recipe ({names}) can start from another network: leave it out")
    return plan


def warm_start(run: Path) -> WarmStart:
    """The networks of a run: the classifier of its stages, and its model.

    Args:
        run: Run folder, or the model folder in it.

    Raises:
        UsageError: There is neither.
    """
    from smidgen.products.warm import WarmStart

    folder = models.run_folder(run)
    found = [one for one in (_classifier(folder), _segmenter(run)) if one is not None]
    if not found:
        raise UsageError(f"--warm-from {run}: no trained network there: name the folder of a run that trained a classifier or a model")
    origins = {kind: origin for kind, _, origin in found}
    return WarmStart(key("warm", sorted((kind, ident) for kind, ident, _ in found)), **origins)


def _segmenter(run: Path) -> tuple[str, str, Origin] | None:
    from smidgen.products.segmenter import Segmenter
    from smidgen.products.warm import WarmStart

    if not models.is_run(run):
        return None
    segmenter = models.load(run)
    if not isinstance(segmenter, Segmenter):
        return None
    return "segmenter", segmenter.key, WarmStart.of(segmenter, str(run)).segmenter  # pyright: ignore[reportReturnType] (`of` sets it)


def _classifier(folder: Path) -> tuple[str, str, Origin] | None:
    told = models.record(folder)
    stage = next((name for name in told.get("keys", []) if name.startswith(f"{CLASSIFY}-")), None)
    checkpoints = sorted((folder / "stages" / stage).glob("*/last.pt")) if stage else []
    if not checkpoints or not stage:
        return None
    from smidgen.products.warm import Origin

    def state() -> Mapping[str, Any]:
        import torch

        from smidgen.core.fit import read_checkpoint

        return read_checkpoint(checkpoints[0], torch.device("cpu"))["networks"]

    facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    names = tuple(name for i, name in enumerate(facts["classes"]) if i != facts["background"])
    return "classifier", stage, Origin(str(folder), told["encoder"]["name"], names, state)
