"""CAM (Zhou et al., CVPR 2016): a classifier's last layer, asked at every place instead of at their mean.

Reading order: cam, look, activation (eq. 2 of the paper, with the ReLU that IRN and AdvCAM put behind it). Settings: settings.Cam.
Differs: sizes are rounded to the encoder's stride, so that images of similar size share a batch; the views and scales are averaged
instead of added, so that `peak` is a logit (the normalized maps are the same).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from smidgen.core.errors import ShapeError
from smidgen.core.memory import hand_back
from smidgen.core.run import Results, Run
from smidgen.data.dataset import Dataset
from smidgen.methods.localize import settings
from smidgen.parts.imaging.views import grid, normalized, onto_grid, resized, unmirrored, with_mirror, working_size
from smidgen.products.heatmaps import Heatmaps
from smidgen.products.sample import Sample
from smidgen.products.tag_classifier import TagClassifier, leaner


def cam(run: Run, settings: settings.Cam, data: Dataset, classifier: TagClassifier) -> Results[Heatmaps]:
    """Maps of the classes in each tagged training image's tags."""
    asked = partial(look, run=run, settings=settings, classifier=leaner(classifier), background=data.classes.background is not None)
    together = partial(shape, settings=settings, stride=classifier.stride)
    return run.map("heatmaps", asked, data.tagged, together=together, size=settings.batch)


def shape(sample: Sample, settings: settings.Cam, stride: int) -> tuple[int, int]:
    """The size at which a sample is looked at; those that share it make a batch."""
    if len(sample.size) != 2:
        raise ShapeError(
            f"{sample.path or sample.id}: expected a 2D image, found {len(sample.size)} dimensions: export the slices as images"
        )
    return working_size(sample.size, settings.size, stride)


def activation(logits: Float[Tensor, "b v k h w"]) -> Float[Tensor, "b k h w"]:
    """Positive evidence per place, averaged over an image and its mirror image."""
    return unmirrored(logits.relu()).mean(dim=1)


def look(samples: Sequence[Sample], run: Run, settings: settings.Cam, classifier: TagClassifier, background: bool) -> list[Heatmaps]:
    """Heatmaps of images that share a working size."""
    base = shape(samples[0], settings, classifier.stride)
    images = [classifier.prepare(sample.image()).to(run.device) for sample in samples]
    rows = [[classifier.ids.index(id) for id in sample.tags or ()] for sample in samples]
    totals = [torch.zeros(len(row), *grid(sample.size), device=run.device) for row, sample in zip(rows, samples, strict=True)]
    for scale in settings.scales:
        size = working_size(base, 0, classifier.stride, scale)
        scaled = torch.stack([resized(image, size) for image in images])
        with torch.no_grad(), run.autocast():
            logits = classifier.class_maps(with_mirror(scaled).flatten(0, 1)).float()
        maps = activation(logits.unflatten(0, (len(samples), 2)))
        for total, row, sample, seen in zip(totals, rows, samples, maps, strict=True):
            total += onto_grid(seen[row], sample.size) / len(settings.scales)
    if run.device.type == "cpu":
        hand_back()
    return [heatmaps(total.cpu().numpy(), sample, settings, background) for total, sample in zip(totals, samples, strict=True)]


def heatmaps(total: Float[np.ndarray, "k h w"], sample: Sample, settings: settings.Cam, background: bool) -> Heatmaps:
    """Each class scaled to maximum 1 beside a constant background."""
    maps, peak = normalized(total)
    nothing = np.full(total.shape[1:], settings.threshold, np.float32) if background else None
    return Heatmaps(maps=maps, ids=tuple(sample.tags or ()), background=nothing, peak=peak, size=tuple(sample.size))
