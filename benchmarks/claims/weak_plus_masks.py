"""weak_plus_masks: tags for all images and masks for some; what do both together give?

15 % of the training images keep their masks, drawn with the seed; all have tags, from which one shared set of pseudo-masks is made
(`tags_vs_masks`). The method learns masks where they are and pseudo-masks elsewhere; the baseline is the better one of masks alone and
tags alone, seed by seed. Validation images, scored once, no tags known.
"""

from __future__ import annotations

import time
from typing import Any

from _records import Cell, Claim, Row, measured, record
from _voc_animals import NAME, full, opened, quality
from tags_vs_masks import TRAINING, pseudo_masks

SEEDS = (0, 1, 2)
SHARE = "15%"
BOTH: dict[str, Any] = {"how": "strong_views", "ema": 0.99, "epochs": 8.0, "batch": 4, "batch_unlabeled": 8}
"""Of the method: rounds over the images without masks."""
ALONE: dict[str, Any] = {"epochs": 0.0, "steps": 720}
"""Of masks alone: as many steps as the method takes."""

CLAIM = Claim(
    name="weak_plus_masks",
    claim="Tags for all and masks for some beat either alone",
    question="How good is the final network on images it has not seen?",
    data=NAME,
    split="val (195 images)",
    metric="mIoU over 13 classes, percent",
    higher_is_better=True,
    paper={
        "baseline": 68.1,
        "method": 77.8,
        "data": "PASCAL VOC 2012 test, 14 % masks, CCT with AdvCAM's labels; tags alone; all masks 78.0",
    },
    settings={"preset": "small", "labeled": SHARE, "training": TRAINING, "pseudo_masks": "seed 0"},
)


def scored(seed: int, recipe: str, words: dict[str, Any], use: Any, share: str, tags: bool) -> dict[str, Any]:
    """One network, and its scores on val."""
    start = time.monotonic()
    run = opened(seed, words, recipe)
    data = full().keeping(share, seed).using(use)
    stage, method = ("segment", "supervised") if recipe == "masks" else ("semi", "weak_plus_masks")
    segmenter = run.stage(stage, method, data, **({"labels": pseudo_masks()} if tags else {}))
    seconds = time.monotonic() - start
    seen = run.stage("predict", "windows", full().only("val"), segmenter=segmenter)
    return {**quality(seen), "training_seconds": round(seconds)}


def row(name: str, arm: str, recipe: str, words: dict[str, Any], use: Any, share: str, tags: bool, seeds: tuple[int, ...] = SEEDS) -> Row:
    """One arm."""

    def cell(seed: int) -> Cell:
        told = {"recipe": recipe, "share": share, "tags": tags, **words}
        return measured(CLAIM, arm, seed, told, lambda: scored(seed, recipe, words, use, share, tags))

    return Row(name, [cell(seed) for seed in seeds])


def main() -> None:
    """Masks alone, tags alone, both; then the other way to learn both, and all masks."""
    training, both = {"supervised": TRAINING}, {"weak_plus_masks": BOTH}
    others: list[Row] = []
    for n in range(1, len(SEEDS) + 1):
        masks = row("masks alone (15 %)", "masks", "masks", {"supervised": ALONE}, "masks", SHARE, False, SEEDS[:n])
        tags = row("tags alone", "tags", "masks", training, "tags", SHARE, True, SEEDS[:n])
        ours = row("masks for 15 %, pseudo-masks elsewhere", "both", "mixed", both, None, SHARE, True, SEEDS[:n])
        better = [max(pair, key=lambda cell: cell["value"]) for pair in zip(masks.cells, tags.cells, strict=True)]
        record(CLAIM, Row("the better one of masks alone and tags alone", better), ours, [masks, tags])
        others = [masks, tags]
    decoders = {"weak_plus_masks": {**BOTH, "how": "decoders", "ema": 0.0}}
    more = [
        row("auxiliary decoders, as in AdvCAM's setting", "decoders", "mixed", decoders, None, SHARE, True, (0,)),
        row("masks for 5 %, pseudo-masks elsewhere", "both-5", "mixed", both, None, "5%", True, (0,)),
        row("all masks", "all", "masks", training, "masks", "all", False, (0,)),
    ]
    record(CLAIM, Row("the better one of masks alone and tags alone", better), ours, [*others, *more])


if __name__ == "__main__":
    main()
