"""Images that are read by bands of rows hold what they hold when they are decoded as a whole."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from smidgen.data import large
from smidgen.data.images import Broken, ImageFile, reader
from smidgen.data.large import LargeImage, Segments, opened


@pytest.fixture
def small(monkeypatch):
    """Everything counts as large."""
    monkeypatch.setattr(large, "VALUES", 0)
    monkeypatch.setattr(large, "BAND", 7)


def noise(*shape, dtype=np.uint8):
    rng = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        return rng.random(shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)


TIFFS = {
    "uncompressed": (noise(50, 70, 3), {"photometric": "rgb"}),
    "big endian": (noise(50, 70, 3, dtype=np.uint16), {"photometric": "rgb", "byteorder": ">"}),
    "strips": (noise(50, 70, 3), {"photometric": "rgb", "rowsperstrip": 8, "compression": "zlib"}),
    "tiles": (noise(50, 70, 3), {"photometric": "rgb", "tile": (16, 32), "compression": "zlib", "predictor": True}),
    "gray tiles": (noise(50, 70, dtype=np.uint16), {"photometric": "minisblack", "tile": (16, 16), "compression": "zlib"}),
    "planes": (noise(3, 50, 70), {"photometric": "rgb", "planarconfig": "separate"}),
    "planes in tiles": (noise(3, 50, 70), {"photometric": "rgb", "planarconfig": "separate", "tile": (32, 16), "compression": "zlib"}),
    "alpha": (noise(50, 70, 4), {"photometric": "rgb", "extrasamples": ["unassalpha"], "rowsperstrip": 9, "compression": "zlib"}),
    "floats": (noise(50, 70, dtype=np.float32), {"photometric": "minisblack", "tile": (16, 16)}),
}


@pytest.mark.parametrize("kind", TIFFS)
def test_bands_of_a_tiff_are_parts_of_the_whole(small, tmp_path, kind):
    array, how = TIFFS[kind]
    path = str(tmp_path / "a.tif")
    tifffile.imwrite(path, array, **how)
    channels = 1 if array.ndim == 2 else 3
    expected = reader(path, channels, (0.0, 2.0))[0].read()
    with opened(path, channels, (0.0, 2.0)) as image:
        assert isinstance(image, LargeImage) and isinstance(image._rows, Segments)
        assert image.shape == expected.shape == (channels, 50, 70)
        for first, last, left, right in ((0, 50, 0, 70), (0, 20, 3, 40), (13, 31, 60, 70), (31, 50, 0, 1), (5, 6, 0, 70)):
            np.testing.assert_array_equal(image[:, first:last, left:right], expected[:, first:last, left:right])


def test_a_strip_is_decoded_once_on_the_way_down(small, tmp_path):
    path = str(tmp_path / "a.tif")
    tifffile.imwrite(path, noise(64, 40), photometric="minisblack", rowsperstrip=8, compression="zlib")
    with opened(path, 1, (0.0, 1.0)) as image:
        segments, decoded = image._rows, []
        inner = segments.page.decode
        segments.page.decode = lambda data, n: decoded.append(n) or inner(data, n)
        for first in range(0, 48, 8):
            for left in (0, 20):
                image[:, first : first + 16, left : left + 20]
    assert decoded == [1, 2, 3, 4, 5, 6]  # 0 was kept from the first look
    assert len(segments._kept) == 2


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA", "CMYK"])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_other_files_are_decoded_and_cut(small, tmp_path, mode, suffix):
    if (mode, suffix) in {("CMYK", ".png"), ("RGBA", ".jpg"), ("P", ".jpg"), ("LA", ".jpg")}:
        pytest.skip(f"{suffix} files hold no {mode} images")
    path = str(tmp_path / f"a{suffix}")
    Image.fromarray(noise(30, 40, 3)).convert(mode).save(path)
    expected = ImageFile(path, channels=3).read()
    with opened(path, 3, (0.0, 1.0)) as image:
        assert isinstance(image, LargeImage)
        whole = np.broadcast_to(image[:, :, :], expected.shape)
        np.testing.assert_array_equal(whole, expected)
        np.testing.assert_array_equal(image[:, 3:9, 5:20], whole[: image.shape[0], 3:9, 5:20])


def test_a_turned_photo_is_upright(small, tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(noise(30, 40, 3)).save(tmp_path / "a.jpg", exif=exif)
    with opened(str(tmp_path / "a.jpg"), 3, (0.0, 1.0)) as image:
        assert image.shape == (3, 40, 30)
        np.testing.assert_array_equal(image[:, :, :], ImageFile(str(tmp_path / "a.jpg")).read())


def test_pixels_without_data_get_the_mean_of_the_whole_image(small, tmp_path):
    array = noise(40, 30, dtype=np.float32)
    array[:20, :] += 1
    array[5:9, 4:12], array[30, 3] = -9999, np.nan
    path = str(tmp_path / "a.tif")
    tifffile.imwrite(path, array, photometric="minisblack", extratags=[(42113, 2, 0, "-9999", True)])
    expected = ImageFile(path, channels=1, value_range=(0.0, 2.0)).read()
    with opened(path, 1, (0.0, 2.0)) as image:
        parts = np.concatenate([image[:, y : y + 8, :] for y in range(0, 40, 8)], axis=1)
    np.testing.assert_allclose(parts, expected, atol=1e-6)


def test_what_is_small_is_an_array_and_what_is_broken_is_named(tmp_path, small, monkeypatch):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(64, 40), photometric="minisblack", rowsperstrip=8, compression="zlib")
    whole = path.read_bytes()
    path.write_bytes(whole[:8] + whole[8:].replace(whole[-40:-20], bytes(20)))
    with pytest.raises(Broken), opened(str(path), 1, (0.0, 1.0)) as image:
        image[:, 48:64, :]
    monkeypatch.setattr(large, "VALUES", 10_000)
    path.write_bytes(whole)
    with opened(str(path), 1, (0.0, 1.0)) as image:
        assert isinstance(image, np.ndarray)
