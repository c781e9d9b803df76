"""tags_vs_masks: how far do image tags get, measured by the same network trained from full masks?

One shared set of pseudo-masks, made by the preset small from the tags of all training images; then the same training of the same network on
them (`method`) and on the people's masks (`baseline`), three seeds of the training each. Validation images, scored once, no tags known.
"""

from __future__ import annotations

import time
from functools import cache
from typing import Any

from _records import Cell, Claim, Row, measured, record
from _voc_animals import NAME, full, opened, quality, tagged

from smidgen.recipes.choice import resolve

SEEDS = (0, 1, 2)
TRAINING: dict[str, Any] = {"epochs": 8.0}
"""Of the segmenter, where it is not the preset's."""

CLAIM = Claim(
    name="tags_vs_masks",
    claim="From image tags alone to most of what full masks give",
    question="How good is the final network on images it has not seen?",
    data=NAME,
    split="val (195 images)",
    metric="mIoU over 13 classes, percent",
    higher_is_better=True,
    paper={"baseline": 78.0, "method": 68.1, "data": "PASCAL VOC 2012 test, DeepLab-v2 with ResNet-101"},
    settings={"preset": "small", "pseudo_masks": "seed 0", "training": TRAINING},
)


@cache
def pseudo_masks() -> Any:
    """From the tags of all training images; what each stage took is told by its clock."""
    run = opened(0, {})
    choice = resolve("tags", "small", {}).choice
    classifier = run.stage("classify", choice.classify, tagged())
    heatmaps = run.stage("localize", choice.localize, tagged(), classifier=classifier)
    for refiner in choice.refine:
        heatmaps = run.stage("refine", refiner, tagged(), heatmaps=heatmaps)
    labels = run.stage("label", choice.label, tagged(), heatmaps=heatmaps)
    print("  " + ", ".join(f"{one.stage} {one.method} {one.seconds:.0f} s" for one in run.finished), flush=True)
    return labels


def trained(seed: int, words: dict[str, Any], tags: bool) -> dict[str, Any]:
    """A network, and its scores on val."""
    start = time.monotonic()
    run = opened(seed, words, "tags" if tags else "masks")
    made = {"labels": pseudo_masks()} if tags else {}
    data = tagged() if tags else full().using("masks")
    segmenter = run.stage("segment", "supervised", data, **made)
    seconds = time.monotonic() - start
    val = full().only("val", list(full().val))
    seen = run.stage("predict", "windows", val, segmenter=segmenter)
    return {**quality(seen), "training_seconds": round(seconds)}


def row(name: str, arm: str, tags: bool, seeds: tuple[int, ...] = SEEDS, **words: Any) -> Row:
    """One arm."""

    def cell(seed: int) -> Cell:
        return measured(CLAIM, arm, seed, {"tags": tags, **words}, lambda: trained(seed, {**words, "supervised": TRAINING}, tags))

    return Row(name, [cell(seed) for seed in seeds])


def main() -> None:
    """The pseudo-masks, then both arms in turn."""
    masks = Row("pseudo-masks on train, tags known", [measured(CLAIM, "pseudo-masks", 0, {}, lambda: quality(pseudo_masks()))])
    for seed in SEEDS:
        base = row("full masks", "masks", False, SEEDS[: seed + 1])
        ours = row("image tags alone", "tags", True, SEEDS[: seed + 1])
        record(CLAIM, base, ours, [masks])


if __name__ == "__main__":
    main()
