"""What the values of wide images mean: one range for the dataset, learned on images of train; and pixels without data."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from smidgen.data.checks import verify
from smidgen.data.dataset import Dataset
from smidgen.data.scaling import WHOLE_RANGE, nodata_of, scaled, value_range_of


def camera(seed: int, offset: int = 0) -> np.ndarray:
    """12 bits in 16: 900 to 3200 in even steps, an object 400 brighter."""
    values = np.linspace(900, 2800, 96 * 96).reshape(96, 96)
    values[20 + seed : 50, 30:60] += 400
    return (values + offset).astype(np.uint16)


def test_sixteen_bits_are_scaled_by_what_they_use(folder):
    """a33: 16-bit images whose values fill a small part of their type."""
    for i in range(4):
        folder.image(f"images/{i}.png", camera(i))
    folder.text("split.csv", "filename,split\n0.png,train\n1.png,train\n2.png,train\n3.png,val\n")
    data = Dataset.open(folder.path)
    low, high = data.value_range
    assert low == pytest.approx(919, abs=2)
    assert 2700 < high < 3200
    image = data.samples["0"].image()
    assert image.min() == 0 and image.max() == 1
    assert np.median(image) == pytest.approx((np.median(camera(0)) - low) / (high - low), abs=1e-6)
    assert f"images: 4 with 16 bits: {low:g} becomes 0, {high:g} becomes 1 (1st and 99th percentile of training images)" in data.notes


def test_images_that_are_not_learned_from_shape_no_range(folder):
    folder.image("images/a.png", camera(0))
    folder.image("images/b.png", camera(1, offset=20_000))
    folder.text("split.csv", "filename,split\na.png,train\nb.png,val\n")
    data = Dataset.open(folder.path)
    assert data.value_range[1] < 3300
    assert (data.samples["b"].image() == 1).all()


def test_sixteen_bits_that_fill_their_type_stay(folder):
    folder.image("images/a.png", np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8))
    data = Dataset.open(folder.path)
    assert data.value_range == WHOLE_RANGE
    assert data.samples["a"].image().max() == 1


def test_arrays_are_scaled_alike():
    data = Dataset([camera(0), camera(1)])
    assert data.value_range == pytest.approx(value_range_of([camera(0), camera(1)]))
    assert data.samples["000"].image().max() == 1


def test_a_range_for_integers_is_for_wide_ones_only():
    assert scaled(np.array([[0, 255]], np.uint8), (900, 3200)).tolist() == [[[0, 1]]]
    assert scaled(np.array([[900, 2050, 4000]], np.uint16), (900, 3200)).tolist() == [[[0, 0.5, 1]]]


def geographic(path, values: np.ndarray, nodata: str | None) -> None:
    tags = [] if nodata is None else [(42113, "s", 0, nodata, True)]
    tifffile.imwrite(path, values, extratags=tags)


@pytest.fixture
def bordered(folder):
    """A float image whose upper rows are -9999, and its mask."""
    values = np.tile(np.linspace(10, 20, 16, dtype=np.float32), (16, 1))
    values[:4] = -9999
    (folder.path / "images").mkdir()
    geographic(folder.path / "images" / "a.tif", values, "-9999")
    folder.image("masks/a.png", np.eye(16, dtype=np.uint8))
    folder.text("classes.txt", "background\nline\n")
    return folder


def test_pixels_without_data_are_in_no_range_and_in_no_mask(bordered):
    """a73: a value that means no data."""
    data = Dataset.open(bordered.path, val=0)
    low, high = data.value_range
    assert 10 <= low < 10.5 and 19.5 < high <= 20
    image, label = data.samples["a"].image(), data.samples["a"].label()
    assert image[0, :4] == pytest.approx(image[0, 4:].mean())
    assert (label[:4] == 255).all()
    assert label[4:].tolist() == np.eye(16)[4:].tolist()
    assert any("1 have pixels without data (-9999)" in note for note in data.notes)
    assert verify(data) == []


def test_holes_that_nobody_named_are_an_error_and_named_ones_are_filled(folder):
    """a71: NaN pixels."""
    values = np.tile(np.linspace(0, 1, 12, dtype=np.float32), (12, 1))
    values[:2, :2] = np.nan
    (folder.path / "images").mkdir()
    geographic(folder.path / "images" / "a.tif", values, None)
    (problem,) = verify(Dataset.open(folder.path))
    assert problem.what == "4 of 144 values are NaN or infinite"
    assert "`nodata: nan`" in problem.remedy
    folder.text("dataset.yaml", "nodata: nan\n")
    data = Dataset.open(folder.path)
    assert verify(data) == []
    image = data.samples["a"].image()[0]
    assert np.isfinite(image).all()
    assert image[5] == pytest.approx(values[5])
    assert image[0, 0] == pytest.approx(np.nanmean(values))


def test_of_integers_all_channels_have_to_hold_the_value():
    colors = np.array([[[0, 0, 0], [0, 7, 9]]], np.uint8)
    image = scaled(colors, nodata=0.0)
    assert image[:, 0, 0] == pytest.approx(np.array([0, 7, 9]) / 255)
    assert image[:, 0, 1] == pytest.approx(np.array([0, 7, 9]) / 255)


@pytest.mark.parametrize(("text", "value"), [("-9999 ", -9999.0), ("1e10\x00", 1e10), ("inf", None), ("none", None), (None, None)])
def test_what_a_geographic_tiff_says(text, value):
    assert nodata_of(text) == value


def test_a_palette_image_beside_wide_ones_goes_by_its_type(folder):
    folder.image("images/a.png", camera(0))
    folder.save("images/b.png", Image.new("L", (96, 96), 51))
    data = Dataset.open(folder.path, val=0)
    assert data.samples["b"].image() == pytest.approx(np.full((1, 96, 96), 0.2))
