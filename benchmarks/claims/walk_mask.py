"""walk_mask: from seeds to pseudo-masks, by learned edges, a random walk along them, and a dense CRF.

The seeds are AdvCAM's at their best threshold (as in `advcam_seed`, the same three classifiers and images); the edges are learned from
these seeds alone, on the images that are scored. The pseudo-mask is what the preset makes of the heatmaps: the strongest evidence of a
pixel, the background being a constant; nothing is chosen by masks.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from _records import Cell, Claim, Row, measured, record
from _voc_animals import NAME, opened, quality, seed_quality, subset, tagged
from advcam_seed import CLIMB, IMAGES, SEEDS

EDGES = {"steps": 160}
"""Of training, with 8 images each: six times over 200 images."""

CLAIM = Claim(
    name="walk_mask",
    claim="A walk between learned edges, and a CRF, turn seeds into masks",
    question="How good are pseudo-masks, tags known?",
    data=NAME,
    split=f"{IMAGES} training images (benchmarks/subsets)",
    metric="mIoU over 13 classes, percent",
    higher_is_better=True,
    paper={"baseline": 55.6, "method": 69.9, "data": "PASCAL VOC 2012 train, ResNet-50"},
    settings={"preset": "small", "images": IMAGES, "edges": EDGES, "climb": CLIMB},
)


@cache
def seeds_of(seed: int) -> Any:
    """AdvCAM's heatmaps, the same as in advcam_seed."""
    classifier = opened(seed, {}).stage("classify", "gap", tagged())
    run = opened(seed, {"localize": "advcam", "advcam": CLIMB})
    return run.stage("localize", "advcam", subset(IMAGES), classifier=classifier)


@cache
def walked(seed: int, seed_crf: bool = True) -> Any:
    """After the walk."""
    run = opened(seed, {"refine": "walk", "walk": {**EDGES, "seed_crf": seed_crf}})
    return run.stage("refine", "walk", subset(IMAGES), heatmaps=seeds_of(seed))


def tidied(seed: int, heatmaps: Any) -> Any:
    """After the CRF."""
    return opened(seed, {"refine": "crf"}).stage("refine", "crf", subset(IMAGES), heatmaps=heatmaps)


def masks(seed: int, heatmaps: Any) -> dict[str, Any]:
    """Quality of the masks that the preset makes of them."""
    return quality(opened(seed, {}).stage("label", "argmax", subset(IMAGES), heatmaps=heatmaps))


def main() -> None:
    """Both arms, and each refiner alone."""

    def arm(name: str, made: Any, label: str) -> Row:
        def cell(seed: int) -> Cell:
            return measured(CLAIM, name, seed, {}, lambda: made(seed))

        return Row(label, [cell(seed) for seed in SEEDS])

    base = arm("seed", lambda seed: seed_quality(seeds_of(seed)), "AdvCAM seed, best threshold")
    ours = arm("walk-crf", lambda seed: masks(seed, tidied(seed, walked(seed))), "after walk and CRF")
    record(CLAIM, base, ours)
    others = [
        arm("walk", lambda seed: masks(seed, walked(seed)), "after the walk alone"),
        arm("crf", lambda seed: masks(seed, tidied(seed, seeds_of(seed))), "after the CRF alone"),
        arm(
            "walk-thresholds",
            lambda seed: masks(seed, walked(seed, False)),
            "after the walk alone, its seeds from thresholds without a CRF",
        ),
    ]
    record(CLAIM, base, ours, others)


if __name__ == "__main__":
    main()
