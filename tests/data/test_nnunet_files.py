"""nnU-Net datasets of 2D images: channels, labels with gaps, the ignore label, and names that do not fit."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from smidgen.core.errors import DataError
from smidgen.data.checks import verify
from smidgen.data.dataset import Dataset


class Nnunet:
    """Writes dataset.json and cases of 6 x 8 pixels."""

    def __init__(self, folder):
        self.folder = folder

    def describe(self, labels=None, channels=("image",), ending=".png", **more):
        labels = {"background": 0, "cell": 1} if labels is None else labels
        names = {str(i): name for i, name in enumerate(channels)}
        content = {"channel_names": names, "labels": labels, "numTraining": 1, "file_ending": ending}
        self.folder.text("dataset.json", json.dumps(content | more))

    def image(self, name, value=9, part="imagesTr", dtype=np.uint8):
        return self.folder.image(f"{part}/{name}", np.full((6, 8), value, dtype))

    def label(self, name, values, part="labelsTr"):
        return self.folder.mask(f"{part}/{name}", values)

    def open(self, **options):
        return Dataset.open(self.folder.path, **options)


@pytest.fixture
def nnunet(folder):
    return Nnunet(folder)


def test_cases_channels_and_splits(nnunet):
    nnunet.describe(channels=("red", "far red"))
    for case in ("a", "b", "c"):
        nnunet.image(f"{case}_0000.png", 10)
        nnunet.image(f"{case}_0001.png", 20)
        nnunet.label(f"{case}.png", [1, 1])
    for channel in (0, 1):
        nnunet.image(f"t_{channel:04}.png", part="imagesTs")
    nnunet.folder.text("splits_final.json", json.dumps([{"train": ["a", "c"], "val": ["b"]}]))
    data = nnunet.open()
    assert {id: one.split for id, one in data.samples.items()} == {"a": "train", "b": "val", "c": "train", "t": "test"}
    image = data.samples["a"].image()
    assert image.shape == (2, 6, 8) and np.round(255 * image[:, 0, 0]).tolist() == [10, 20]
    assert data.samples["a"].label().sum() == 2 and data.samples["t"].read_label is None
    assert data.channels == 2 and data.problems == () and "channels: 0 = red, 1 = far red" in data.notes
    assert (pickle.loads(pickle.dumps(data.samples["a"])).image() == image).all()
    before = data.key
    nnunet.image("a_0001.png", 21)
    assert nnunet.open().key != before


def test_test_cases_stay_test_when_the_split_is_drawn(nnunet):
    nnunet.describe()
    for i in range(5):
        nnunet.image(f"a{i}_0000.png")
        nnunet.label(f"a{i}.png", [1])
    nnunet.image("t_0000.png", part="imagesTs")
    data = nnunet.open()
    assert list(data.test) == ["t"] and len(data.val) == 1 and data.split_drawn


def test_one_color_file_holds_three_channels(nnunet):
    nnunet.describe(channels="RGB")
    nnunet.folder.image("imagesTr/a_0000.png")
    nnunet.label("a.png", [1])
    assert nnunet.open().samples["a"].image().shape == (3, 6, 8)


def test_labels_with_gaps_are_counted_inside_and_kept(nnunet):
    """a41: labels 0, 1, 2 and 4 become 0 to 3; the numbers stay for export."""
    nnunet.describe({"background": 0, "necrosis": 1, "edema": 2, "enhancing": 4})
    nnunet.image("a_0000.png")
    nnunet.label("a.png", [0, 1, 2, 4])
    data = nnunet.open()
    assert data.samples["a"].label()[0, :4].tolist() == [0, 1, 2, 3]
    assert data.classes.names == ("background", "necrosis", "edema", "enhancing")
    assert data.ids == {"background": 0, "necrosis": 1, "edema": 2, "enhancing": 4}


def test_the_ignore_label_is_unlabeled(nnunet):
    nnunet.describe({"background": 0, "cell": 1, "ignore": 2})
    nnunet.image("a_0000.png")
    nnunet.label("a.png", np.full((6, 8), 2, np.uint8))
    nnunet.label("a.png", [0, 1, *[2] * 46])
    data = nnunet.open()
    assert data.samples["a"].label()[0, :3].tolist() == [0, 1, 255] and len(data.classes) == 2
    assert data.samples["a"].sparse and any("sparse" in note for note in data.notes)


def test_labels_that_are_not_listed_are_named(nnunet):
    """a43: whole floats are read; value 3 is named with its file and pixels."""
    nnunet.describe({"background": 0, "a": 1, "b": 2}, ending=".tif")
    for case, values in (("x", (0, 1, 2, 0)), ("y", (0, 1, 3, 3))):
        nnunet.image(f"{case}_0000.tif")
        array = np.zeros((6, 8), np.float32)
        array[0, :4] = values
        nnunet.folder.image(f"labelsTr/{case}.tif", array)
    data = nnunet.open()
    assert data.samples["x"].label()[0, :3].tolist() == [0, 1, 2]
    found = verify(data)
    assert [one.where for one in found] == ["labelsTr/y.tif"]
    assert "3 in 2 pixels" in found[0].what and "dataset.json lists 0 (background)" in found[0].what


def test_another_ending_than_told_is_read_and_said(nnunet):
    """a37: images carry _0000, labels do not, and the files end otherwise than dataset.json says."""
    nnunet.describe(ending=".tif")
    nnunet.image("BLB_404_0000.png")
    nnunet.label("BLB_404.png", [1])
    data = nnunet.open()
    assert list(data.samples) == ["BLB_404"] and data.samples["BLB_404"].label().sum() == 1
    assert any("dataset.json says files end in .tif" in note and "end in .png" in note for note in data.notes)


def test_volumes_of_other_formats_are_named(nnunet):
    """a37: what is there, and what to do about it, in words."""
    nnunet.describe(ending=".nrrd")
    nnunet.folder.text("imagesTr/BLB_404_0000.nrrd", "")
    with pytest.raises(DataError) as caught:
        nnunet.open()
    assert "BLB_404_0000.nrrd" in str(caught.value) and "save them as .nii.gz" in str(caught.value)


def test_missing_channel_suffixes_are_noticed(nnunet):
    """a39: running numbers at the end of names are no channels; nothing is trained on one case of three."""
    nnunet.describe()
    for i in (1, 2, 3):
        nnunet.image(f"word_{i:04}.png")
        nnunet.label(f"word_{i:04}.png", [1])
    with pytest.raises(DataError) as caught:
        nnunet.open()
    said = str(caught.value)
    assert "1 case, word with 3 channels (word_0001.png, word_0002.png, word_0003.png), but dataset.json declares 1" in said
    assert "is the channel suffix missing?" in said


def test_a_missing_channel_is_named(nnunet):
    nnunet.describe(channels=("a", "b"))
    for name in ("x_0000", "x_0001", "y_0000", "z_0000", "z_0001"):
        nnunet.image(f"{name}.png")
    problem = nnunet.open().problems[0]
    assert problem.where == "imagesTr/y" and problem.ids == ("y",) and "0000 to 0001 expected" in problem.what


def test_channels_of_different_sizes_are_refused(nnunet):
    nnunet.describe(channels=("a", "b"))
    nnunet.image("x_0000.png")
    nnunet.folder.image("imagesTr/x_0001.png", np.zeros((6, 9), np.uint8))
    assert "save all channels of an image" in verify(nnunet.open())[0].remedy


def test_the_older_form_of_the_table_is_read(nnunet):
    content = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver"}}
    nnunet.folder.text("dataset.json", json.dumps(content))
    nnunet.image("a_0000.png")
    nnunet.label("a.png", [1])
    assert nnunet.open().classes.names == ("background", "liver")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not readable"),
        ("{}", "has no labels"),
        ('{"labels": {"background": 0, "tumor": [1, 2]}}', "regions"),
        ('{"labels": {"background": 0, "a": 1, "b": 1}}', "twice"),
        ('{"labels": {"background": 0, "a": 1.5}}', "whole numbers"),
    ],
)
def test_wrong_tables_are_refused(nnunet, text, said):
    nnunet.folder.text("dataset.json", text)
    nnunet.image("a_0000.png")
    with pytest.raises(DataError, match=said):
        nnunet.open()


def test_a_missing_table_is_named(nnunet):
    nnunet.image("a_0000.png")
    nnunet.label("a.png", [1])
    with pytest.raises(DataError, match=r"dataset\.json: is missing"):
        nnunet.open()


def test_labels_without_image_and_images_without_label(nnunet):
    nnunet.describe()
    nnunet.image("a_0000.png")
    nnunet.image("b_0000.png")
    nnunet.label("b.png", [1])
    nnunet.label("z.png", [1])
    data = nnunet.open()
    assert [one.where for one in data.problems] == ["labelsTr/z.png"]
    assert any("1 cases of imagesTr have no label (a)" in note for note in data.notes)
