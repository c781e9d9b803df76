"""scribbles: how far do strokes get, measured by the same network trained from full masks? An extra of the claims about few labels.

All patients of acdc have strokes of each class instead of masks (`baseline`: masks of all patients, `method`: strokes of all); val is
scored by its masks.
"""

from __future__ import annotations

from functools import partial

import _volumes
from _records import Claim, record
from _volumes import Setting

STROKES, MASKS = Setting("acdc", "all", 2, "scribbles"), Setting("acdc", "all", 2)
SEEDS = (0,)
STEPS = 4000

CLAIM = Claim(
    name="scribbles",
    claim="Strokes reach most of what full masks give",
    question="How good is the network on patients it has not seen?",
    data=MASKS.name,
    split="val (30 volumes)",
    metric="mean Dice per volume over 3 classes, percent",
    higher_is_better=True,
    paper=None,
    settings={"preset": "small", "steps": STEPS},
)


row = partial(_volumes.row, CLAIM, seeds=SEEDS)
"""One arm."""


def main() -> None:
    """Masks, strokes alone, strokes with what else teaches."""
    alone = {"supervised": {"steps": STEPS}}
    taught = {"steps": STEPS, "labeled_weight": 1.0, "paste": 0.5}
    smooth = {"steps": STEPS, "how": "strong_views", "smooth_weight": 0.1, "ema": 0.99}
    base = row(MASKS, "full masks", "masks", "masks", alone)
    strokes = row(STROKES, "strokes alone", "strokes", "masks", alone)
    ours = row(
        STROKES, "strokes, and what the averaged network says elsewhere", "weak-to-strong", "weak_to_strong", {"weak_to_strong": taught}
    )
    record(CLAIM, base, ours, [strokes])
    energy = row(STROKES, "strokes with a CRF's energy", "energy", "weak_plus_masks", {"weak_plus_masks": smooth})
    record(CLAIM, base, ours, [strokes, energy])


if __name__ == "__main__":
    main()
