"""What headers say and what pixels become."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import tifffile
from PIL import Image
from pytest import approx

from smidgen.core.errors import DataError
from smidgen.data.images import Broken, ImageFile, header, pixels, scaled, value_range_of


def read(path, **options):
    found = header(str(path))
    options = {"channels": found.channels} | options
    return ImageFile(str(path), found.mode, **options)()


def test_eight_bits_are_divided_by_255(folder):
    path = folder.image("a.png", np.array([[[0, 51, 255]]], np.uint8))
    image = read(path)
    assert image.dtype == np.float32 and image.shape == (3, 1, 1)
    assert image[:, 0, 0] == approx([0, 0.2, 1])


def test_sixteen_bits_are_divided_by_65535(folder):
    path = folder.image("a.png", np.array([[0, 13107, 65535]], np.uint16))
    assert header(str(path)).channels == 1
    assert read(path)[0, 0] == approx([0, 0.2, 1])


def test_signed_integers_span_their_type():
    assert scaled(np.array([[-128, 127]], np.int8))[0, 0] == approx([0, 1])
    assert scaled(np.array([[False, True]]))[0, 0] == approx([0, 1])


def test_gray_stays_one_channel_and_is_repeated_on_request(folder):
    path = folder.image("a.png", np.array([[255, 0]], np.uint8))
    assert read(path).shape == (1, 1, 2)
    assert read(path, channels=3)[:, 0].tolist() == [[1, 0]] * 3


@pytest.mark.parametrize(("mode", "channels"), [("RGBA", 3), ("LA", 1), ("CMYK", 3), ("P", 3), ("1", 1), ("YCbCr", 3)])
def test_every_mode_becomes_gray_or_color(folder, mode, channels):
    color = Image.new("RGB", (3, 2), (255, 0, 0)) if channels == 3 else Image.new("L", (3, 2), 255)
    suffix = "jpg" if mode in ("CMYK", "YCbCr") else "png"
    path = folder.save(f"a.{suffix}", color.convert(mode), **({"quality": 100} if suffix == "jpg" else {}))
    found = header(str(path))
    image = read(path)
    assert found.size == (2, 3) and found.channels == channels == len(image)
    assert image[0] == approx(np.ones((2, 3)), abs=0.02)


def test_alpha_is_dropped_not_blended(folder):
    array = np.full((2, 2, 4), 200, np.uint8)
    array[0, 0, 3] = 0
    assert read(folder.image("a.png", array)) == approx(np.full((3, 2, 2), 200 / 255))


def test_transparent_palette_keeps_its_colors(folder):
    image = Image.frombytes("P", (2, 1), bytes([0, 1]))
    image.putpalette([255, 0, 0, 0, 0, 255])
    path = folder.save("a.png", image, transparency=0)
    assert read(path)[:, 0].T.tolist() == [[1, 0, 0], [0, 0, 1]]


CORNERS = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}
"""EXIF orientation -> where the stored first pixel is seen."""


@pytest.mark.parametrize(("orientation", "corner"), CORNERS.items())
def test_exif_orientation_is_applied_to_pixels_and_size(folder, orientation, corner):
    array = np.zeros((10, 20), np.uint8)
    array[0, 0] = 255
    exif = Image.Exif()
    exif[274] = orientation
    path = folder.image("a.png", array, exif=exif)
    found, image = header(str(path)), read(path)
    assert found.size == image.shape[1:] == ((20, 10) if orientation >= 5 else (10, 20))
    assert image[0][corner] == 1 and image.sum() == 1


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize(("orientation", "corner"), CORNERS.items())
def test_tiff_orientation_is_applied_once(folder, orientation, corner, compression):
    array = np.zeros((10, 20), np.uint8)
    array[0, 0] = 255
    size = (20, 10) if orientation >= 5 else (10, 20)
    path = folder.image("a.tif", array, tiffinfo={274: orientation}, compression=compression)
    deep = folder.path / "deep.tif"
    deep_array = np.stack([array.astype(np.uint16) * 257] * 3, -1)
    tifffile.imwrite(deep, deep_array, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    for one in (path, deep):
        image = read(one)
        assert header(str(one)).size == size == image.shape[1:]
        assert image[0][corner] == 1 and image[0].sum() == 1


def test_sixteen_bit_color_tiff_keeps_all_bits(folder):
    path = folder.path / "a.tif"
    tifffile.imwrite(path, np.array([[[1, 2, 65535]]], np.uint16), photometric="rgb")
    assert header(str(path)).channels == 3
    assert read(path)[:, 0, 0] * 65535 == approx([1, 2, 65535], abs=0.01)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_tiff_with_five_channels(folder, planar):
    array = np.arange(2 * 3 * 5, dtype=np.uint8).reshape(2, 3, 5)
    path = folder.path / "a.tif"
    stored = array if planar == "contig" else array.transpose(2, 0, 1)
    tifffile.imwrite(path, stored, photometric="minisblack", planarconfig=planar)
    assert (header(str(path)).size, header(str(path)).channels) == ((2, 3), 5)
    assert read(path) * 255 == approx(array.transpose(2, 0, 1))


def test_fourth_channel_of_a_tiff_is_kept_unless_it_is_alpha(folder):
    array = np.full((2, 2, 4), 7, np.uint8)
    for name, extra, channels in (("infrared.tif", "unspecified", 4), ("alpha.tif", "unassalpha", 3)):
        tifffile.imwrite(folder.path / name, array, photometric="rgb", extrasamples=[extra])
        assert header(str(folder.path / name)).channels == channels == len(read(folder.path / name))


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiffs_are_read(folder, compression):
    array = np.arange(48, dtype=np.uint8).reshape(6, 8)
    assert read(folder.image("a.tif", array, compression=compression))[0] * 255 == approx(array)


def test_floats_are_scaled_by_a_given_range_and_clipped(folder):
    path = folder.image("a.tif", np.array([[-1, 0, 5, 10, 99]], np.float32))
    assert header(str(path)).floating
    assert read(path, value_range=(0, 10))[0, 0] == approx([0, 0, 0.5, 1, 1])


def test_value_range_is_that_of_percentiles_unless_values_fit_already():
    assert value_range_of([np.array([0.0, 0.5]), np.array([1.0])]) == (0, 1)
    assert value_range_of([np.arange(101.0), np.array([np.nan])]) == approx((1, 99))
    assert value_range_of([np.full(5, 7.0)]) == (7, 8)
    assert value_range_of([]) == (0, 1)


def test_nan_is_named_with_a_remedy(folder):
    path = folder.image("hole.tif", np.array([[np.nan, 1, np.inf]], np.float32))
    with pytest.raises(DataError, match=r"hole\.tif: 2 of 3 values are NaN or infinite: fill the holes"):
        read(path)


def test_a_stack_is_refused_in_words(folder):
    path = folder.path / "stack.tif"
    tifffile.imwrite(path, np.zeros((7, 4, 5), np.uint8), photometric="minisblack")
    with pytest.raises(Broken, match="a stack of 7 pages, one image expected: save one file per page"):
        header(str(path))


@pytest.mark.parametrize(("content", "what"), [(b"", "empty file"), (b"hello", "not an image")])
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_no_images_are_named(folder, content, what, name):
    path = folder.path / name
    path.write_bytes(content)
    with pytest.raises(Broken, match=what if name == "a.png" or not content else "can't be read"):
        header(str(path))


def test_a_truncated_image_has_a_header_but_no_pixels(folder):
    path = folder.image("a.png", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:5000])
    assert header(str(path)).size == (64, 64)
    with pytest.raises(Broken, match=r"can't be read .*: copy it again"):
        pixels(str(path))


def test_too_many_pixels_are_refused_before_decoding(folder, monkeypatch):
    monkeypatch.setattr("smidgen.data.images.MAX_PIXELS", 40)
    with pytest.raises(Broken, match="48 pixels, more than 40: cut it into tiles"):
        header(str(folder.image("a.png")))


def test_readers_pickle(folder):
    reader = ImageFile(str(folder.image("a.png")))
    assert (pickle.loads(pickle.dumps(reader))() == reader()).all()
