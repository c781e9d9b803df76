"""COCO JSON: ids, objects, crowds, images without annotations, missing files and names that lead elsewhere."""

from __future__ import annotations

import json
import pickle
import time

import numpy as np
import pytest

from smidgen.core.errors import DataError
from smidgen.data.checks import glance, verify
from smidgen.data.dataset import Dataset

SQUARE = [1, 1, 4, 1, 4, 4, 1, 4]
"""Covers rows and columns 1 to 3: 9 pixels."""


class Coco:
    """Builds a COCO file beside images/; every image is 8 wide and 6 high."""

    def __init__(self, folder):
        self.folder = folder
        self.content = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "cat"}]}

    def image(self, name, file=True, size=(6, 8), **extra):
        if file:
            self.folder.image(f"images/{name}", np.zeros((*size, 3), np.uint8))
        number = len(self.content["images"]) + 1
        self.content["images"].append({"id": number, "file_name": name, "height": size[0], "width": size[1], **extra})
        return number

    def annotate(self, image, segmentation, category=1, **extra):
        entry = {"id": 100 + len(self.content["annotations"]), "image_id": image, "category_id": category, "iscrowd": 0}
        self.content["annotations"].append(entry | {"segmentation": segmentation} | extra)

    def open(self, name="coco.json", **options):
        self.folder.text(name, json.dumps(self.content))
        return Dataset.open(self.folder.path / name, **options)


@pytest.fixture
def coco(folder):
    return Coco(folder)


def whats(data):
    return [f"{one.where}: {one.what}" for one in data.problems]


# ---------------------------------------------------------------- classes


def test_ids_are_any_numbers(coco):
    """a09: two categories with ids 7 and 9007199254740993 are two classes, at once; the ids are kept."""
    coco.content["categories"] = [{"id": 9007199254740993, "name": "dog"}, {"id": 7, "name": "cat"}]
    for name, category in (("a.png", 7), ("b.png", 9007199254740993), ("c.png", 7)):
        coco.annotate(coco.image(name), [SQUARE], category)
    started = time.process_time()
    data = coco.open()
    assert time.process_time() - started < 1
    assert data.classes.names == ("background", "dog", "cat")
    assert data.ids == {"dog": 9007199254740993, "cat": 7}
    assert [sample.label().max() for sample in data.samples.values()] == [2, 1, 2]
    assert any("9007199254740993" in note for note in data.notes)


def test_ids_with_gaps_are_no_positions(coco):
    """a11: ids 1, 3 and 10 are the classes a, b and c; there is no class 2."""
    coco.content["categories"] = [{"id": id, "name": name} for id, name in ((1, "a"), (3, "b"), (10, "c"))]
    image = coco.image("a.png")
    for x, category in ((0, 1), (3, 3), (5, 10)):
        coco.annotate(image, [[x, 0, x + 2, 0, x + 2, 2, x, 2]], category)
    data = coco.open()
    label = data.samples["a"].label()
    assert data.classes.names == ("background", "a", "b", "c")
    assert [label[0, x] for x in (0, 3, 5)] == [1, 2, 3]
    assert np.bincount(label.ravel()).tolist() == [48 - 12, 4, 4, 4]
    assert data.samples["a"].tags == (1, 2, 3)


def test_a_category_background_is_the_background_and_doubled_names_are_one_class(coco):
    categories = [{"id": 0, "name": "cell"}, {"id": 1, "name": "cell"}, {"id": 2, "name": "Background"}]
    coco.content["categories"] = categories
    coco.annotate(coco.image("a.png"), [SQUARE], 1)
    data = coco.open()
    assert data.classes.names == ("Background", "cell") and data.samples["a"].label().sum() == 9
    assert any("taken as one class" in note for note in data.notes)


def test_unknown_categories_and_images_are_named(coco):
    image = coco.image("a.png")
    coco.annotate(image, [SQUARE], 5)
    coco.annotate(77, [SQUARE])
    found = whats(coco.open())
    assert found == [
        "coco.json annotation 101: there is no image 77",
        "coco.json annotation 100 (image 1): there is no category 5",
    ]


# ---------------------------------------------------------------- objects


def test_a_ring_in_a_ring_is_no_hole(coco):
    """a07: COCO unites the polygons of an object, so the area is 90,000; and that is said."""
    image = coco.image("a.png", size=(500, 500))
    rings = [[100, 100, 400, 100, 400, 400, 100, 400], [200, 200, 300, 200, 300, 300, 200, 300]]
    coco.annotate(image, rings)
    data = coco.open()
    assert data.samples["a"].label().sum() == 90_000
    assert any(note.startswith("1 annotations (100)") and "no hole" in note for note in data.notes)


def test_run_lengths_in_both_forms(coco):
    """a13: column order, in a file; compressed text says the same."""
    image = coco.image("a.png", size=(4, 6))
    coco.annotate(image, {"size": [4, 6], "counts": [4, 4, 16]})
    coco.annotate(coco.image("b.png", size=(4, 6)), {"size": [4, 6], "counts": "44`0"})
    data = coco.open()
    first = data.samples["a"].label()
    assert first[:, 1].all() and first.sum() == 4
    assert data.samples["b"].label()[:, 1].all()


def test_run_lengths_of_another_size_are_refused(coco):
    coco.annotate(coco.image("a.png"), {"size": [8, 6], "counts": [48]})
    coco.annotate(coco.image("b.png"), {"size": [6, 8], "counts": [40]})
    data = coco.open()
    assert "its RLE has the size [8, 6], [height, width] of its image is [6, 8]" in whats(data)[0]
    assert [one.ids for one in data.problems] == [("a",)]
    broken = verify(data.without(["a"]))
    assert "annotation 101" in broken[0].what and "do not add up" in broken[0].what
    assert broken[0].where == "coco.json image 2"


def test_degenerate_polygons_are_named_and_the_others_kept(coco):
    """a87: four numbers are no polygon; the annotation's other ring stays, and so do other annotations."""
    image = coco.image("a.png")
    coco.annotate(image, [[1, 1, 2, 2]])
    coco.annotate(image, [[1, 1, 2, 2], SQUARE])
    data = coco.open()
    assert data.problems == () and data.samples["a"].label().sum() == 9
    assert any("(100, 101)" in note and "fewer than three corners" in note for note in data.notes)


def test_polygons_outside_are_clipped_or_left_out(coco):
    """a89: what lies partly outside is cut off, what lies wholly outside is named."""
    image = coco.image("a.png", size=(10, 10))
    coco.annotate(image, [[-5, 3, 17, 3, 17, 8, -5, 8]])
    coco.annotate(image, [[20, 20, 30, 20, 30, 30]])
    data = coco.open()
    assert data.samples["a"].label().sum() == 50
    assert any("(101)" in note and "outside" in note for note in data.notes)


def test_the_smaller_object_lies_on_top_and_instances_are_kept(coco):
    image = coco.image("a.png")
    coco.content["categories"].append({"id": 2, "name": "dog"})
    coco.annotate(image, [[2, 2, 3, 2, 3, 3, 2, 3]], 2)
    coco.annotate(image, [SQUARE])
    data = coco.open()
    label, instances = data.samples["a"].label(), data.samples["a"].instances()
    assert label[2, 2] == 2 and (label == 1).sum() == 8
    assert instances[2, 2] == 1 and (instances == 2).sum() == 8
    assert data.instance_classes["a"] == {1: 2, 2: 1}


def test_crowds_are_unlabeled_below_objects(coco):
    image = coco.image("a.png")
    coco.annotate(image, [SQUARE])
    coco.annotate(image, {"size": [6, 8], "counts": [0, 24, 24]}, iscrowd=1)  # the left half
    label = coco.open().samples["a"].label()
    assert (label == 1).sum() == 9 and (label == 255).sum() == 24 - 9
    assert (coco.open().samples["a"].instances() == 65535).sum() == 15


def test_boxes_alone_are_tags_and_unlabeled_pixels(coco):
    first, second = coco.image("a.png"), coco.image("b.png")
    coco.annotate(first, [], bbox=[1, 1, 3, 3])
    coco.annotate(second, [], bbox=[5, 0, 2, 2])
    coco.annotate(second, [SQUARE])
    data = coco.open()
    assert data.samples["a"].tags == (1,) and data.samples["a"].read_label is None
    label = data.samples["b"].label()
    assert (label == 255).sum() == 4 and (label == 1).sum() == 9


# ---------------------------------------------------------------- images


def test_images_without_annotations_are_counted(coco):
    """a79: nobody can tell "nothing there" from "not looked at": unlabeled, unless told otherwise; the count is said."""
    for name in "abcdef":
        coco.image(f"{name}.png")
    for image in (1, 2, 3, 4):
        coco.annotate(image, [SQUARE])
    data = coco.open()
    assert data.samples["e"].tags is None and data.samples["e"].read_label is None
    assert any(note.startswith("2 of 6 images have no annotations: taken as not labeled yet") for note in data.notes)
    negative = coco.open(unannotated="negative")
    assert negative.samples["e"].tags == () and not negative.samples["e"].label().any()
    assert any("2 of 6" in note and "known to hold none" in note for note in negative.notes)
    assert data.key != negative.key


def test_a_missing_file_is_named_before_training(coco):
    """a63: the file lists five images, four are there."""
    for name in "abcde":
        coco.annotate(coco.image(f"{name}.png", file=name != "c"), [SQUARE])
    data = coco.open()
    assert list(data.samples) == ["a", "b", "d", "e"]
    assert whats(data) == ["coco.json image 3: there is no file images/c.png"] and data.problems[0].ids == ("c",)
    assert data.without(["c"]).problems == ()


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "C:\\windows\\a.png", "\\\\host\\a.png", "a/../../b.png", "x\0.png", ""]
)
def test_names_that_lead_elsewhere_are_refused(coco, name):
    coco.annotate(coco.image("a.png"), [SQUARE])
    coco.content["images"].append({"id": 2, "file_name": name, "height": 6, "width": 8})
    data = coco.open()
    assert list(data.samples) == ["a"]
    problem = data.problems[0]
    assert problem.where == "coco.json image 2" and repr(name) in problem.what and "leads out" in problem.what
    assert problem.ids == ()  # it can't be skipped


def test_names_with_backslashes_are_the_same(coco, folder):
    """a77, e14: a file written on Windows names its images with backslashes."""
    coco.annotate(coco.image("a.png"), [SQUARE])
    folder.image("images/deep/b.png", np.zeros((6, 8, 3), np.uint8))
    coco.content["images"].append({"id": 2, "file_name": "deep\\b.png", "height": 6, "width": 8})
    data = coco.open()
    assert list(data.samples) == ["a", "deep/b"] and data.problems == ()


def test_two_images_of_one_name_are_named(coco):
    """c17: a.png and a.jpg would have one name wherever something is made of them."""
    for name in ("a.png", "a.jpg"):
        coco.annotate(coco.image(name), [SQUARE])
    assert ["same name" in one for one in whats(coco.open())] == [True]


def test_an_image_of_another_size_than_told(coco):
    """a21: the entry has the size of the image before it is turned."""
    image = coco.image("a.png")
    coco.content["images"][0] |= {"height": 8, "width": 6}
    coco.annotate(image, [SQUARE])
    data = coco.open()
    assert "6x8 pixels (width x height), its image has 8x6" in whats(data)[0] and "EXIF" in data.problems[0].remedy


# ---------------------------------------------------------------- files


def test_folders_are_recognized_and_files_are_splits(coco, folder):
    for split in ("train", "val"):
        part = Coco(folder)
        part.content["images"] = [{"id": 1, "file_name": f"{split}.png", "height": 6, "width": 8}]
        part.annotate(1, [SQUARE])
        folder.image(f"{split}2017/{split}.png", np.zeros((6, 8, 3), np.uint8))
        folder.text(f"annotations/instances_{split}2017.json", json.dumps(part.content))
    folder.text("annotations/captions_train2017.json", "{}")
    data = Dataset.open(folder.path)
    assert {id: sample.split for id, sample in data.samples.items()} == {"train": "train", "val": "val"}
    assert not data.split_drawn and data.problems == ()
    assert data.notes[0].startswith("read as COCO: annotations/instances_train2017.json")


def test_equal_names_in_folders_of_splits(folder):
    for split in ("train", "valid"):
        part = Coco(folder)
        part.content["images"] = [{"id": 1, "file_name": "1.png", "height": 6, "width": 8}]
        part.annotate(1, [SQUARE])
        folder.image(f"{split}/1.png", np.zeros((6, 8, 3), np.uint8))
        folder.text(f"{split}/_annotations.coco.json", json.dumps(part.content))
    data = Dataset.open(folder.path)
    assert {id: sample.split for id, sample in data.samples.items()} == {"train/1": "train", "val/1": "val"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not readable as JSON"),
        ("[" * 100_000, "not readable as JSON"),
        ('{"shapes": [], "imagePath": "..\\\\files\\\\test.jpg"}', "labelme"),
        ('[{"annotations": [], "data": {}}]', "Label Studio"),
        ('{"a": 1}', "no COCO file"),
        ('{"images": {}, "annotations": []}', "no COCO file"),
        ('{"images": [], "annotations": {}}', "a list was expected"),
        ('{"images": [], "annotations": []}', "no images"),
    ],
)
def test_other_files_are_refused_in_words(folder, text, said):
    """a19, a77: exports of Label Studio and labelme are named as such; the latter with the path of its image."""
    path = folder.text("export.json", text)
    with pytest.raises(DataError, match=said) as caught:
        Dataset.open(path)
    assert said != "labelme" or "../files/test.jpg" in str(caught.value)


def test_the_run_lengths_of_label_studio_are_refused(coco):
    """a19: bytes of another scheme never become a scrambled mask."""
    coco.annotate(coco.image("a.png"), {"format": "rle", "rle": [0, 0, 4], "original_width": 8, "original_height": 6})
    data = coco.open()
    assert "the RLE of Label Studio, not that of COCO" in whats(data)[0] and "PNG" in data.problems[0].remedy


def test_entries_that_are_not_whole_are_named(coco):
    image = coco.image("a.png")
    coco.annotate(image, [SQUARE])
    coco.annotate(image, "rubbish")
    coco.annotate(image, [[1, 2, "x", 4, 5, 6]])
    coco.annotate(image, [[1, 2, float("nan"), 4, 5, 6]])
    coco.content["images"].append({"file_name": "b.png"})
    found = whats(coco.open())
    assert found[0] == "coco.json images[1]: has no id" and len(found) == 4


def test_samples_travel_to_workers_and_are_fingerprinted(coco):
    image = coco.image("a.png")
    coco.annotate(image, [SQUARE])
    data = coco.open()
    sample = pickle.loads(pickle.dumps(data.samples["a"]))
    assert (sample.label() == data.samples["a"].label()).all()
    assert glance(data) == [] and [one.where for one in verify(data)] == []
    before = data.key
    coco.annotate(image, [[5, 0, 7, 0, 7, 2, 5, 2]])
    assert coco.open().key != before
