"""Evidence without masks: the deletion test, summed over images, and its examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from smidgen.data.dataset import Dataset
from smidgen.parts.metrics import bootstrap
from smidgen.parts.metrics.bootstrap import Interval
from smidgen.products.deletion import Deletion


@dataclass(frozen=True)
class DeletionTest:
    """A deletion test over images, each with the mean over its classes; drops are differences of probabilities.

    Args:
        images: How many were tried.
        classes: How many pairs of image and class.
        found: Mean drop where the found region is hidden.
        random: Mean drop where the region is hidden elsewhere.
        better: Share of images in which the found region costs more.
        difference: 95 % interval of the mean of found less random, paired by image; None for fewer than two images.
        by_class: Name of the class -> (pairs, mean drop found, mean drop elsewhere).
        left_out: Pairs that could not be tried: nothing was found, or all of the image.
    """

    images: int
    classes: int
    found: float
    random: float
    better: float
    difference: Interval | None
    by_class: Mapping[str, tuple[int, float, float]]
    left_out: int

    def record(self) -> Mapping[str, Any]:
        """For a JSON file."""
        return {
            "images": self.images,
            "mean_drop_found": self.found,
            "mean_drop_elsewhere": self.random,
            "share_of_images_where_found_costs_more": self.better,
            "difference": None if self.difference is None else self.difference.record(),
            "by_class": {name: {"pairs": n, "found": found, "elsewhere": other} for name, (n, found, other) in self.by_class.items()},
            "not_tried": self.left_out,
        }


@dataclass(frozen=True)
class Hidden:
    """An example of the deletion test.

    Args:
        id: Id of the image.
        name: Name of the class.
        image: The image as the classifier saw it, in [0, 1].
        found: The same without the found region.
        elsewhere: The same without the region elsewhere.
        before: Probability of the tag.
        after: The same without the found region.
        after_random: The same without the region elsewhere.
    """

    id: str
    name: str
    image: Float[np.ndarray, "c h w"]
    found: Float[np.ndarray, "c h w"]
    elsewhere: Float[np.ndarray, "c h w"]
    before: float
    after: float
    after_random: float


def summed(results: Mapping[str, Deletion], data: Dataset) -> DeletionTest | None:
    """A deletion test over all images; None where there was none to try.

    Args:
        results: By image id.
        data: Names of the classes, and groups of the images.
    """
    every = dict(results)
    tried = {id: one for id, one in every.items() if one.ids}
    if not tried:
        return None
    found = np.array([one.drop_found.mean() for one in tried.values()], np.float64)
    random = np.array([one.drop_random.mean() for one in tried.values()], np.float64)
    pairs = [(id, hit, miss) for one in tried.values() for id, hit, miss in zip(one.ids, one.drop_found, one.drop_random, strict=True)]
    by_class = {}
    for id in sorted({id for id, _, _ in pairs}):
        drops = np.array([(hit, miss) for other, hit, miss in pairs if other == id], np.float64)
        by_class[data.classes.names[id]] = (len(drops), float(drops[:, 0].mean()), float(drops[:, 1].mean()))
    groups = [data.samples[id].group for id in tried]
    return DeletionTest(
        images=len(tried),
        classes=len(pairs),
        found=float(found.mean()),
        random=float(random.mean()),
        better=float((found > random).mean()),
        difference=bootstrap.of_means(found - random, groups),
        by_class=by_class,
        left_out=sum(len(one.left_out) for one in every.values()),
    )
