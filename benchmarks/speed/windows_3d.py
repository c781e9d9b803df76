"""Prediction of a volume by windows: smidgen's against MONAI's sliding_window_inference, the same network, windows and overlap.

python benchmarks/speed/windows_3d.py
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from _records import Part, Question, in_turn, measured, missing, record

from smidgen.parts.networks.heads.settings import Point
from smidgen.parts.networks.settings import Encoder
from smidgen.products.sample import Classes
from smidgen.products.segmenter import Architecture, Segmenter

SIZE = (88, 208, 176)
"""Of the volume, the largest of the left atria at half resolution and of the usual example."""
PATCH = (80, 112, 112)
AIM = 0.6
"""Ratio."""
ROUNDS = 5
"""Counted rounds of each case."""
WIDTHS = {"resunet 8": 8, "resunet 16": 16}
ASKED = Question(
    name="windows_3d",
    claim="A volume is predicted by windows in 60 % of the time that MONAI's sliding window takes",
    question="How long does a volume take, by windows of the trained size that overlap by half?",
    data=f"one volume of {' x '.join(map(str, SIZE))}, noise",
    metric="CPU seconds a volume",
    baseline="MONAI's sliding_window_inference over the same network, 4 windows at once",
    settings={"size": SIZE, "patch": PATCH, "overlap": 0.5, "rounds": ROUNDS, "widths": WIDTHS},
    aim="a ratio of 0.6 and less: 1.2 s where MONAI's takes 2 s",
)


def network(width: int) -> Segmenter:
    """A small residual U-Net as `resunet` makes it."""
    own = Encoder(name="resunet", weights="none", width=width, depth=4, norm="instance")
    architecture = Architecture(own, "point", Point(), Classes(("background", "organ")), 1, patch=PATCH, dims=3, zscored=True)
    return Segmenter(architecture.build(), architecture)


def one(width: int) -> tuple[Sequence[float], Sequence[float], Mapping[str, Any]]:
    """Seconds of both for a network of this width, and how far they differ."""
    from monai.inferers import sliding_window_inference  # pyright: ignore[reportMissingImports]

    segmenter = network(width)
    volume = np.random.default_rng(0).standard_normal((1, *SIZE)).astype(np.float32)
    image = torch.from_numpy(volume)[None]

    @torch.no_grad()
    def theirs() -> torch.Tensor:
        look = lambda windows: segmenter.network(windows).logits.softmax(dim=1)  # noqa: E731
        return sliding_window_inference(image, PATCH, 4, look, overlap=0.5, mode="gaussian", sigma_scale=0.125)  # pyright: ignore[reportReturnType]

    ours = partial(segmenter.predict, volume, keep_probs=True)
    baseline, method = in_turn(theirs, ours, ROUNDS)
    same = (ours().label == theirs()[0].argmax(dim=0).numpy()).mean()
    return baseline, method, {"voxels of one class in both, %": round(100 * float(same), 2), "parameters": parameters(segmenter)}


def parameters(segmenter: Segmenter) -> int:
    """Of the network."""
    return sum(parameter.numel() for parameter in segmenter.network.parameters())


def main() -> int:
    """Measure what is missing; 0 if the aim is reached."""
    if find_spec("monai") is None:
        return missing("monai")
    torch.set_num_threads(1)
    parts: list[Part] = [measured(ASKED, name, partial(one, width)) for name, width in WIDTHS.items()]
    return record(ASKED, parts, reached=all(part.ratio["median"] <= AIM for part in parts))


if __name__ == "__main__":
    sys.exit(main())
