"""lal_loss: does a loss that looks at regions make better masks, with the same network, steps, samples and seeds?

Baseline is cross entropy, method half of it and half the locally adaptive loss, on full masks. Further rows: the locally adaptive loss
alone, without rising exponent, and without neighbors (a control: cross entropy, computed where `lal` is); loss max-pooling, region mutual
information, Dice with cross entropy. Beside mIoU each row tells boundary F, connected regions per image (and how many the masks have), and
after how many steps the network reached 90 % of what cross entropy reached in the end, on train images that nobody learned from.

`--arms ce,lal --seeds 0,1,2` measures a part; the record is written as soon as both arms have a seed. `--settings JSON` goes over what is
below, for all arms. `--tune` scores the images of the curve instead of val, in cells of their own: that is where settings are tuned.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from _full_masks import over
from _images import RUNS, by_class, full, miou
from _records import Cell, Claim, Row, measured, record
from _watched import Watched
from scipy import ndimage

from smidgen.core.conventions import IGNORED
from smidgen.core.processes import join
from smidgen.core.run import Run
from smidgen.core.settings import Machine
from smidgen.parts.metrics.boundary import Boundary
from smidgen.parts.metrics.confusion import count
from smidgen.recipes.choice import resolve
from smidgen.recipes.supplies import supplies

DATA = "voc_animals"
SEEDS = (0, 1, 2, 3, 4)
WATCHED = 60
"""Train images for the curve, evenly spread over the sorted ids."""
REACHED = 0.9
"""Share of what cross entropy reaches in the end that counts as reached."""
TRAINING: dict[str, Any] = {
    "supervised": {"epochs": 0, "steps": 800, "size": 192, "crop": 160, "scale": [0.75, 1.5], "batch": 8},
}
"""Of all arms, over the preset small. Small images: eight losses with five seeds each shall fit into a few hours."""
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "ce": ("cross entropy", {"loss": "ce"}),
    "lal": ("half locally adaptive, half cross entropy", {"loss": "0.5*lal+0.5*ce"}),
    "pure": ("locally adaptive alone", {"loss": "lal"}),
    "flat": ("locally adaptive alone, k = 1", {"loss": "lal", "lal": {"exponent": 1.0}}),
    "alone": (
        "cross entropy at the places of the logits (lal without neighbors, k = 1)",
        {"loss": "lal", "lal": {"exponent": 1.0, "radius": 0}},
    ),
    "lmp": ("loss max-pooling", {"loss": "lmp"}),
    "rmi": ("region mutual information", {"loss": "rmi"}),
    "dice": ("Dice and cross entropy", {"loss": "dice+ce"}),
}
"""Name -> what it is, in words; what it says over TRAINING."""
OTHERS = ("pure", "flat", "alone", "lmp", "rmi", "dice")

CLAIM = Claim(
    name="lal_loss",
    claim="Better masks from the same network: neighbors of one class are scored together",
    question="How good is the network on images it has not seen, with nothing changed but the loss?",
    data=DATA,
    split="val (195 images)",
    metric="mIoU over 13 classes, percent",
    higher_is_better=True,
    paper=None,
    settings={"preset": "small", "training": TRAINING, "watched": WATCHED},
)


def watched_ids() -> tuple[str, ...]:
    """The fixed train images of the curve."""
    ids = sorted(full(DATA).train)
    return tuple(ids[:: max(1, len(ids) // WATCHED)][:WATCHED]) if len(ids) >= 2 * WATCHED else tuple(ids[:1])


def trained(seed: int, words: Mapping[str, Any], every: int, tune: bool) -> dict[str, Any]:
    """A network, and what it reaches."""
    data, ids = full(DATA), watched_ids()
    resolved = resolve("masks", "small", {"seed": seed, **words})
    plain = resolved.methods["supervised"].model_dump()
    methods = {**resolved.methods, "watched": Watched(**plain, every=every, watched=ids)}
    run = Run(RUNS / DATA, join(Machine()), methods, supplies(resolved, data), seed=seed)
    segmenter = run.stage("segment", "_watched:watched", data.using("masks"))
    scored = {id: data.samples[id] for id in (ids if tune else data.val)}
    seen = run.stage("predict", resolved.choice.predict, data.only(ids=list(scored)), segmenter=segmenter)
    names = data.classes.names
    total, borders, pieces = np.zeros((len(names), len(names) + 1), np.int64), Boundary(names, data.classes.background), []
    for id, sample in scored.items():
        truth = sample.label()
        if truth is None:
            continue
        said = seen[id].label
        total += count(truth, said, len(names))
        borders.add(truth, said)
        pieces.append((regions(said), regions(truth)))
    ours, true = np.mean(pieces, axis=0)
    return {
        "value": miou(total),
        "boundary_f": round(100 * borders.mean().value, 3),
        "regions": round(float(ours), 3),
        "regions_of_masks": round(float(true), 3),
        "curve": segmenter.curve,
        "every": every,
        "classes": by_class(total, names),
    }


def regions(label: np.ndarray) -> int:
    """Connected regions of all classes, diagonals included; unlabeled ones do not count."""
    touching = np.ones((3, 3), bool)
    return sum(int(ndimage.label(label == value, touching)[1]) for value in np.unique(label) if value != IGNORED)  # pyright: ignore


def steps_to(curve: Sequence[float], every: int, level: float) -> int | None:
    """First step at which the curve reaches a level, between two looks on a straight line from (0, 0); None: never."""
    points = [0.0, *curve]
    for n in range(1, len(points)):
        if points[n] >= level > 0:
            part = (level - points[n - 1]) / (points[n] - points[n - 1]) if points[n - 1] < level else 0.0
            return round(every * (n - 1 + part))
    return None


def told(cells: Sequence[Cell], level: float | None) -> dict[str, Any]:
    """What a row says beside mIoU: one value per seed."""
    found = {name: [cell[name] for cell in cells] for name in ("boundary_f", "regions", "regions_of_masks")}
    return found if level is None else {**found, "steps_to_level": [steps_to(cell["curve"], cell["every"], level) for cell in cells]}


def main(arguments: Sequence[str]) -> None:
    """Baseline and method seed by seed, then the further rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", type=lambda text: text.split(","), default=list(ARMS))
    parser.add_argument("--seeds", type=lambda text: [int(one) for one in text.split(",")], default=list(SEEDS))
    parser.add_argument("--settings", type=json.loads, default={})
    parser.add_argument("--every", type=int, default=100, help="steps between two points of the curve")
    parser.add_argument("--tune", action="store_true")
    said = parser.parse_args(arguments)
    if unknown := set(said.arms) - set(ARMS):
        parser.error(f"--arms: no arm {', '.join(sorted(unknown))}; there are {', '.join(ARMS)}")
    full(DATA)  # leaves where it is not there
    claim = dataclasses.replace(CLAIM, name=f"{CLAIM.name}_tuning", split=f"{WATCHED} of train, not trained on") if said.tune else CLAIM

    def cells(arm: str, seeds: Sequence[int]) -> list[Cell]:
        words = over(TRAINING, said.settings, ARMS[arm][1])
        asked = {**words, "every": said.every}
        return [measured(claim, arm, seed, asked, lambda seed=seed: trained(seed, words, said.every, said.tune)) for seed in seeds]

    def write(seeds: Sequence[int], others: Sequence[str]) -> None:
        base = cells("ce", seeds)
        ends = [cell["curve"][-1] for cell in base if cell["curve"]]
        level = round(REACHED * float(np.mean(ends)), 2) if ends else None
        rows = {arm: Row(ARMS[arm][0], found, more=told(found, level)) for arm in ("ce", "lal", *others) if (found := cells(arm, seeds))}
        record(claim, rows["ce"], rows["lal"], [rows[arm] for arm in others])

    both = {"ce", "lal"} <= set(said.arms)
    for n in range(len(said.seeds)):
        for arm in ("ce", "lal"):
            if arm in said.arms:
                cells(arm, said.seeds[: n + 1])
        if both:
            write(said.seeds[: n + 1], ())
    others = []
    for arm in (one for one in OTHERS if one in said.arms):
        cells(arm, said.seeds)
        others.append(arm)
        if both:
            write(said.seeds, others)


if __name__ == "__main__":
    main(sys.argv[1:])
