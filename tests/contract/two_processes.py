"""Program of test_two_processes: trains all learners, and runs the method of several rounds, in whatever processes it is started in.

`python two_processes.py FOLDER`: leaves what it found in FOLDER/found.pt.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch
from lightning_fabric import Fabric
from toy_learners import LEARNERS, Supervised
from toy_runs import flat, opened, rounds, tensors, trained

from smidgen.core import codec
from smidgen.core.processes import join, leave, locked
from smidgen.core.settings import Machine
from smidgen.core.stopping import polite


class Signaled(Supervised):
    """The last process gets Ctrl-C in one step."""

    rank = 0

    def after(self, at):
        if self.rank == 1 and at.n == 4:
            os.kill(os.getpid(), signal.SIGINT)


def shared(folder: Path, fabric: Fabric) -> list[list[str]]:
    """Which images each process looked at, of 11 of two sizes in batches of up to 3, of which two were finished before."""
    mine: list[str] = []
    images = {f"case/{i:02}": (f"case/{i:02}", i % 2) for i in range(11)}

    def look(some: list[tuple[str, int]]) -> list[int]:
        mine.extend(id for id, _ in some)
        return [size for _, size in some]

    run = opened(folder, fabric)._inside(folder / "stages" / "toy", "0")
    if fabric.global_rank == 0:
        for id in ("case/00", "case/05"):
            path = run.folder / "01-look" / f"{id}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            codec.save(images[id][1], path)
    fabric.barrier()
    assert dict(run.map("look", look, images, together=lambda image: image[1], size=3)) == dict(images.values())
    everyone: list[list[str]] = [[], []]
    torch.distributed.all_gather_object(everyone, mine)
    return everyone


def main(folder: Path) -> None:
    fabric = join(Machine(devices=2, accelerator="cpu", threads=1))
    found = {}
    for make in LEARNERS:
        learner = trained(make, folder / make.__name__, fabric)
        everywhere = [fabric.all_gather(value) for value in tensors(learner).values()]
        found[make.__name__] = {"agree": all(torch.equal(value[0], value[1]) for value in everywhere), "parameters": flat(learner)}
    rounds(opened(folder / "rounds", fabric))
    Signaled.rank = fabric.global_rank
    with polite():
        try:
            trained(Signaled, folder / "signaled", fabric)
        except KeyboardInterrupt:
            found["stopped after"] = torch.load(next(folder.glob("signaled/**/last.pt")), weights_only=True)["n"]
    found["shares"] = shared(folder / "shared", fabric)
    found["resumed"] = flat(trained(Supervised, folder / "signaled", fabric))
    if fabric.global_rank == 0:
        torch.save(found, folder / "found.pt")
    leave(fabric)


if __name__ == "__main__":
    with locked(Path(sys.argv[1])):
        main(Path(sys.argv[1]))
