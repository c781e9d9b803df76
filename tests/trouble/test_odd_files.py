"""Odd but legitimate files: rows of kind a in docs/guides/trouble.md that concern images as they lie on the disk."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
import tifffile
from PIL import Image, features

from smidgen.core.errors import DataError
from smidgen.data.dataset import Dataset

PLANES = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((5, 30, 70), np.uint8)


def appended(path):
    for plane in PLANES:
        tifffile.imwrite(path, plane, append=True)


def in_one_go(path):
    tifffile.imwrite(path, PLANES, photometric="minisblack")


def deep(path):
    tifffile.imwrite(path, np.stack([PLANES] * 3, -1).astype(np.uint16), photometric="rgb")


def without_pages(path):
    tifffile.imwrite(path, PLANES, photometric="minisblack", truncate=True)


def of_imagej(path):
    tifffile.imwrite(path, PLANES, imagej=True, metadata={"axes": "ZYX"})


def voxels(path):
    tifffile.imwrite(path, np.zeros((16, 32, 32), np.uint8), volumetric=True, tile=(16, 16, 16), photometric="minisblack")


@pytest.mark.parametrize("write", [appended, in_one_go, deep, without_pages, of_imagej, voxels], ids=lambda write: write.__name__)
def test_a_stack_is_never_taken_for_its_first_page(photos, smidgen, write):
    """Rows a29, a31, a49: each page a series of its own; pages that only a description tells of; axes that could be mixed up."""
    photos.labeled()
    write(photos.path / "images/stack.tif")
    said = smidgen("inspect", photos.path)
    pages = 16 if write is voxels else 5
    assert said.code == 2 and f"images/stack.tif: a stack of {pages} pages, one image expected: save one file per page" in said.out


def test_a_mask_of_several_time_points_is_refused(photos, smidgen):
    """Row a49: a 4-D mask of a 3-D image; here a stack of masks of one image."""
    photos.labeled()
    (photos.path / "masks/1.png").unlink()
    tifffile.imwrite(photos.path / "masks/1.tif", np.zeros((6, 12, 16), np.uint8), photometric="minisblack")
    said = smidgen("inspect", photos.path)
    assert said.code == 2 and "masks/1.tif: a stack of 6 pages" in said.out


@pytest.mark.parametrize("kind", [np.int64, np.uint64, np.int32, np.uint32, np.int16, np.float32, np.float64])
def test_masks_of_every_number_type_are_read_and_written_small(photos, smidgen, tmp_path, kind):
    """Row a45: masks of 64-bit integers, which other tools can't read."""
    photos.image("images/a.png")
    values = np.arange(192).reshape(12, 16) % 3
    (photos.path / "masks").mkdir()
    tifffile.imwrite(photos.path / "masks/a.tif", values.astype(kind))
    photos.text("classes.txt", "background\none\ntwo\n")
    assert (Dataset.open(photos.path).samples["a"].label() == values).all()
    assert smidgen("convert", photos.path, tmp_path / "out", "--to", "folder").code == 0
    with Image.open(tmp_path / "out/masks/a.png") as written:
        assert written.mode in ("P", "L") and (np.asarray(written) == values).all()


def test_masks_in_memory_have_the_shape_of_their_image():
    """Row a49: a trailing 1 does no harm, several time points are refused with their shape."""
    image, mask = np.zeros((4, 6, 3), np.uint8), np.eye(4, 6, dtype=np.uint8)
    assert (Dataset([image], [mask[..., None]]).samples["000"].label() == mask).all()
    with pytest.raises(DataError, match=r"masks 000: shape \(2, 4, 6, 1\), \(h, w\) expected"):
        Dataset([image], [np.stack([mask[..., None]] * 2)])
    with pytest.raises(DataError, match="masks 000: holds fractions or NaN"):
        Dataset([image], [mask / 2])


SHADES = np.tile(np.arange(16, dtype=np.uint8) * 16, (16, 1))
WAYS = ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", *(["zstd"] if features.check("libtiff") else [])]


@pytest.mark.parametrize("compression", WAYS)
def test_tiffs_are_read_however_they_are_compressed(photos, compression):
    """Row a83: LZW needed a package that was not there."""
    photos.image("images/a.tif", SHADES, compression=compression)
    found = Dataset.open(photos.path).samples["a"].image()[0] * 255
    assert np.abs(found - SHADES).max() <= (8 if compression == "jpeg" else 1e-3)


def test_fax_pages_are_read(photos):
    """Row a83: one bit per pixel."""
    black = Image.fromarray(SHADES > 100)
    photos.image("images/a.tif", black, compression="group4")
    assert (Dataset.open(photos.path).samples["a"].image()[0] == (SHADES > 100)).all()


def test_letters_of_all_scripts_are_written_as_they_were_read(photos, smidgen, tmp_path):
    """Rows a27, e18: ø, 日本, é in both spellings, spaces, & and parentheses, in folders and files."""
    place = type(photos)(tmp_path / "My Drive (1)" / "Københavns prøver & co" / "日本 語")
    for name, mask in (
        (unicodedata.normalize("NFD", "été 01.PNG"), "été 01.png"),
        ("maské.png", "maské.png"),
        ("a;b 'c'.jpg", "a;b 'c'.png"),
    ):
        place.image(f"images/{name}")
        place.mask(f"masks/{mask}")
    place.text("tags.csv", "filename,tags\nété 01.PNG,œuf cassé\n")
    place.text("classes.txt", "background\nœuf cassé\n")
    out = tmp_path / "My Drive (1)" / "ümläut"
    names = {"été 01", "maské", "a;b 'c'"}
    assert smidgen("inspect", place.path).code == 0
    for form in ("folder", "voc", "coco", "nnunet"):
        assert smidgen("convert", place.path, out / form, "--to", form).code == 0
        again = Dataset.open(out / form)
        assert set(again.samples) == names and again.problems == () and again.classes.names == ("background", "œuf cassé")


def test_the_line_to_type_next_can_be_pasted(photos, smidgen, tmp_path):
    """Row e18: a path with spaces and quotes is one word of a shell."""
    import shlex

    place = type(photos)(tmp_path / "it's (1) & mine")
    place.labeled()
    (line,) = [line for line in smidgen("inspect", place.path).out.splitlines() if line.startswith("next")]
    assert shlex.split(line.removeprefix("next"))[:3] == ["smidgen", "train", str(place.path)]
