from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from smidgen.core.errors import ShapeError, UsageError
from smidgen.products.colors import PALETTE
from smidgen.products.masks import overlay, read_mask, write_image, write_mask


def test_a_mask_comes_back_as_it_was_and_is_shown_in_color(tmp_path):
    label = np.arange(256, dtype=np.uint8).reshape(8, 32)
    path = tmp_path / "new" / "a.b.png"
    write_mask(path, label)
    np.testing.assert_array_equal(read_mask(path), label)
    with Image.open(path) as picture:
        assert picture.mode == "P"
        assert picture.convert("RGB").getpixel((15, 0)) == tuple(int(value) for value in PALETTE[15])
    assert [file.name for file in path.parent.iterdir()] == ["a.b.png"]


def test_what_is_no_mask_is_refused_with_its_name(tmp_path):
    with pytest.raises(UsageError, match=r"none.png: can't be read"):
        read_mask(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(UsageError, match=r"text.png: can't be read"):
        read_mask(tmp_path / "text.png")
    write_mask(tmp_path / "cut.png", np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8))
    whole = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match=r"cut.png: can't be read"):
        read_mask(tmp_path / "cut.png")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "rgb.png")
    with pytest.raises(UsageError, match="mode RGB; convert"):
        read_mask(tmp_path / "rgb.png")
    with pytest.raises(ShapeError, match="volumes"):
        write_mask(tmp_path / "v.png", np.zeros((2, 4, 4), np.uint8))


def test_an_overlay_colors_classes_and_leaves_the_background():
    image = np.full((3, 1, 3), 0.2, np.float32)
    label = np.array([[0, 1, 2]], np.uint8)
    picture = overlay(image, label, opacity=0.5)
    colored = [np.rint((51 + PALETTE[i].astype(float)) / 2).tolist() for i in (1, 2)]
    assert picture.tolist() == [[[51, 51, 51], *colored]]
    assert overlay(image, label, opacity=0.5, background=None).tolist()[0][0] == [26, 26, 26]
    assert overlay(image[:1], label).shape == (1, 3, 3)
    with pytest.raises(ShapeError, match="same size"):
        overlay(image, label[:, :2])


def test_pictures_are_written_as_their_suffix_says(tmp_path):
    image = np.full((8, 8, 3), (200, 100, 50), np.uint8)
    for name in ("a.png", "b.v2.jpg"):
        write_image(tmp_path / "new" / name, image)
        with Image.open(tmp_path / "new" / name) as picture:
            assert picture.format == ("PNG" if name == "a.png" else "JPEG")
            np.testing.assert_allclose(np.array(picture), image, atol=4)
