"""advcam_lean: leaner climbs against the exact one: seeds of the same quality in less time.

The exact climb is the paper's at one scale: 27 steps at the pixels, λ = 7, the current clip range. Each leaner one changes what its name
says. All climb the same images with the same classifier, batch by batch in turn, so that whatever slows the machine slows all alike;
processor seconds count, not the clock. Quality is the seed's mIoU with the best threshold (an oracle for all), with known tags.

Leave out arms, or take other images, with words: `advcam_lean.py '{"images": 20, "arms": ["feature map"]}'`; what was measured is kept
apart by these words.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from _records import Cell, Claim, Row, measured, record
from _voc_animals import NAME, opened, seed_quality, subset, tagged, words

from smidgen.methods.localize import settings as localize
from smidgen.methods.localize.advcam import Climber, heatmaps
from smidgen.products.heatmaps import Heatmaps
from smidgen.products.sample import Sample
from smidgen.products.tag_classifier import TagClassifier

IMAGES = 100
SIDE = 448
EXACT = {"steps": 27, "step_size": 0.018, "restraint": 7.0, "on_above": 0.5, "scales": [1.0], "size": SIDE, "batch": 4}
FEATURES = {"point": "blocks.4", "step_unit": "half-range", "step_size": 0.01, "restraint": 0.0}
SIXTEEN = "16 bits"
ARMS: Mapping[str, Mapping[str, Any]] = {
    "exact": {},
    "one at a time": {"batch": 1},
    "first clip range": {"clip": "original"},
    "9 steps": {"steps": 9},
    "9 larger steps": {"steps": 9, "step_size": 0.054},
    "9 steps with momentum": {"steps": 9, "momentum": 0.7},
    "half-range steps": {"step_unit": "half-range", "step_size": 0.01, "steps": 9},
    SIXTEEN: {},
    "feature map": {**FEATURES, "steps": 27},
    "feature map, 8 steps": {**FEATURES, "steps": 8},
    "feature map, 4 steps with momentum": {**FEATURES, "steps": 4, "momentum": 0.7},
    "feature map, 8 steps, first clip range": {**FEATURES, "steps": 8, "clip": "original"},
    "earlier feature map, 8 steps": {**FEATURES, "steps": 8, "point": "blocks.2"},
    "plain CAM": {"steps": 1},
}
"""What differs from `EXACT`."""
CHOSEN = "feature map, 8 steps"

CLAIM = Claim(
    name="advcam_lean",
    claim="A leaner climb gives seeds of the same quality several times as fast",
    question="How many maps a second, and how good are the seeds?",
    data=NAME,
    split="the first training images of the subset, with their tags",
    metric="maps per processor second",
    higher_is_better=True,
    paper=None,
    settings={"exact": EXACT},
)


def climbers(classifier: TagClassifier, device: torch.device, arms: Sequence[str]) -> dict[str, Climber]:
    """One for each arm."""

    def sixteen() -> Any:
        return torch.autocast(device.type, dtype=torch.bfloat16)

    made = {}
    for arm in arms:
        settings = localize.Advcam(**{**EXACT, **ARMS[arm]})  # pyright: ignore[reportArgumentType]
        made[arm] = Climber(classifier, settings, device, sixteen if arm == SIXTEEN else nullcontext)
    return made


def compared(classifier: TagClassifier, device: torch.device, samples: Sequence[Sample], arms: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Every arm on every image.

    Args:
        classifier: Whose logits are climbed on.
        device: Where.
        samples: What is climbed.
        arms: Names in `ARMS`.

    Returns:
        For each arm maps per processor second, quality, and how far its maps are from the exact ones.
    """
    made = climbers(classifier, device, arms)
    some = next(iter(made.values()))
    groups: dict[tuple[int, int], list[Sample]] = {}
    for sample in samples:
        groups.setdefault(some.shape(sample), []).append(sample)
    size = int(EXACT["batch"])
    batches = [group[i : i + size] for group in groups.values() for i in range(0, len(group), size)]
    next(iter(climbers(classifier, device, ["plain CAM"]).values()))(batches[0])  # warm
    seconds, found = dict.fromkeys(arms, 0.0), {arm: {} for arm in arms}
    for i, batch in enumerate(batches):
        for arm in arms:
            start = time.process_time()
            climbs = made[arm](batch)
            seconds[arm] += time.process_time() - start
            found[arm].update({sample.id: heatmaps(one, 0.25) for sample, one in zip(batch, climbs, strict=True)})
        print(f"  batch {i + 1} of {len(batches)}", flush=True)
    maps = sum(len(sample.tags or ()) for sample in samples)
    return {arm: told(found[arm], found[arms[0]], maps / seconds[arm]) for arm in arms}


def told(found: Mapping[str, Heatmaps], exact: Mapping[str, Heatmaps], speed: float) -> dict[str, Any]:
    """What a cell holds."""
    quality = seed_quality(found)
    apart = [float(abs(one.maps - exact[id].maps).mean()) for id, one in found.items() if len(one.maps)]
    kept = {"miou": quality["value"], "pooled": quality["pooled"], "threshold": quality["threshold"], "curve": quality["curve"]}
    return {"value": round(speed, 4), **kept, "mean_difference_to_exact": round(sum(apart) / len(apart), 4)}


def main() -> None:
    """Measure all arms side by side."""
    asked = {"images": IMAGES, "arms": list(ARMS), **words(sys.argv[1] if len(sys.argv) > 1 else "")}
    arms = ["exact", *(arm for arm in asked["arms"] if arm != "exact")]
    done: dict[str, dict[str, Any]] = {}

    def side(arm: str) -> dict[str, Any]:
        if not done:
            run = opened(0, {})
            classifier = run.stage("classify", "gap", tagged())
            done.update(compared(classifier, run.device, list(subset(asked["images"]).samples.values()), arms))
        return done[arm]

    def cell(arm: str) -> Cell:
        work: Callable[[], dict[str, Any]] = lambda: side(arm)  # noqa: E731
        return measured(CLAIM, arm.replace(" ", "-").replace(",", ""), 0, {"images": asked["images"], **ARMS[arm]}, work)

    rows = {arm: cell(arm) for arm in arms}
    facts = ("miou", "pooled", "threshold", "mean_difference_to_exact")
    shown = {arm: Row(arm, [one], more={fact: one[fact] for fact in facts}) for arm, one in rows.items()}
    chosen = CHOSEN if CHOSEN in shown else arms[-1]
    record(CLAIM, shown["exact"], shown[chosen], [row for arm, row in shown.items() if arm not in ("exact", chosen)])


if __name__ == "__main__":
    main()
