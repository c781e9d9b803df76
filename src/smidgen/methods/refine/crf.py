"""Dense CRF (Krähenbühl & Koltun, NIPS 2011): labels move to where colors change, and specks vanish.

Reading order: crf, tidied, shares. The CRF is in parts/imaging/crf, its lattice in parts/imaging/permutohedral. Settings: settings.Crf.
Differs: it starts from heatmaps, whose shares are the probabilities; other than three channels count as if there were three.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import sqrt

import numpy as np
import torch
from jaxtyping import Float, Float32

from smidgen.core.errors import ShapeError
from smidgen.core.run import Results, Run
from smidgen.data.dataset import Dataset
from smidgen.methods.refine import settings
from smidgen.parts.imaging.crf import DenseCrf, Kernel, energies_of
from smidgen.parts.imaging.evidence import enlarged
from smidgen.parts.imaging.views import resized
from smidgen.products.heatmaps import Heatmaps
from smidgen.products.sample import Sample

STEPS = 1024
"""Probabilities are kept in so many steps: most are 0 or 1 then, and files are a tenth as large."""
SMALLEST = 1e-5
"""Evidence counts as at least this, so that what has none keeps a chance."""


def crf(run: Run, settings: settings.Crf, data: Dataset, heatmaps: Mapping[str, Heatmaps]) -> Results[Heatmaps]:
    """Probabilities of the classes and of the background in every image that has heatmaps."""
    return run.map("heatmaps", partial(tidied, settings=settings), data.samples, heatmaps)


def tidied(sample: Sample, heatmaps: Heatmaps, settings: settings.Crf) -> Heatmaps:
    """Heatmaps of one image after the CRF: at each pixel, maps and background sum to 1, and the largest is the CRF's label.

    Raises:
        ShapeError: A volume.
    """
    if len(sample.size) != 2:
        raise ShapeError(
            f"{sample.path or sample.id}: expected a 2D image, found {len(sample.size)} dimensions: "
            "export the slices as images, or leave crf out of --refine"
        )
    size = canvas((sample.size[0], sample.size[1]), settings)
    filled = heatmaps.background is not None
    evidence = heatmaps.maps if heatmaps.background is None else np.concatenate([heatmaps.background[None], heatmaps.maps])
    found = enlarged(evidence.astype(np.float32), size)
    if len(found) > 0:
        found = shares(found, settings.sharpness)
    if len(found) > 1:  # one alone has nothing to share with
        image = resized(torch.from_numpy(np.array(sample.image())), size).numpy()
        threads = torch.get_num_threads()
        found = DenseCrf.of(image, kernels(settings), threads).marginals(energies_of(found), settings.iterations, threads)
        found = np.rint(found * np.float32(STEPS)) / np.float32(STEPS)
    maps = found[1:] if filled else found
    ignore = None if heatmaps.ignore is None else enlarged(heatmaps.ignore[None].astype(np.float32), size)[0] > 0.5
    return Heatmaps(
        maps=maps,
        ids=heatmaps.ids,
        background=found[0] if filled else None,
        peak=maps.max(axis=(1, 2), initial=0),
        size=heatmaps.size,
        ignore=ignore,
    )


def canvas(size: tuple[int, int], settings: settings.Crf) -> tuple[int, int]:
    """The size at which the CRF works."""
    factor = settings.size / max(size) if settings.size else 1.0
    height, width = (side * factor for side in size)
    fit = min(1.0, sqrt(settings.max_pixels / (height * width)))
    return max(1, int(height * fit + 0.5)), max(1, int(width * fit + 0.5))


def kernels(settings: settings.Crf) -> tuple[Kernel, Kernel]:
    """Pixels that are near, and pixels that are near and of similar color."""
    return Kernel(settings.near_weight, settings.near_width), Kernel(
        settings.color_weight, settings.color_width, settings.color_spread / 255
    )


def shares(evidence: Float[np.ndarray, "k h w"], sharpness: float) -> Float32[np.ndarray, "k h w"]:
    """Probabilities: each map's share of the sum of powers; the background's map is one of them."""
    powers = np.maximum(evidence, np.float32(SMALLEST)) ** np.float32(sharpness)
    return powers / powers.sum(axis=0)
