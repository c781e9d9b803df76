"""cotraining_acdc: what do unlabeled patients add to three labeled ones, beyond strong views of these three?

Two networks that learn from each other (`method`) against one network that sees the same strong views of the labeled slices for as many
steps (`baseline`); three label sets, one network scored in each arm. Choices were made on ten patients of train.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import _volumes
from _records import Claim, record
from _volumes import Setting

ACDC = Setting("acdc", "3groups", 2)
SEEDS = (0, 1, 2)
STEPS = 4000
STRONG: dict[str, Any] = {"steps": STEPS, "epochs": 0}
"""Of all arms."""
CROSSED = {**STRONG, "overlap": 1.0}
"""Of three patients nobody can be spared: each network learns from all of them. They differ by initial weights, order and views."""
ALONE = {"unlabeled_weight": 0.0, "labeled_weight": 1.0}
"""Weak to strong without unlabeled images: the control."""

CLAIM = Claim(
    name="cotraining_acdc",
    claim="Networks that teach each other on unlabeled patients beat strong augmentation of the labeled ones",
    question="How good is one network on patients it has not seen?",
    data=ACDC.name,
    split="val (30 volumes)",
    metric="mean Dice per volume over 3 classes, percent",
    higher_is_better=True,
    paper=None,
    settings={"preset": "small", "labeled": ACDC.labeled, "steps": STEPS},
)


row = partial(_volumes.row, CLAIM, ACDC)
"""One arm."""


def main() -> None:
    """Both arms in turn, then what explains them."""
    for n in range(len(SEEDS)):
        base = row(
            "one network, strong views of labeled slices", "strong", "weak_to_strong", {"weak_to_strong": STRONG | ALONE}, SEEDS[: n + 1]
        )
        ours = row("co-training: crossed votes of averaged networks", "crossed", "cotraining", {"cotraining": CROSSED}, SEEDS[: n + 1])
        record(CLAIM, base, ours)
    plain = {"supervised": {"steps": STEPS, "epochs": 0}}
    paper = {**CROSSED, "agreement": "jsd", "strong": False}
    rows = [
        ("plain supervised", "plain", "masks", plain, ""),
        (
            "crossed, each network with a patient that the other one lacks",
            "crossed-apart",
            "cotraining",
            {"cotraining": {**STRONG, "overlap": 0.5}},
            "",
        ),
        ("own teachers, no exchange", "own", "cotraining", {"cotraining": {**CROSSED, "agreement": "own"}}, ""),
        ("agreement as in the paper, with diversity", "jsd-diverse", "cotraining", {"cotraining": paper}, ""),
        ("agreement as in the paper, without diversity", "jsd", "cotraining", {"cotraining": {**paper, "diversity_weight": 0.0}}, ""),
        ("weak to strong, one network", "weak-to-strong", "weak_to_strong", {"weak_to_strong": STRONG}, ""),
        ("cross pseudo supervision with CutMix", "cps", "cps", {"cps": STRONG}, ""),
        ("mean teacher", "mean-teacher", "mean_teacher", {"mean_teacher": STRONG}, ""),
        ("plain supervised, all patients", "all", "masks", plain, "all"),
    ]
    others = []
    for name, arm, recipe, words, labeled in rows:
        others.append(row(name, arm, recipe, words, SEEDS if labeled == "" else (0,), labeled))
        record(CLAIM, base, ours, others)


if __name__ == "__main__":
    main()
