from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from smidgen.core.errors import ShapeError
from smidgen.core.run import Given
from smidgen.data.dataset import Dataset
from smidgen.methods.label.argmax import decided
from smidgen.methods.label.settings import Argmax
from smidgen.methods.refine import settings
from smidgen.methods.refine.crf import canvas, crf, shares, tidied
from smidgen.products.heatmaps import Heatmaps
from smidgen.products.sample import Sample

WIDE = settings.Crf(color_spread=20.0, color_width=40.0)


def heat(maps, ids, size, background=0.3, ignore=None):
    maps = np.array(maps, np.float32)
    nothing = None if background is None else np.full(maps.shape[1:], background, np.float32)
    return Heatmaps(maps=maps, ids=ids, background=nothing, peak=np.ones(len(ids), np.float32), size=size, ignore=ignore)


def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A red square on gray with noise, its mask, and coarse evidence that spills over and fades."""
    rng = np.random.default_rng(0)
    truth = np.zeros((32, 40), bool)
    truth[8:24, 10:30] = True
    image = np.where(truth[..., None], (200, 60, 40), (110, 110, 110)) + rng.integers(-6, 7, (32, 40, 3))
    evidence = np.full((8, 10), 0.1, np.float32)
    evidence[1:6, 2:8], evidence[4:6, 5:8] = 0.5, 0.28
    return image.astype(np.uint8), truth, evidence[None]


def sample(image: np.ndarray) -> Sample:
    return Dataset({"one": image}, tags={"one": []}, classes=["background", "a", "b", "c"]).samples["one"]


def label_of(found: Heatmaps, background: int | None = 0) -> np.ndarray:
    return decided(found, Argmax(), background).label


def test_the_label_follows_the_colors(run):
    image, truth, maps = scene()
    data = Dataset({"one": image, "none": image[:20]}, tags={"one": ["a"], "none": []}, classes=["background", "a"])
    given = Given({"one": heat(maps, (1,), (32, 40)), "none": heat(np.zeros((0, 5, 10)), (), (20, 40))}, key="toy")
    assert (label_of(given["one"]) != truth).mean() > 0.1
    found = crf(run, WIDE, data, given)
    np.testing.assert_array_equal(label_of(found["one"]), truth)
    one = found["one"]
    assert one.maps.shape == (1, 32, 40) and one.maps.dtype == np.float32 and one.ids == (1,) and one.size == (32, 40)
    np.testing.assert_allclose(one.maps[0] + one.background, 1, atol=1e-3)
    assert (one.maps * 1024 % 1 == 0).all()  # compresses well
    assert one.peak == pytest.approx(one.maps.max())
    none = found["none"]
    assert none.maps.shape == (0, 20, 40) and none.ids == () and (none.background == 1).all() and none.peak.shape == (0,)
    assert (label_of(none) == 0).all()


def test_shares_are_powers_that_sum_to_one():
    evidence = np.array([[[0.2, 0.0]], [[0.4, 0.0]]], np.float32)
    np.testing.assert_allclose(shares(evidence, 1.0)[:, 0, 0], [1 / 3, 2 / 3], atol=1e-6)
    np.testing.assert_allclose(shares(evidence, 2.0)[:, 0, 0], [1 / 5, 4 / 5], atol=1e-6)
    np.testing.assert_allclose(shares(evidence, 2.0)[:, 0, 1], [0.5, 0.5], atol=1e-6)


def test_without_rounds_the_label_is_that_of_the_heatmaps():
    image, _, maps = scene()
    two = heat(np.concatenate([maps, maps[:, ::-1] * 0.9]), (2, 3), (32, 40))
    found = tidied(sample(image), two, settings.Crf(iterations=0))
    np.testing.assert_array_equal(label_of(found), label_of(two))


def test_classes_without_a_background():
    image, truth, maps = scene()
    found = tidied(sample(image), heat(np.concatenate([maps, 0.6 - maps]), (0, 1), (32, 40), None), WIDE)
    assert found.background is None
    np.testing.assert_array_equal(label_of(found, None), ~truth)
    alone = tidied(sample(image), heat(maps, (2,), (32, 40), None), WIDE)
    assert alone.background is None and (alone.maps == 1).all()
    nothing = tidied(sample(image), heat(np.zeros((0, 8, 10)), (), (32, 40), None), WIDE)
    assert nothing.background is None and nothing.maps.shape == (0, 32, 40)


@pytest.mark.parametrize("channels", [1, 5])
def test_any_number_of_channels(channels):
    image, truth, maps = scene()
    gray = image[..., 1:2].repeat(channels, axis=2)
    found = tidied(sample(gray[..., 0] if channels == 1 else gray), heat(maps, (1,), (32, 40)), WIDE)
    assert (label_of(found) != truth).mean() < 0.01


def test_the_working_size():
    assert canvas((375, 500), settings.Crf()) == (375, 500)
    assert canvas((375, 500), settings.Crf(size=250)) == (188, 250)
    assert canvas((3000, 4000), settings.Crf(max_pixels=120_000)) == (300, 400)
    assert canvas((1, 2000), settings.Crf(size=100)) == (1, 100)
    image, truth, maps = scene()
    ignore = np.zeros((8, 10), bool)
    ignore[:, :3] = True
    found = tidied(sample(image), heat(maps, (1,), (32, 40), ignore=ignore), WIDE.model_copy(update={"size": 20}))
    assert found.maps.shape == (1, 16, 20) and found.background.shape == (16, 20) and found.size == (32, 40)
    np.testing.assert_array_equal(found.ignore, np.arange(20)[None].repeat(16, 0) < 6)
    label = label_of(found)
    assert (label[:, :11] == 255).all()
    assert (label[:, 13:] != truth[:, 13:]).mean() < 0.06  # half the pixels: the outline is off by one here and there


def test_the_order_of_classes_does_not_matter():
    image, _, maps = scene()
    two = np.concatenate([maps, maps[:, :, ::-1] * 0.9])
    found = tidied(sample(image), heat(two, (1, 2), (32, 40)), WIDE)
    swapped = tidied(sample(image), heat(two[::-1], (2, 1), (32, 40)), WIDE)
    np.testing.assert_allclose(swapped.maps[::-1], found.maps, atol=2e-3)


def test_volumes_are_refused_with_a_way_out():
    volume = Sample("v", lambda: np.zeros((1, 4, 8, 8), np.float32), (4, 8, 8), path="volumes/v.tif")
    with pytest.raises(ShapeError, match=r"volumes/v\.tif: expected a 2D image, found 3 dimensions: export the slices"):
        tidied(volume, heat(np.zeros((1, 2, 4, 4)), (1,), (4, 8, 8)), settings.Crf())


def test_settings_in_range():
    for wrong in ({"near_width": 0.0}, {"iterations": -1}, {"color_weight": -1.0}, {"sharpness": 0.0}):
        with pytest.raises(ValidationError):
            settings.Crf(**wrong)
