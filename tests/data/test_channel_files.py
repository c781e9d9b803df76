"""Files with other channels than gray and color: alpha as data, pages as channels, a range of values for each channel."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image
from pytest import approx

from smidgen.data.dataset import Dataset
from smidgen.data.images import Broken, ImageFile, header, reader
from smidgen.data.scaling import WHOLE_RANGE, scaled, value_ranges_of
from smidgen.data.statistics import channel_statistics

STACK = np.arange(5 * 4 * 6, dtype=np.uint8).reshape(5, 4, 6)


def test_alpha_is_a_channel_where_every_channel_counts(tmp_path):
    rgba, gray = np.arange(48, dtype=np.uint8).reshape(3, 4, 4), np.arange(24, dtype=np.uint8).reshape(3, 4, 2)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    Image.fromarray(gray, "LA").save(tmp_path / "b.png")
    for name, array in (("a.png", rgba), ("b.png", gray)):
        path = str(tmp_path / name)
        assert header(path).channels == array.shape[2] - 1
        assert header(path, every=True).channels == array.shape[2]
        image = ImageFile(path, channels=array.shape[2], every=True).read()
        assert np.array_equal(np.rint(255 * image).transpose(1, 2, 0), array)


def test_pages_are_channels_where_imagej_or_ome_or_the_user_says_so(tmp_path):
    tifffile.imwrite(tmp_path / "imagej.tif", STACK, imagej=True, metadata={"axes": "CYX"})
    tifffile.imwrite(tmp_path / "ome.tif", STACK, ome=True, metadata={"axes": "CYX"})
    tifffile.imwrite(tmp_path / "plain.tif", STACK, photometric="minisblack", metadata=None)
    tifffile.imwrite(tmp_path / "time.tif", STACK, imagej=True, metadata={"axes": "TYX"})
    for name in ("imagej.tif", "ome.tif"):
        path = str(tmp_path / name)
        assert (header(path).channels, header(path).size) == (5, (4, 6))
        assert np.array_equal(np.rint(255 * ImageFile(path, channels=5).read()), STACK)
    for name in ("plain.tif", "time.tif"):
        with pytest.raises(Broken, match=r"a stack of 5 pages.*channels: all"):
            header(str(tmp_path / name))
        assert np.array_equal(np.rint(255 * ImageFile(str(tmp_path / name), channels=5, every=True).read()), STACK)


def test_pages_of_two_sizes_are_no_channels(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(STACK[0], photometric="minisblack")
        file.write(STACK[1, :2], photometric="minisblack")
    with pytest.raises(Broken, match="gray ones of one size and type expected"):
        header(str(tmp_path / "a.tif"), every=True)


def test_damaged_compressed_data_are_named(tmp_path):
    path = tmp_path / "a.tif"
    noise = np.random.default_rng(0).integers(0, 65536, (40, 30, 5), np.uint16)
    tifffile.imwrite(path, noise, photometric="minisblack", planarconfig="contig", compression="zlib")
    with tifffile.TiffFile(path) as file:
        start = file.pages.first.dataoffsets[0]
    found = bytearray(path.read_bytes())
    found[start + 100 : start + 400] = bytes(300)
    path.write_bytes(found)
    with pytest.raises(Broken) as told:
        ImageFile(str(path), channels=5, every=True).read()
    assert "copy" in told.value.remedy


def test_a_new_image_is_read_as_the_network_wants_it(tmp_path):
    tifffile.imwrite(tmp_path / "pages.tif", STACK, photometric="minisblack", metadata=None)
    Image.fromarray(np.zeros((4, 6, 4), np.uint8)).save(tmp_path / "rgba.png")
    assert reader(str(tmp_path / "pages.tif"), 5)[0].read().shape == (5, 4, 6)
    with pytest.raises(Broken, match="stack"):
        reader(str(tmp_path / "pages.tif"), 3)
    assert reader(str(tmp_path / "rgba.png"), 4)[0].read().shape == (4, 4, 6)
    assert reader(str(tmp_path / "rgba.png"), 3)[0].read().shape == (3, 4, 6)


def test_dataset_yaml_declares_them(folder, tmp_path):
    (folder.path / "images").mkdir(parents=True, exist_ok=True)
    for name in "ab":
        tifffile.imwrite(folder.path / "images" / f"{name}.tif", STACK, photometric="minisblack", metadata=None)
    assert len(Dataset.open(folder.path).problems) == 2
    folder.text("dataset.yaml", "channels: all\n")
    data = Dataset.open(folder.path)
    assert data.problems == () and data.channels == 5 and data.samples["a"].image().shape == (5, 4, 6)
    assert "images: 5 channels; in pictures the first three are red, green, blue" in data.notes


def test_each_channel_has_its_own_range_but_colors_share_one():
    """Values 0 to 100 in the first channel, 1000 to 3000 in the second; percentiles 1 and 99 of 101 even steps."""
    steps = np.linspace(0, 1, 101)
    image = np.stack([100 * steps, 1000 + 2000 * steps], axis=-1)[None]
    low, high = value_ranges_of([image], 2)
    assert low == approx((1, 1020)) and high == approx((99, 2980))
    seen = scaled(image, (low, high))
    assert seen[:, 0, 0].tolist() == [0, 0] and seen[:, 0, -1].tolist() == [1, 1] and seen[:, 0, 50].tolist() == approx([0.5, 0.5])
    color = np.concatenate([image, image[..., :1]], axis=-1)
    shared_low, shared_high = value_ranges_of([color], 3)
    assert isinstance(shared_low, float) and shared_high > 2900
    with pytest.raises(Broken, match="3 channels, 2 expected"):
        scaled(color, (low, high))


def test_a_channel_that_uses_its_type_keeps_it_beside_one_that_does_not():
    image = np.stack([np.linspace(0, 65535, 101), np.linspace(100, 300, 101)], axis=-1)[None].astype(np.uint16)
    low, high = value_ranges_of([image], 2)
    assert (low[0], high[0]) == (0, 65535) and low[1] == approx(102) and high[1] == approx(298)
    assert value_ranges_of([image[..., [0, 0]]], 2) == WHOLE_RANGE
    assert value_ranges_of([np.random.default_rng(0).random((4, 4, 5))], 5) == WHOLE_RANGE


def test_statistics_are_those_of_training_images_and_only_where_there_are_no_colors():
    dark, light = np.full((4, 4, 2), 51, np.uint8), np.full((4, 4, 2), 255, np.uint8)
    data = Dataset({"a": dark, "b": dark, "c": light}, tags={"a": ["x"]}, split={"a": "train", "b": "train", "c": "val"})
    found = channel_statistics(data.train, 2)
    assert found is not None and found.mean == approx((0.2, 0.2)) and found.deviation == (1, 1)
    assert channel_statistics(data.train, 3) is None and channel_statistics(data.train, 1) is None
