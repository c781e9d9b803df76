"""What means over classes hide: objects seen where there are none, and tags that got no pixel.

Example:
    >>> import numpy as np
    >>> empty, alarm = np.array([[9, 0, 0], [0, 0, 0]]), np.array([[7, 2, 0], [0, 0, 0]])  # as `confusion.count` gives them
    >>> false_alarms([empty, alarm], background=0)
    {'images': 2, 'with_false_alarms': 1, 'share_of_pixels': 0.1111111111111111}
    >>> without_a_pixel([(np.array([[0, 1]]), (1,)), (np.array([[0, 0]]), (1,))], ("background", "cat"))
    {'cat': {'tagged': 2, 'without_a_pixel': 1}}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64, Integer

from smidgen.parts.metrics.confusion import marginals


def false_alarms(counts: Iterable[Int64[np.ndarray, "k k1"]], background: int | None) -> dict[str, Any] | None:
    """Images without any object, those of them in which one is predicted, and the share of their pixels that is.

    Args:
        counts: One image each.
        background: Label value of the background; None where there is none.

    Returns:
        None where no image is free of objects.
    """
    images = alarmed = wrong = pixels = 0
    for one in counts:
        hits, truth, predicted = marginals(one)
        if background is None or truth.sum() == 0 or truth[background] < truth.sum():
            continue
        false = int(predicted.sum() - hits[background])
        images, alarmed, wrong, pixels = images + 1, alarmed + (false > 0), wrong + false, pixels + int(truth.sum())
    return {"images": images, "with_false_alarms": alarmed, "share_of_pixels": wrong / pixels} if images else None


def without_a_pixel(
    made: Iterable[tuple[Integer[np.ndarray, "*space"], tuple[int, ...]]], names: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Of each class, how many images have its tag, and in how many of them it has no pixel in the label that was made.

    Args:
        made: Label and tags of each image; images without tags may be among them.
        names: Of the classes.
    """
    tagged: Counter[int] = Counter()
    missed: Counter[int] = Counter()
    for label, tags in made:
        tagged.update(tags)
        missed.update(set(tags).difference(np.unique(label).tolist()) if tags else ())
    return {names[value]: {"tagged": tagged[value], "without_a_pixel": missed[value]} for value in sorted(tagged)}
