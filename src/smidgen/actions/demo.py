"""`smidgen demo`: the main job on real images that a package ships."""

from __future__ import annotations

import csv
import importlib.util
import random
import shutil
from pathlib import Path

from smidgen.actions.results import TrainedRun
from smidgen.actions.train import STOPPED, train
from smidgen.core.errors import UsageError
from smidgen.core.screen import Screen, watching

__all__ = ["STOPPED", "demo"]
PACKAGE = "elpv_dataset"
KEPT = 200
"""Images of each kind: known good, and defective."""
DEFECTIVE, GOOD = 0.66, 0.0
"""Experts gave each cell a probability of being defective: 0, 1/3, 2/3 or 1. From 2/3 on it is a tag, 0 is known good, 1/3 is left out."""


def demo(*, out: str | Path = Path("runs/demo"), seed: int = 0, screen: Screen | None = None) -> TrainedRun:
    """Solar cells tagged "defective" or known good go in; a model that paints the defects, pictures and a report come out.

    Electroluminescence photos of photovoltaic cells, judged as a whole by experts; nobody drew a mask. About five minutes on two cores.

    Args:
        out: Run folder; the data folder is written to OUT/solar_cells, to look at and to train on again.
        seed: All randomness derives from it.
        screen: Hears of the progress; bars where somebody looks by default, smidgen.Silent() for none.

    Returns:
        The run.

    Raises:
        UsageError: The package with the images is not installed.
    """
    screen = watching(screen)
    folder = write_data(Path(out) / "solar_cells", seed)
    screen.say(f"demo      {2 * KEPT} photos of solar cells, half of them tagged defective: {folder}")
    run = train(folder, out=out, preset="demo", seed=seed, screen=screen)
    screen.say(f"next      look at {run.report}")
    screen.say(f"          smidgen inspect {folder}   (what the folder looks like)")
    screen.say(f"          smidgen predict {out} {folder}/images --out {out}/masks --overlay   (masks for every photo)")
    return run


def write_data(folder: Path, seed: int) -> Path:
    """Write the demo's data folder: images/ and tags.csv, as a user would have them.

    Args:
        folder: Where; one that is complete is left alone.
        seed: Which images are drawn.

    Raises:
        UsageError: The package is not installed.
    """
    table = folder / "tags.csv"
    if table.exists():
        return folder
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.origin:
        raise UsageError("the demo's photos come with a package that is not installed: pip install 'smidgen[demo]'")
    source = Path(spec.origin).parent / "data"
    rows = [line.split() for line in (source / "labels.csv").read_text(encoding="utf-8").splitlines() if line.strip()]
    defective = sorted(name for name, share, *_ in rows if float(share) >= DEFECTIVE)
    good = sorted(name for name, share, *_ in rows if float(share) == GOOD)
    draw = random.Random(seed)
    chosen = dict.fromkeys(draw.sample(defective, KEPT), "defective") | dict.fromkeys(draw.sample(good, KEPT), "")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for name in chosen:
        shutil.copyfile(source / name, folder / "images" / Path(name).name)
    (folder / "classes.txt").write_text("background\ndefective\n", encoding="utf-8")
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("filename", "tags"))
        writer.writerows((Path(name).name, tag) for name, tag in sorted(chosen.items()))
    return folder
