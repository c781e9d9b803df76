from __future__ import annotations

import numpy as np
import pytest

from smidgen.core.errors import ShapeError
from smidgen.parts.imaging.channels import as_channels, statistics_of


def test_gray_is_repeated_and_the_right_number_is_left_alone():
    gray, five = np.arange(6, dtype=np.float32).reshape(1, 2, 3), np.zeros((5, 2, 3), np.float32)
    assert as_channels(gray, 3, "a").tolist() == [gray[0].tolist()] * 3
    assert as_channels(gray, 1, "a") is gray
    assert as_channels(five, 5, "a") is five


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 2, 2), r"a\.png: 4 channels, the network takes 3: convert this image"),
        ((1, 2, 2, 2), r"a\.png: expected a 2D image, found 3 dimensions: export the slices as images"),
    ],
)
def test_what_does_not_fit_is_named(shape, message):
    with pytest.raises(ShapeError, match=message):
        as_channels(np.zeros(shape, np.float32), 3, "a.png")


def test_statistics_weigh_every_image_the_same():
    """Two images of other sizes: first channel 0 and (1, 1, 1, 1), second constant, third 0.2 and (0.4, 0.8, 0.4, 0.8)."""
    small = np.array([0.0, 0.5, 0.2], np.float32).reshape(3, 1, 1)
    large = np.array([[1.0] * 4, [0.5] * 4, [0.4, 0.8, 0.4, 0.8]], np.float32).reshape(3, 2, 2)
    found = statistics_of([small, large])
    assert found is not None
    assert found.mean == pytest.approx((0.5, 0.5, 0.4))
    assert found.deviation == pytest.approx((0.5, 1, (0.5 * 0.2**2 + 0.5 * (0.5 * 0 + 0.5 * 0.4**2)) ** 0.5))
    assert statistics_of([]) is None
