"""Retrain (recursive training, Khoreva et al., CVPR 2017): a network learns the heatmaps' labels; what it sees takes their place.

Reading order: retrain, labeled, seen. A network that many images have taught doubts what only one image's heatmaps say: it drops stray
evidence and fills in parts that it knows from elsewhere. Of what it sees, only the classes of an image's tags are kept. Settings:
settings.Retrain.
Differs: starts from heatmaps instead of boxes, so no box can be enforced; images are looked at with their mirror image.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import partial

import numpy as np
import torch
from torch.nn.functional import adaptive_avg_pool2d

from smidgen.core.run import Results, Run
from smidgen.data.dataset import Dataset
from smidgen.methods.refine import settings
from smidgen.parts.imaging.evidence import confidence, enlarged, ranked
from smidgen.parts.imaging.views import grid
from smidgen.products.heatmaps import Heatmaps
from smidgen.products.labels import LabelMap
from smidgen.products.sample import IGNORED, Sample
from smidgen.products.segmenter import Segmenter, restricted

TOGETHER = 4
"""Images of one size that are predicted in one batch at most."""


def retrain(
    run: Run,
    settings: settings.Retrain,
    data: Dataset,
    heatmaps: Mapping[str, Heatmaps],
    fit_segmenter: Callable[[Mapping[str, LabelMap]], Segmenter],
) -> Results[Heatmaps]:
    """Train on the labels of the heatmaps, look at the same images, and so on."""
    found = None
    for i in range(settings.rounds):
        labels = run.map(f"labels-{i}", partial(labeled, settings=settings, background=data.classes.background), found or heatmaps)
        segmenter = fit_segmenter(labels).to(run.device)
        look = partial(seen, run=run, settings=settings, segmenter=segmenter)
        found = run.map(f"heatmaps-{i}", look, data.samples, heatmaps, together=alike, size=TOGETHER)
    assert found is not None  # the settings want at least one round
    return found


def labeled(heatmaps: Heatmaps, settings: settings.Retrain, background: int | None) -> LabelMap:
    """The strongest class of each pixel at the image's size, 255 near a tie. An image without any class is background all over."""
    evidence, ids = heatmaps.candidates(background)
    if not ids:
        return LabelMap(np.full(heatmaps.size, IGNORED, np.uint8), np.zeros(heatmaps.size, np.float16))
    label, best, second = ranked(enlarged(evidence.astype(np.float32, copy=False), heatmaps.size), np.array(ids, np.uint8))
    unsure = (best - second < settings.margin) | (best <= 0)
    return LabelMap(np.where(unsure, np.uint8(IGNORED), label), np.where(unsure, 0, confidence(best, second)).astype(np.float16))


def alike(sample: Sample) -> Hashable:
    """Samples that share this are predicted in one batch."""
    return (sample.channels, *sample.size)


def seen(samples: list[Sample], heatmaps: list[Heatmaps], run: Run, settings: settings.Retrain, segmenter: Segmenter) -> list[Heatmaps]:
    """What the network sees of each image's own classes, as probabilities at a quarter of the image's size."""
    images = torch.stack([segmenter.prepare(sample.image()) for sample in samples])
    with run.autocast():
        probs = segmenter.probs(images, settings.scales, settings.flip)
    coarse = adaptive_avg_pool2d(probs.float(), grid(samples[0].size))
    return [_own(one, before, segmenter.classes.background) for one, before in zip(coarse, heatmaps, strict=True)]


def _own(probs: torch.Tensor, before: Heatmaps, background: int | None) -> Heatmaps:
    """The probabilities of the classes that the heatmaps spoke of, and of background."""
    kept = restricted(probs, before.ids, background).cpu().numpy().astype(np.float32)
    maps = kept[list(before.ids)]
    nothing = None if before.background is None or background is None else kept[background]
    return Heatmaps(maps=maps, ids=before.ids, background=nothing, peak=maps.max(axis=(1, 2), initial=0.0), size=before.size)
