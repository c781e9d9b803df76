"""How far an exported file's probabilities are from those of the network it was made of."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch

from smidgen.parts.networks.upsample import to_size
from smidgen.products.onnx import OnnxSegmenter
from smidgen.products.segmenter import Segmenter
from smidgen.products.windows import whole


def differences(segmenter: Segmenter, exported: OnnxSegmenter) -> dict[tuple[int, ...], float]:
    """Largest difference of probabilities for batches of several sizes, none of which is the example's."""
    multiple, side = segmenter.network.encoder.multiple, exported.description.fixed
    if not isinstance(side, int):
        return _differences_of_windows(segmenter, exported, side)
    sizes = [(1, 3 * multiple, 2 * multiple), (2, 2 * multiple + 3, multiple - 1 or 1), (1, 97, 131), (1, 5, 7)]
    if side:
        sizes = [(1, side, side), (2, side, side)]
    found = {}
    for size in sizes:
        images = _pictures(size, segmenter.channels)
        found[size] = _largest(exported.run(images), segmenter.probs(torch.from_numpy(images), zoom=1.0).numpy())
    if side:  # by windows, as images of other sizes are looked at
        image = _pictures((1, side + side // 2, side // 2 + 1), segmenter.channels)[0]
        one, other = (whole(lambda part, model=model: model.look(part, (1.0,), False, 1.0), image, side) for model in (exported, segmenter))
        found[(1, *image.shape[1:])] = _largest(one, other)
    return found


@torch.no_grad()
def rounding(segmenter: Segmenter, exported: OnnxSegmenter, size: tuple[int, ...]) -> float:
    """How far the network's own probabilities are from those that it computes in 64 bits; no file can be expected to be nearer.

    Level sets that are multiplied by hundreds before they become masks make much of their last digits.

    Args:
        segmenter: Whose network it is.
        exported: The file.
        size: Of the batch; of volumes, windows of the trained size are looked at.
    """
    side = exported.description.fixed
    if isinstance(side, int):
        images = _pictures(size, segmenter.channels)
    else:
        images = np.random.default_rng(0).standard_normal((2, segmenter.channels, *side), dtype=np.float32)
    given = torch.from_numpy(images)
    exact = copy.deepcopy(segmenter.network).double()(given.double()).logits
    return _largest(segmenter.probs(given, zoom=1.0).numpy(), to_size(exact, given.shape[2:]).softmax(dim=1).numpy())


def _differences_of_windows(segmenter: Segmenter, exported: OnnxSegmenter, sides: tuple[int, ...]) -> dict[tuple[int, ...], float]:
    """The same for a network of volumes: one window, several, and a volume that takes more than one."""
    random = np.random.default_rng(0)
    found = {}
    for size in ((1, *sides), (2, *sides)):
        windows = random.standard_normal((size[0], segmenter.channels, *sides), dtype=np.float32)
        found[size] = _largest(exported.run(windows), segmenter.probs(torch.from_numpy(windows)).numpy())
    larger = (sides[0] + sides[0] // 2, *sides[1:])
    volume = random.standard_normal((segmenter.channels, *larger), dtype=np.float32)
    one, other = (
        whole(lambda part, model=model: model.look_together(part, (1.0,), False, 1.0), volume, sides, together=2)
        for model in (exported, segmenter)
    )
    found[(1, *larger)] = _largest(one, other)
    return found


def _pictures(size: Sequence[int], channels: int) -> np.ndarray:
    """A batch with smooth parts and noise."""
    batch, height, width = size
    noise = np.random.default_rng(0).random((batch, channels, height, width), dtype=np.float32)
    slope = np.linspace(0, 1, width, dtype=np.float32) * np.linspace(1, 0, height, dtype=np.float32)[:, None]
    return np.where(np.arange(width) % 32 < 16, noise, slope).astype(np.float32)


def _largest(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).max()) if one.shape == other.shape else float("inf")
