"""advcam_seed: are maps that are summed while an image climbs better seeds than plain class activation maps?

Training images with their known tags, a threshold for the background that masks choose (an oracle, for both alike), the same classifier
and the same size for both. Three classifiers, which differ in their seed. `others` holds further sizes of the plain map, so that it is not
weakened by ours, the curve over steps with and without the restraint, and one further encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from _records import Cell, Claim, Row, measured, record
from _voc_animals import NAME, opened, seed_quality, subset, tagged
from torch import Tensor

from smidgen.methods.localize import advcam
from smidgen.methods.localize import settings as localize
from smidgen.parts.imaging.views import grid, normalized, onto_grid, resized
from smidgen.products.heatmaps import Heatmaps
from smidgen.products.sample import Sample
from smidgen.products.tag_classifier import TagClassifier

SEEDS = (0, 1, 2)
IMAGES = 200
CAM = {"size": 512, "scales": [1.0]}
CLIMB = {"size": 512, "steps": 12}
LARGER = {"encoder": {"name": "tf_efficientnet_lite2"}}
CURVE = (1, 2, 4, 8, 12, 16, 24)
CURVE_IMAGES = 60
RESTRAINT = 2.6
"""What λ = 7 is for the maps of a classifier with 2.7 times fewer positive features than the paper's (first trial: the plateau's value)."""

CLAIM = Claim(
    name="advcam_seed",
    claim="Summing maps along the climb finds more of the object than the plain map",
    question="How good are seeds at their best threshold, tags known?",
    data=NAME,
    split=f"{IMAGES} training images (benchmarks/subsets)",
    metric="mIoU over 13 classes, percent",
    higher_is_better=True,
    paper={"baseline": 48.8, "method": 55.6, "data": "PASCAL VOC 2012 train, ResNet-50"},
    settings={"preset": "small", "images": IMAGES},
)


@cache
def classifier(seed: int, larger: bool = False) -> TagClassifier:
    """Trained on all tagged images."""
    return opened(seed, LARGER if larger else {}).stage("classify", "gap", tagged())


def seed_of(seed: int, method: str, settings: dict[str, Any], larger: bool = False) -> dict[str, Any]:
    """Quality of the heatmaps of one localizer."""
    words = {**(LARGER if larger else {}), "localize": method, method: settings}
    return seed_quality(opened(seed, words).stage("localize", method, subset(IMAGES), classifier=classifier(seed, larger)))


def curve(restraint: float) -> dict[str, Any]:
    """Quality after every few steps of one long climb, on fewer images."""
    run = opened(0, {"advcam": {**CLIMB, "steps": max(CURVE), "restraint": restraint}})
    settings: Any = run.settings["advcam"]
    climber = advcam.Climber(classifier(0), settings, run.device, run.autocast)
    found: dict[int, dict[str, Heatmaps]] = {steps: {} for steps in CURVE}
    for id, sample in subset(CURVE_IMAGES).samples.items():
        for steps, maps in climbed(sample, climber, settings, run.autocast).items():
            scaled, peak = normalized(maps)
            found[steps][id] = Heatmaps(scaled, tuple(sample.tags or ()), np.zeros(scaled.shape[1:], np.float32), peak, tuple(sample.size))
    values = {steps: seed_quality(maps) for steps, maps in found.items()}
    return {"value": values[CLIMB["steps"]]["value"], "steps": {str(steps): one["value"] for steps, one in values.items()}}


def climbed(sample: Sample, climber: advcam.Climber, settings: localize.Advcam, autocast: Any) -> dict[int, np.ndarray]:
    """Sums of the first maps of one image's climbs, one scale."""
    rows = [climber.classifier.ids.index(id) for id in sample.tags or ()]
    image = resized(climber.classifier.prepare(sample.image()), climber.shape(sample))
    start = climber._start(image[None]).expand(len(rows), -1, -1, -1, -1)  # pyright: ignore[reportPrivateUsage]
    rivals = torch.stack([climber._rivals(row, sample.tags or ()) for row in rows])  # pyright: ignore[reportPrivateUsage]
    weight = settings.restraint / advcam.PAPER_POSITIVES
    maps: list[Tensor] = []

    def class_maps(x: Tensor) -> Tensor:
        return climber.classifier.class_maps(x, at=settings.point)

    for rung in advcam.ascent(
        class_maps, start, torch.tensor(rows), rivals, settings, steps=max(CURVE), restraint=weight, autocast=autocast
    ):
        maps.append(onto_grid(rung.maps, grid(sample.size)))
    return {steps: torch.stack(maps[:steps]).sum(dim=0).numpy() for steps in CURVE}


def row(name: str, arm: str, method: str, settings: dict[str, Any], seeds: Sequence[int] = SEEDS, larger: bool = False) -> Row:
    """One arm with these seeds."""

    def cell(seed: int) -> Cell:
        return measured(CLAIM, arm, seed, {"method": method, **settings, "larger": larger}, lambda: seed_of(seed, method, settings, larger))

    return Row(name, [cell(seed) for seed in seeds])


def steps_of(name: str, arm: str, restraint: float) -> Row:
    """The curve of one restraint."""
    cell = measured(CLAIM, arm, 0, {"restraint": restraint, "steps": CURVE, "images": CURVE_IMAGES, **CLIMB}, lambda: curve(restraint))
    return Row(name, [cell], note=f"mIoU on {CURVE_IMAGES} images by number of maps: {cell['steps']}")


def main() -> None:
    """Both arms first, then what explains them."""
    base = row("CAM, 512 px, mirrored", "cam", "cam", CAM)
    ours = row("AdvCAM, 512 px, 12 maps, climbed after blocks.4", "advcam", "advcam", CLIMB)
    record(CLAIM, base, ours)
    others = [
        row("CAM, 448 px", "cam-448", "cam", {**CAM, "size": 448}),
        row("CAM, 640 px", "cam-640", "cam", {**CAM, "size": 640}, seeds=(0,)),
        row("CAM, 512 px at 0.75, 1 and 1.25", "cam-scales", "cam", {**CAM, "scales": [0.75, 1.0, 1.25]}, seeds=(0,)),
        steps_of("AdvCAM without restraint, by steps", "curve-free", 0.0),
        steps_of("AdvCAM with restraint, by steps", "curve-kept", RESTRAINT),
        row("CAM, efficientnet_lite2", "cam-lite2", "cam", CAM, seeds=(0,), larger=True),
        row("AdvCAM, efficientnet_lite2", "advcam-lite2", "advcam", CLIMB, seeds=(0,), larger=True),
    ]
    record(CLAIM, base, ours, others)


if __name__ == "__main__":
    main()
