"""dtc_la: what do unlabeled volumes add to four labeled ones, when class scores and level sets have to agree?

Weak-to-strong learning with DTC's terms and both heads averaged (`method`) against one network with both heads' supervision that sees the
same strong views of the labeled volumes for as many steps (`baseline`); three label sets, predicted by windows.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import _volumes
from _records import Claim, record
from _volumes import Setting

LA = Setting("la2018_half", "4", 3)
SEEDS = (0, 1, 2)
STEPS = 1500
BOTH: dict[str, Any] = {"steps": STEPS, "epochs": 0}
"""Of all arms."""
ALONE = {"unlabeled_weight": 0.0, "labeled_weight": 1.0}
PAPER = {
    **BOTH,
    "strong": False,
    "ema": 0.0,
    "labeled_weight": 0.0,
    "target": "paper",
    "reach": 0.0,
    "steepness": 1500.0,
    "answer": "scores",
}
"""DTC as in the paper, in our network."""

CLAIM = Claim(
    name="dtc_la",
    claim="Unlabeled volumes help: weak-to-strong learning with dual-task consistency",
    question="How good is the network on volumes it has not seen?",
    data=LA.name,
    split="val (14 volumes)",
    metric="Dice per volume, percent",
    higher_is_better=True,
    paper={"baseline": 86.03, "method": 89.42, "data": "left atrium, 16 labeled of 80, V-Net (supervised, DTC)"},
    settings={"preset": "small", "labeled": LA.labeled, "steps": STEPS},
)


row = partial(_volumes.row, CLAIM, LA)
"""One arm."""


def main() -> None:
    """Both arms in turn, then what explains them."""
    for n in range(len(SEEDS)):
        base = row(
            "one network, strong views of labeled volumes", "strong", "weak_to_strong", {"weak_to_strong": BOTH | ALONE}, SEEDS[: n + 1]
        )
        ours = row("weak to strong with DTC, both heads averaged", "dtc-strong", "dtc", {"dtc": BOTH}, SEEDS[: n + 1])
        record(CLAIM, base, ours)
    plain = {"supervised": {"steps": STEPS, "epochs": 0}}
    batch = {"encoder": {"norm": "batch"}}
    rows = [
        ("plain supervised", "plain", "masks", plain, ""),
        ("DTC as in the paper, batch statistics", "paper", "dtc", {"dtc": PAPER, **batch}, ""),
        (
            "the same, no consistency on unlabeled volumes",
            "paper-labeled",
            "dtc",
            {"dtc": {**PAPER, "consistency_on": "labeled"}, **batch},
            "",
        ),
        ("plain supervised, batch statistics", "plain-batch", "masks", {**plain, **batch}, ""),
        ("DTC's terms on labeled volumes only", "dtc-alone", "dtc", {"dtc": {**PAPER, "batch_unlabeled": 0}}, ""),
        ("weak to strong", "weak-to-strong", "weak_to_strong", {"weak_to_strong": BOTH}, ""),
        ("mean teacher", "mean-teacher", "mean_teacher", {"mean_teacher": BOTH}, ""),
        ("cross pseudo supervision", "cps", "cps", {"cps": BOTH}, ""),
        ("plain supervised, all volumes", "all", "masks", plain, "all"),
    ]
    others = []
    for name, arm, recipe, words, labeled in rows:
        others.append(row(name, arm, recipe, words, SEEDS if labeled == "" else (0,), labeled))
        record(CLAIM, base, ours, others)


if __name__ == "__main__":
    main()
