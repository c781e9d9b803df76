"""Prediction by windows (blending of nnU-Net, Isensee et al., Nature Methods 2021): every pixel's class, for images of any size.

Reading order: windows, look. Small images of one size are predicted together; large ones window by window, blended and finished strip by
strip (products/windows.py); volumes by windows of the trained size, or slice by slice (products/volumes.py). Settings: settings.Windows.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial

import torch

from smidgen.core.run import Results, Run
from smidgen.data.dataset import Dataset
from smidgen.methods.predict import settings
from smidgen.products.largest import only_largest
from smidgen.products.sample import Sample
from smidgen.products.scores import Scores
from smidgen.products.segmenter import Segmenter

TOGETHER = 8
"""Images that are predicted in one batch at most."""


def windows(run: Run, settings: settings.Windows, data: Dataset, segmenter: Segmenter) -> Results[Scores]:
    """Predict all images of the data.

    Args:
        run: Maps over the images.
        settings: How.
        data: Images or volumes, of any split.
        segmenter: The trained network; it is moved to the run's device.

    Raises:
        UsageError: What is wished needs class biases, or a background, and there are none.
    """
    segmenter = (segmenter.calibrated() if settings.calibrated else segmenter).to(run.device)
    alike = partial(likeness, segmenter=segmenter, settings=settings)
    return run.map("predict", partial(look, run=run, segmenter=segmenter, settings=settings), data.samples, together=alike, size=TOGETHER)


def likeness(sample: Sample, segmenter: Segmenter, settings: settings.Windows) -> Hashable:
    """Samples that share this are predicted in one batch: equal in size and small enough to be seen whole."""
    return (sample.channels, *sample.size, sample.id if needs_window(sample, segmenter, settings) else "")


def needs_window(sample: Sample, segmenter: Segmenter, settings: settings.Windows) -> bool:
    """Whether an image is too large to be looked at whole; volumes always are."""
    if len(sample.size) == 3:
        return True
    return segmenter.window(sample.size, settings.window, settings.max_pixels, max(settings.scales)) > 0


def look(samples: list[Sample], run: Run, segmenter: Segmenter, settings: settings.Windows) -> list[Scores]:
    """Scores of images of one size."""
    tags = [sample.tags if settings.restrict else None for sample in samples]
    with run.autocast():
        if needs_window(samples[0], segmenter, settings):
            return [_in_windows(sample, known, segmenter, settings) for sample, known in zip(samples, tags, strict=True)]
        scores = []
        count = _at_once(samples[0], segmenter, settings)
        for i in range(0, len(samples), count):
            images = torch.stack([segmenter.prepare(sample.image()) for sample in samples[i : i + count]])
            probs = segmenter.probs(images, settings.scales, settings.flip)
            scores += [segmenter.scored(one, known, settings.keep_probs) for one, known in zip(probs, tags[i : i + count], strict=True)]
        return [only_largest(one, segmenter.classes) for one in scores] if settings.largest_component else scores


def _in_windows(sample: Sample, tags: tuple[int, ...] | None, segmenter: Segmenter, settings: settings.Windows) -> Scores:
    return segmenter.predict(
        sample.image(),
        tags,
        settings.scales,
        settings.flip,
        window=settings.window,
        overlap=settings.overlap,
        max_pixels=settings.max_pixels,
        keep_probs=settings.keep_probs,
        largest_component=settings.largest_component,
    )


def _at_once(sample: Sample, segmenter: Segmenter, settings: settings.Windows) -> int:
    """How many images of this size the network may see together."""
    side = segmenter.zoom(sample.size) * max(1.0, *settings.scales)
    pixels = side**2 * sample.size[0] * sample.size[1]
    return max(1, int(settings.max_pixels / pixels))
