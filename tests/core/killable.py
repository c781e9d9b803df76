"""Program of the kill tests: maps, trains, maps again, slowly enough to be killed anywhere.

`python killable.py RUN DEVICES`: with several devices it supervises copies of itself, as the command line does.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from smidgen.core.errors import UsageError
from smidgen.core.fit import Step, Stream
from smidgen.core.processes import join, leave, locked, must_supervise, supervise
from smidgen.core.run import Run
from smidgen.core.settings import Machine

PAUSE = float(os.environ.get("PAUSE", "0"))
"""Seconds that each item and step takes."""


def heat(image: np.ndarray) -> np.ndarray:
    time.sleep(PAUSE)
    return image + np.random.standard_normal(image.shape)


def twice(heatmap: np.ndarray) -> np.ndarray:
    return heatmap * 2


def as_tensor(heatmap: np.ndarray) -> dict[str, Tensor]:
    return {"x": torch.from_numpy(heatmap).float() + torch.rand(())}


class Mean:
    """Learns to give back what it gets."""

    def __init__(self, samples: list[np.ndarray]):
        self.networks = nn.ModuleDict({"net": nn.Linear(3, 3)})
        self.optimizers = {"all": torch.optim.Adam(self.networks.parameters(), 0.1)}
        self.streams = {"heatmaps": Stream(samples, 4, as_tensor)}
        self.steps = 16

    def terms(self, batch: dict[str, Any], turn: str, at: Step) -> dict[str, Tensor]:
        return {"l2": (self.networks["net"](batch["heatmaps"]["x"]) - batch["heatmaps"]["x"]).square().mean()}

    def after(self, at: Step) -> None:
        time.sleep(PAUSE)


def work(folder: Path, fabric: Any) -> None:
    run = Run(folder, fabric)._inside(folder / "stages" / "toy", "0")
    run.checkpoint_seconds = 0.1
    heatmaps = run.map("heat", heat, {f"{i:02}": np.full((3, 3), float(i)) for i in range(16)})
    mean = run.fit("mean", Mean([heatmaps[id] for id in heatmaps]))
    run.map("twice", twice, {id: heatmaps[id] @ mean.networks["net"].weight.numpy() for id in heatmaps})


def main(folder: Path, devices: int) -> int:
    machine = Machine(devices=devices, accelerator="cpu", threads=1)
    try:
        with locked(folder):
            if must_supervise(devices):
                return supervise(devices, folder, [__file__, str(folder), str(devices)])
            fabric = join(machine)
            work(folder, fabric)
            leave(fabric)
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
