from __future__ import annotations

import pytest
from pytest import approx

from smidgen.parts.losses.ramps import gaussian_ramp


@pytest.mark.parametrize(
    ("epoch", "weight"), [(0, 0), (1, 0.0041067), (10, 0.0203811), (25, 0.1432524), (49, 0.4990010), (50, 0.5), (80, 0.5)]
)
def test_the_weight_rises_over_fifty_epochs(epoch, weight):
    assert 0.5 * gaussian_ramp(epoch, 50) == approx(weight, abs=1e-7)


@pytest.mark.parametrize(("epoch", "weight"), [(0, 0), (20, 0), (35, 0.0143252), (50, 0.05)])
def test_a_later_start(epoch, weight):
    assert 0.05 * gaussian_ramp(epoch, 50, begin=20) == approx(weight, abs=1e-6)


def test_without_a_ramp_all_is_there_from_the_start():
    assert (gaussian_ramp(0.0, 0.0), gaussian_ramp(0.001, 0.0)) == (1.0, 1.0)
