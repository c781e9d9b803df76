"""What label values and tags are taken to mean, where tools have misread them."""

from __future__ import annotations

import numpy as np
import pytest

from smidgen.core.errors import DataError
from smidgen.data.checks import verify
from smidgen.data.dataset import Dataset
from smidgen.data.summary import summarize

BLANK, OBJECT, GROUND = 0, 1, 2
CODINGS = {
    "0 unlabeled": {BLANK: 0, OBJECT: 1, GROUND: 2},
    "255 unlabeled": {BLANK: 255, OBJECT: 1, GROUND: 0},
    "-1 unlabeled": {BLANK: -1, OBJECT: 1, GROUND: 0},
    "colors": {BLANK: (0, 0, 0), OBJECT: (255, 0, 0), GROUND: (0, 255, 0)},
}
LISTED = {
    "0 unlabeled": "values: {0: unlabeled, 1: object, 2: background}",
    "-1 unlabeled": "values: {-1: unlabeled, 0: background, 1: object}",
    "colors": 'values: {"#000000": unlabeled, "#ff0000": object, "#00FF00": Background}',
}


def strokes(coding: dict, n: int = 0, size: int = 40) -> np.ndarray:
    """A stroke on the object and one on the background, 5 % of the pixels in all."""
    drawn = np.full((size, size), BLANK)
    drawn[10 + n, 5:20], drawn[30, 5:35], drawn[31, 5:40] = OBJECT, GROUND, GROUND
    return np.array([coding[value] for value in range(3)])[drawn].astype(np.int32 if -1 in coding.values() else np.uint8)


def scribbled(photos, coding: str, yaml: str = "", folder: str = "scribbles", suffix: str = "png"):
    """Eight photos with strokes, and the names of the classes."""
    for n in range(8):
        photos.image(f"images/{n}.png", np.zeros((40, 40, 3), np.uint8))
        photos.image(f"{folder}/{n}.{suffix}", strokes(CODINGS[coding], n))
    photos.text("classes.txt", "background\nobject\n")
    if yaml:
        photos.text("dataset.yaml", yaml)
    return photos.path


def labels(data: Dataset) -> list:
    return [sample.label().tolist() for sample in data.samples.values()]


@pytest.mark.parametrize("coding", LISTED)
def test_all_codings_of_strokes_give_the_same_labels_once_they_are_said(photos, tmp_path, coding):
    """Row b38: 0 is unlabeled, 1 object, 2 background for some; 255, 1, 0 for others."""
    usual = Dataset.open(scribbled(type(photos)(tmp_path / "usual"), "255 unlabeled"), label_folder="scribbles", val=0)
    other = Dataset.open(
        scribbled(photos, coding, LISTED[coding], suffix="tif" if coding[0] == "-" else "png"), label_folder="scribbles", val=0
    )
    assert labels(other) == labels(usual) and other.classes == usual.classes
    assert all(sample.sparse for data in (usual, other) for sample in data.samples.values())
    assert verify(usual) == verify(other) == []
    assert any("= unlabeled" in note and "= object" in note for note in other.notes)


def test_scribbles_that_would_label_every_pixel_are_asked_about(photos):
    """Row b38: nobody said what 0 is, and 95 % of the pixels are 0."""
    data = Dataset.open(scribbled(photos, "0 unlabeled"), label_folder="scribbles")
    (problem,) = data.problems
    assert problem.where == "scribbles/" and problem.ids == ()
    assert "no pixel is 255 (unlabeled), and 95 % (median of 8 files) are 0, taken as background" in problem.what
    assert "`values: {0: unlabeled, 1: NAME, 2: NAME}` into dataset.yaml" in problem.remedy


def test_the_same_strokes_in_masks_are_asked_about_and_small_objects_are_not(photos, tmp_path):
    """Row b38: each class has a value above 0 of its own, so 0 must be something else; few pixels of one class are only remarked."""
    data = Dataset.open(scribbled(photos, "0 unlabeled", folder="masks"))
    assert [problem.where for problem in data.problems] == ["masks/"] and "if 0 means unlabeled there" in data.problems[0].remedy
    small = type(photos)(tmp_path / "small")
    for n in range(3):
        small.image(f"images/{n}.png", np.zeros((40, 40, 3), np.uint8))
        small.image(f"masks/{n}.png", (strokes(CODINGS["0 unlabeled"], n) == OBJECT).astype(np.uint8))
    small.text("classes.txt", "background\ncell\n")
    data = Dataset.open(small.path)
    assert data.problems == () and verify(data) == []
    assert any("99 % (median of 3 files) are 0, taken as background: if 0 means unlabeled" in note for note in data.notes)
    small.text("dataset.yaml", "values: {0: background, 1: cell}")
    said = Dataset.open(small.path)
    assert labels(said) == labels(data) and said.notes == (
        "masks/ (PNG or TIFF): 0 = background, 1 = cell, 255 = unlabeled (dataset.yaml)",
    )


def test_names_of_classes_may_stand_with_the_values_only(photos):
    """Row b38, without classes.txt; and what is wrong with the list is said."""
    path = scribbled(photos, "0 unlabeled", LISTED["0 unlabeled"], folder="masks")
    (path / "classes.txt").unlink()
    data = Dataset.open(path)
    assert (data.classes.names, data.classes.background) == (("background", "object"), 0)
    assert sorted(np.unique(data.samples["0"].label())) == [0, 1, 255] and data.problems == ()
    photos.text("classes.txt", "background\nobject\n")
    photos.text("dataset.yaml", "values: {0: unlabeled, 1: objects, red: background}")
    assert [str(one) for one in Dataset.open(path).problems] == [
        "dataset.yaml: values: objects is no class: did you mean object?",
        'dataset.yaml: values: red is no label value: write numbers, or colors like "#ff0000"',
    ]
    photos.text("dataset.yaml", "values: {0: unlabeled, 1: object}")
    problems = verify(Dataset.open(path))
    assert len(problems) == 8 and "2 in 65 pixels); `values` says what the others mean: correct the file, or add" in str(problems[0])


def test_masks_of_ids_are_counted_by_class_and_drawn_in_color(photos):
    """Row b40: ids 0 to 20 look black in a viewer, so people took their scribbles for empty."""
    photos.image("images/a.png", np.zeros((10, 10, 3), np.uint8))
    drawn = np.full((10, 10), 255, np.uint8)
    drawn[0], drawn[1, :5], drawn[2, :5] = 0, 1, 2
    photos.image("masks/a.png", drawn)
    photos.text("classes.txt", "background\ncat\ndog\n")
    data = Dataset.open(photos.path, val=0)
    assert {one.name: (one.masks, one.share) for one in summarize(data).classes} == {
        "background": (1, 0.5),
        "cat": (1, 0.25),
        "dog": (1, 0.25),
    }
    picture, _ = data._drawn("a")
    assert len({tuple(color) for color in picture[:3, :5].reshape(-1, 3)}) >= 3  # background, cat and dog are told apart
    assert "<img" in data._repr_html_()


def test_a_tag_written_in_two_ways_and_an_unknown_one_are_named_with_their_line(photos):
    """Row b45: "Dog", "dog " and a class that is not in the list, in one cell as well as in a column of its own."""
    photos.text("classes.txt", "background\ncat\ndog\n")
    for n in range(3):
        photos.image(f"images/{n}.png")
    photos.text("tags.csv", "filename,tags\n0.png,Dog; dog \n1.png,cat\n2.png,cow\n")
    assert [one.where for one in Dataset.open(photos.path).problems] == ["tags.csv line 2", "tags.csv line 4"]
    photos.text("tags.csv", "filename,dog,Dog,cow\n0.png,1,1,0\n1.png,0,0,1\n")
    told = Dataset.open(photos.path).problems
    assert [one.where for one in told] == ["tags.csv line 1", "tags.csv line 1"]
    assert "column Dog is called dog" in str(told[0])
    assert "column cow is no class" in str(told[1])
    photos.text("tags.csv", "filename,dog,dog ,cat\n0.png,1,1,0\n")
    assert "line 1 names a column twice" in str(Dataset.open(photos.path).problems[0])


def test_one_letter_has_one_spelling(photos):
    """Row b45: é as one character and as two look the same, so nobody would find the difference."""
    photos.text("classes.txt", "background\ncaf\u00e9\n")
    for n in range(2):
        photos.image(f"images/{n}.png")
    photos.text("tags.csv", "filename,tags\n0.png,cafe\u0301\n1.png,caf\u00e9\n")
    data = Dataset.open(photos.path)
    assert data.problems == () and [sample.tags for sample in data.samples.values()] == [(1,), (1,)]


def test_tags_of_arrays_are_looked_at_alike():
    """Row b45, in memory: one class in two spellings would have become two classes."""
    images = [np.zeros((4, 4, 3), np.uint8)] * 2
    assert Dataset(images, tags=[["dog"], ["dog "]]).classes.names == ("background", "dog")
    with pytest.raises(DataError, match="tags 001: tag dog is elsewhere written Dog"):
        Dataset(images, tags=[["Dog"], ["dog"]])
    with pytest.raises(DataError, match=r"tags 001: Dog is no class: did you mean dog\?"):
        Dataset(images, tags=[["dog"], ["Dog"]], classes=["background", "dog"])
    assert Dataset(images, tags=["dog", "cat"]).classes.names == ("background", "cat", "dog")
