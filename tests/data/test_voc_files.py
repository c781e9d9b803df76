"""PASCAL VOC folders: palette and color masks, labelmap.txt, lists, tags from boxes; XML that attacks."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from smidgen.core.errors import DataError
from smidgen.data.checks import verify
from smidgen.data.dataset import Dataset
from smidgen.data.images import Broken
from smidgen.data.voc_tables import read_objects, voc_color

XML = "<annotation><object><name>{}</name></object></annotation>"
LABELMAP = "# label:color_rgb:parts:actions\nCat:48,112,32::\nbackground:0,0,0::\nDog:176,112,32::\n"


@pytest.fixture
def voc(folder):
    """Three photos; the masks of two hold VOC's 0, 1, 15 and 255."""
    for name in "abc":
        folder.image(f"JPEGImages/{name}.jpg", np.full((6, 8, 3), 90, np.uint8))
    for name in "ab":
        mask = np.zeros((6, 8), np.uint8)
        mask[0, :4] = (1, 15, 15, 255)
        folder.palette_mask(f"SegmentationClass/{name}.png", mask)
    return folder


def test_colors_of_voc():
    """The first and the last of the published list."""
    assert [voc_color(value) for value in (0, 1, 2, 15, 20, 255)] == [
        (0, 0, 0), (128, 0, 0), (0, 128, 0), (192, 128, 128), (0, 64, 128), (224, 224, 192),
    ]  # fmt: skip


def test_palette_masks_hold_values(voc):
    """a90: indices 0, 1, 15 and 255, whatever the palette's colors look like in gray."""
    data = Dataset.open(voc.path)
    label = data.samples["a"].label()
    assert label[0, :5].tolist() == [1, 15, 15, 255, 0]
    assert data.classes.names[15] == "person" and len(data.classes) == 21 and data.classes.background == 0
    assert data.samples["c"].read_label is None and data.problems == () and data.split_drawn
    assert data.notes[0] == "read as PASCAL VOC: 3 images, 2 masks, 0 with objects"


def test_lists_are_the_split_also_when_written_on_windows(voc):
    """e14: backslashes and CRLF."""
    sets = voc.path / "ImageSets" / "Segmentation"
    sets.mkdir(parents=True)
    (sets / "train.txt").write_bytes(b"\xef\xbb\xbfa\r\nJPEGImages\\c.jpg\r\n")
    (sets / "val.txt").write_bytes(b"b\r\n")
    data = Dataset.open(voc.path)
    assert {id: one.split for id, one in data.samples.items()} == {"a": "train", "b": "val", "c": "train"}
    assert not data.split_drawn and data.problems == ()


def test_lists_that_do_not_fit_are_named(voc):
    voc.text("ImageSets/Segmentation/train.txt", "a\n../../etc/passwd\n")
    voc.text("ImageSets/Segmentation/val.txt", "a\nb\n")
    found = [str(one) for one in Dataset.open(voc.path).problems]
    assert found[0].startswith("ImageSets/Segmentation/train.txt: there is no image ../../etc/passwd")
    assert "a is in train and in val" in found[1]


def test_lists_of_detection_may_name_images_that_are_not_there(voc):
    voc.text("ImageSets/Main/train.txt", "a\nfar\naway\n")
    data = Dataset.open(voc.path)
    assert data.problems == () and any("2 names without an image" in note for note in data.notes)


def test_tags_from_boxes_and_from_lists(voc):
    for name, tag in (("a", "person"), ("b", "cat"), ("c", "dog")):
        voc.text(f"Annotations/{name}.xml", XML.format(tag))
    voc.text("ImageSets/Main/cat_train.txt", "a -1\nb  1\n")
    voc.text("ImageSets/Main/person_train.txt", "a  0\nb -1\n")
    data = Dataset.open(voc.path)
    names = {id: [data.classes.names[value] for value in one.tags] for id, one in data.samples.items()}
    assert names == {"a": ["person"], "b": ["cat"], "c": ["dog"]}


def test_without_masks_the_boxes_are_the_tags(folder):
    for name, tag in (("a", "crack"), ("b", "dent"), ("c", "crack")):
        folder.image(f"JPEGImages/{name}.jpg")
        folder.text(f"Annotations/{name}.xml", XML.format(tag))
    folder.text("Annotations/c.xml", "<annotation></annotation>")
    data = Dataset.open(folder.path)
    assert data.classes.names == ("background", "crack", "dent")
    assert [one.tags for one in data.samples.values()] == [(1,), (2,), ()]


def test_objects_are_instances(voc):
    objects = np.zeros((6, 8), np.uint8)
    objects[0, :4] = (1, 2, 2, 255)
    voc.palette_mask("SegmentationObject/a.png", objects)
    data = Dataset.open(voc.path)
    assert data.samples["a"].instances()[0, :5].tolist() == [1, 2, 2, 65535, 0]
    assert data.samples["b"].read_instances is None


# ---------------------------------------------------------------- labelmap.txt


def color_mask(folder, name, values, colors, mode="RGB"):
    picture = Image.fromarray(np.array([colors[value] for value in values], np.uint8).reshape(1, -1, 3).repeat(6, axis=0))
    return folder.save(name, picture.quantize(8) if mode == "P" else picture)


@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_labelmap_names_colors_in_any_order(folder, mode):
    """a15: Cat, background, Dog: the background is the entry of this name, wherever it stands."""
    colors = {"Cat": (48, 112, 32), "background": (0, 0, 0), "Dog": (176, 112, 32)}
    folder.image("JPEGImages/a.png", np.zeros((6, 8, 3), np.uint8))
    color_mask(folder, "SegmentationClass/a.png", ["Cat"] * 3 + ["background"] * 3 + ["Dog"] * 2, colors, mode)
    folder.text("labelmap.txt", LABELMAP)
    data = Dataset.open(folder.path)
    assert data.classes.names == ("background", "Cat", "Dog") and data.classes.background == 0
    assert np.bincount(data.samples["a"].label().ravel()).tolist() == [18, 18, 12]


def test_three_equal_channels_are_lines_of_the_labelmap(folder):
    """a17: R = G = B in {0, 1, 2} means the same as the one-channel file."""
    values = np.arange(48, dtype=np.uint8).reshape(6, 8) % 3
    for name, array in (("a", values), ("b", np.stack([values] * 3, axis=-1))):
        folder.image(f"JPEGImages/{name}.png", np.zeros((6, 8, 3), np.uint8))
        folder.image(f"SegmentationClass/{name}.png", array)
    folder.text("labelmap.txt", LABELMAP)
    data = Dataset.open(folder.path)
    first, second = (sample.label() for sample in data.samples.values())
    # line 0 is Cat, line 1 the background (class 0), line 2 Dog
    assert (first == second).all() and (first == np.array([1, 0, 2])[values]).all()


def test_colors_that_are_not_listed_are_named_with_their_pixels(folder):
    folder.image("JPEGImages/a.png", np.zeros((6, 8, 3), np.uint8))
    color_mask(folder, "SegmentationClass/a.png", ["x"] * 8, {"x": (1, 2, 3)})
    folder.text("labelmap.txt", LABELMAP)
    found = verify(Dataset.open(folder.path))
    assert found[0].where == "SegmentationClass/a.png" and "#010203 in 48 pixels" in found[0].what and "labelmap.txt" in found[0].what


def test_void_is_unlabeled_and_black_is_the_background(folder):
    folder.image("JPEGImages/a.png", np.zeros((6, 8, 3), np.uint8))
    color_mask(folder, "SegmentationClass/a.png", [1] * 4 + [2] * 4, {1: (0, 0, 0), 2: (9, 0, 9)})
    folder.text("labelmap.txt", "Void:9,0,9::\nsky:0,0,0::\ntree:0,9,0::\n")
    data = Dataset.open(folder.path)
    assert data.classes.names == ("sky", "tree")
    assert np.bincount(data.samples["a"].label().ravel(), minlength=256)[[0, 255]].tolist() == [24, 24]


@pytest.mark.parametrize("text", ["", "cat\n", "cat:1,2::\n", "cat:1,2,300::\n", "a:1,2,3::\nb:1,2,3::\n", "a:1,2,3::\na:4,5,6::\n"])
def test_broken_labelmaps_are_refused(voc, text):
    voc.text("labelmap.txt", text)
    with pytest.raises(DataError, match=r"labelmap\.txt"):
        Dataset.open(voc.path)


def test_color_masks_without_labelmap_have_the_colors_of_voc(folder):
    folder.image("JPEGImages/a.png", np.zeros((6, 8, 3), np.uint8))
    color_mask(folder, "SegmentationClass/a.png", [0, 1, 15, 255] * 2, {value: voc_color(value) for value in (0, 1, 15, 255)})
    data = Dataset.open(folder.path)
    assert data.samples["a"].label()[0, :4].tolist() == [0, 1, 15, 255] and data.classes.names[15] == "person"


def test_values_without_names_are_asked_for(voc):
    voc.text("Annotations/a.xml", XML.format("crack"))
    data = Dataset.open(voc.path)
    assert any("no labelmap.txt tells which class is which" in one.what and not one.ids for one in data.problems)


# ---------------------------------------------------------------- folders and XML


def test_the_folder_above_is_recognized(folder):
    folder.image("VOCdevkit/VOC2012/JPEGImages/a.jpg")
    assert list(Dataset.open(folder.path).samples) == ["a"]
    folder.image("VOCdevkit/VOC2007/JPEGImages/a.jpg")
    with pytest.raises(DataError, match="several VOC sets"):
        Dataset.open(folder.path)


def test_masks_without_images_are_no_dataset(folder):
    folder.mask("SegmentationClass/a.png", 0)
    with pytest.raises(DataError, match="no JPEGImages"):
        Dataset.open(folder.path)


BILLION_LAUGHS = """<?xml version="1.0"?>
<!DOCTYPE a [<!ENTITY b "lol"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>
<annotation><object><name>&c;</name></object></annotation>"""
OUTSIDE = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation><object><name>&b;</name></object></annotation>'


@pytest.mark.parametrize(
    ("text", "said"),
    [(BILLION_LAUGHS, "document type"), (OUTSIDE, "document type"), ("<a>&b;</a>", "not readable"), ("<a>", "not readable")],
)
def test_xml_that_attacks_is_refused(tmp_path, text, said):
    path = tmp_path / "a.xml"
    path.write_text(text)
    with pytest.raises(Broken, match=said):
        read_objects(path)


def test_broken_xml_is_named(voc):
    voc.text("Annotations/a.xml", "<annotation>")
    problem = Dataset.open(voc.path).problems[0]
    assert problem.where == "Annotations/a.xml" and problem.ids == ("a",)
