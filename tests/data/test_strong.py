from __future__ import annotations

import numpy as np
import pytest
import torch
from pytest import approx

from smidgen.data.strong import Cut, Strong, Values, blurred, box, cut

ZSCORED = Values(-2.0, 6.0, 1.0)
ALWAYS = Strong(chance=1.0)


@pytest.mark.parametrize("shape", [(3, 16, 20), (1, 9, 8), (1, 5, 12, 10)])
@pytest.mark.parametrize("values", [Values(), ZSCORED], ids=["picture", "zscored"])
def test_strong_views_stay_within_limits_and_differ(shape, values):
    torch.manual_seed(0)
    image = torch.rand(shape) * (values.high - values.low) + values.low
    before = image.clone()
    views = [ALWAYS(image, values) for _ in range(8)]
    assert torch.equal(image, before)
    assert all(view.shape == image.shape and view.isfinite().all() for view in views)
    assert all(view.min() >= values.low and view.max() <= values.high for view in views)
    assert all(not torch.equal(view, image) for view in views)
    assert not torch.equal(views[0], views[1])


def test_the_same_seed_gives_the_same_view():
    image, views = torch.rand(3, 8, 8), []
    for _ in range(2):
        torch.manual_seed(5)
        views.append(ALWAYS(image, Values()))
    assert torch.equal(*views)


def test_nothing_happens_without_chance_or_strength():
    image = torch.rand(1, 8, 8)
    assert torch.equal(Strong(chance=0.0)(image, Values()), image)
    assert torch.equal(Strong(1.0, 0.0, 0.0, 0.0, 0.0, 0.0)(image, Values()), image)


@pytest.mark.parametrize("flat", [0.0, 0.5, 1.0])
def test_flat_images_give_numbers(flat):
    torch.manual_seed(0)
    assert all(ALWAYS(torch.full((1, 6, 6), flat), Values()).isfinite().all() for _ in range(20))


def test_brightness_is_measured_in_the_spread_of_the_data():
    torch.manual_seed(0)
    only = Strong(1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
    for values in (Values(-100.0, 100.0, 1.0), Values(-100.0, 100.0, 0.25)):
        shifts = torch.stack([only(torch.zeros(1, 2, 2), values)[0, 0, 0] for _ in range(200)])
        assert float(shifts.abs().max()) == approx(values.spread, rel=0.05)


def test_blur_is_a_bell_that_keeps_the_sum_and_heeds_the_spacing():
    image = torch.zeros(1, 21, 21, 21)
    image[0, 10, 10, 10] = 1
    found = blurred(image, 1.5)
    places = torch.arange(21.0) - 10
    assert float(found.sum()) == approx(1, abs=1e-4)
    assert [float((found.sum(dim=(0, *[a for a in (1, 2, 3) if a != axis])) * places**2).sum()) for axis in (1, 2, 3)] == approx(
        [1.5**2] * 3, rel=0.05
    )
    thick = blurred(image, 1.5, steps=(30.0, 1.0, 1.0))
    assert float(thick[0, 9].sum()) == 0


@pytest.mark.parametrize("size", [(40, 60), (12, 30, 40), (1, 50, 50)])
def test_boxes_cover_the_share_that_was_drawn(size):
    torch.manual_seed(0)
    shares = []
    for _ in range(400):
        found = box(size, (0.1, 0.3))
        assert all(0 <= one.start < one.stop <= n for one, n in zip(found, size, strict=True))
        shares.append(np.prod([one.stop - one.start for one in found]) / np.prod(size))
    assert np.mean(shares) == approx(0.2, abs=0.04)


def test_a_cut_moves_images_and_labels_alike():
    torch.manual_seed(0)
    image = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 12, 12)
    boxes = cut(4, (12, 12), 1.0, (0.2, 0.5))
    mixed, label = boxes.mix(image, image), boxes.mix(image[:, 0].long(), image[:, 0].long())
    assert torch.equal(mixed[:, 0].long(), label)
    assert all(set(one.unique().tolist()) == {n, int(boxes.partner[n])} for n, one in enumerate(label))
    assert all(int(partner) != n for n, partner in enumerate(boxes.partner))
    assert not cut(4, (12, 12), 0.0, (0.2, 0.5)).inside.any()


def test_boxes_of_others_are_taken_from_them():
    torch.manual_seed(0)
    boxes = cut(5, (6, 6, 6), 1.0, (0.2, 0.5), others=2)
    own, other = torch.zeros(5, 2, 1, 6, 6, 6), torch.tensor([1.0, 2.0]).view(2, 1, 1, 1, 1, 1).expand(2, 2, 1, 6, 6, 6)
    mixed = boxes.mix(own, other)
    assert all(set(mixed[n].unique().tolist()) == {0.0, 1.0 + int(boxes.partner[n])} for n in range(5))
    assert torch.equal((mixed[:, 0, 0] > 0), boxes.inside)
    assert torch.equal((mixed[:, 1, 0] > 0), boxes.inside)


def test_where_no_box_is_all_stays():
    boxes = Cut(torch.zeros(2, 4, 4, dtype=torch.bool), torch.tensor([1, 0]))
    image = torch.rand(2, 3, 4, 4)
    assert torch.equal(boxes.mix(image, image.flip(0)), image)
