"""The dataset as a value: arrays, views, fingerprint."""

from __future__ import annotations

import os
import pickle
import shutil

import numpy as np
import pytest

from smidgen.core.errors import DataError, SettingsError
from smidgen.data.dataset import Dataset

IMAGES = {"b": np.full((2, 3, 3), 255, np.uint8), "a": np.zeros((4, 5, 3), np.uint8)}
MASKS = {"a": np.eye(4, 5, dtype=np.uint8)}


def test_arrays_do_as_well_as_a_folder():
    data = Dataset(IMAGES, MASKS, tags={"b": ["cat"], "a": []}, classes=["background", "dog", "cat"], split={"b": "val"}, groups={"a": "g"})
    assert list(data.samples) == ["a", "b"] and data.name == "arrays" and data.folder is None
    a, b = data.samples["a"], data.samples["b"]
    assert a.size == (4, 5) and a.tags == () and b.tags == (2,) and a.group == "g" and b.read_label is None
    assert (a.label() == MASKS["a"]).all() and b.image().dtype == np.float32 and (b.image() == 1).all() and b.image().shape == (3, 2, 3)
    assert list(data.labeled) == ["a"] and list(data.val) == ["b"]


def test_lists_get_running_numbers():
    data = Dataset([np.zeros((2, 2), np.uint8)] * 3, tags=[["x"], None, []])
    assert {id: sample.tags for id, sample in data.samples.items()} == {"000": (1,), "001": None, "002": ()}
    assert data.channels == 1 and data.samples["000"].image().shape == (1, 2, 2)
    stacked = Dataset(np.zeros((3, 2, 2, 3), np.uint8), masks=np.zeros((3, 2, 2), np.uint8) + np.eye(2, dtype=np.uint8))
    assert len(stacked.labeled) == 3 and stacked.classes.names == ("background", "class 1")


def test_classes_of_arrays_are_as_many_as_the_masks_need():
    image = np.zeros((2, 2), np.uint8)
    assert len(Dataset([image], [np.array([[0, 4], [255, 1]], np.uint8)]).classes) == 5
    assert Dataset([image], [np.array([[0, 1], [1, 1]], np.uint8)], tags=[["cat"]]).classes.names == ("background", "cat")
    assert Dataset([image], tags=[["sky"]], background=None).classes.names == ("sky",)
    data = Dataset([image], [np.array([[0, 255], [0, 0]], np.uint8)])
    assert data.samples["000"].label().tolist() == [[0, 1], [0, 0]] and data.notes
    assert Dataset([image], [np.array([[True, False], [False, False]])]).samples["000"].label()[0, 0] == 1


def test_arrays_may_say_what_the_values_of_their_masks_mean():
    stored = np.array([[0, 1, 2], [2, 2, 1]])
    data = Dataset([np.zeros((2, 3), np.uint8)], [stored], values={0: "unlabeled", np.int64(1): "polyp", 2: "background"})
    assert data.classes.names == ("background", "polyp") and data.classes.background == 0
    assert data.samples["000"].label().tolist() == [[255, 1, 0], [0, 0, 1]]
    assert data.notes == ("masks: 0 = unlabeled, 1 = polyp, 2 = background, 255 = unlabeled",)
    named = Dataset(
        [np.zeros((2, 3), np.uint8)], [stored], classes=["background", "a", "polyp"], values={0: "A", 1: "polyp", 2: "background"}
    )
    assert named.samples["000"].label().tolist() == [[1, 2, 0], [0, 0, 2]]
    colors = np.zeros((2, 3, 3), np.uint8)
    colors[0, 0] = 255, 0, 0
    painted = Dataset([np.zeros((2, 3), np.uint8)], [colors], values={"#000000": "background", "#ff0000": "crack"})
    assert painted.samples["000"].label().tolist() == [[1, 0, 0], [0, 0, 0]]
    flat = Dataset([np.zeros((2, 3), np.uint8)], [stored], background=None, values={0: "sea", 1: "land", 2: "unlabeled"})
    assert flat.classes.names == ("sea", "land") and flat.classes.background is None
    volume = Dataset([np.zeros((4, 2, 3))], [np.stack([stored] * 4)], dims=3, values={0: "unlabeled", 1: "polyp", 2: "background"})
    assert volume.samples["000"].label()[3].tolist() == [[255, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({0: "background", 1: "polyp"}, "2 in 1 pixels.*`values` says what the others mean"),
        ({0: "background", "red": "polyp"}, "masks: values: red is no label value"),
    ],
)
def test_what_values_do_not_say_is_named(values, message):
    with pytest.raises(DataError, match=message):
        Dataset([np.zeros((1, 3), np.uint8)], [np.array([[0, 1, 2]])], values=values)


def test_float_arrays_within_their_range_are_taken_as_they_are():
    image = np.linspace(0, 1, 12, dtype=np.float64).reshape(3, 4)
    assert np.allclose(Dataset([image]).samples["000"].image()[0], image)
    data = Dataset([image * 1000])
    assert data.value_range != (0, 1) and data.samples["000"].image().max() == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"masks": {"a": np.zeros((5, 4), np.uint8)}}, "masks a: 4x5 pixels .*its image has 5x4"),
        ({"masks": {"a": np.full((4, 5), 7)}, "classes": ["background", "x"]}, "7 in 20 pixels"),
        ({"masks": {"c": np.zeros((4, 5))}}, "masks c: there is no image with this id"),
        ({"masks": [np.zeros((4, 5))]}, "masks: 1 values for 2 images"),
        ({"tags": {"a": ["dgo"]}, "classes": ["background", "dog"]}, "tags a: dgo is no class: did you mean dog"),
        ({"tags": {"a": [5]}, "classes": ["background", "dog"]}, "5 is no class"),
        ({"split": {"a": "vall"}}, "split a: vall, one of train, val, test expected: write val"),
        ({"background": 1}, "background: 1, 0 or None expected"),
        ({"images": {"a": np.zeros(3)}}, r"shape \(3,\), \(h, w\) or \(h, w, c\) expected"),
        ({"images": {"a": np.zeros((3, 90, 90))}}, "would be 90 channels: put the channels last"),
        ({"images": {"a": np.full((2, 2), np.nan)}}, "4 of 4 values are NaN"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(DataError, match=message):
        Dataset(**({"images": IMAGES} | arguments))


def labeled_set() -> Dataset:
    """Six images with masks and tags; the last two are val."""
    images = [np.full((4, 4, 3), i, np.uint8) for i in range(6)]
    return Dataset(images, [np.eye(4, dtype=np.uint8)] * 6, tags=[["x"], []] * 3, split=["train"] * 4 + ["val"] * 2)


def test_using_puts_other_supervision_out_of_reach():
    data = labeled_set()
    tags, masks = data.using("tags"), data.using("masks")
    assert not tags.labeled and len(tags.tagged) == 4 and all(sample.read_label for sample in tags.val.values())
    assert len(masks.labeled) == 4 and not masks.tagged
    assert not data.using("sparse").labeled and data.using(None).key == data.key
    assert len({one.key for one in (data, tags, masks)}) == 3


def test_only_and_without():
    data = labeled_set()
    assert list(data.only("val").samples) == ["004", "005"] and list(data.only(ids=["001"]).samples) == ["001"]
    assert not data.only("val", ["001"]).samples and len(data.without(["001", "nowhere"]).samples) == 5
    with pytest.raises(SettingsError, match="split valid"):
        data.only("valid")
    with pytest.raises(DataError, match=r"0001: no such image: did you mean 001\?"):
        data.only(ids=["0001"])


def test_drawing_a_split_for_arrays():
    drawn = labeled_set().drawn(0.5, seed=1)
    assert len(drawn.val) == 3 and drawn.split_drawn and not labeled_set().split_drawn


def filled(folder):
    """A folder with one file of every kind."""
    folder.images("a.png b.png")
    folder.mask("masks/a.png", [1])
    folder.mask("instances/a.png", [1])
    folder.text("classes.txt", "background\ncat\n")
    folder.text("tags.csv", "filename,tags\na.png,cat\nb.png,\n")
    folder.text("split.csv", "filename,split\na.png,train\nb.png,val\n")
    return folder


def test_the_key_is_that_of_the_contents(folder, tmp_path):
    first = Dataset.open(filled(folder).path).key
    shutil.copytree(folder.path, tmp_path / "elsewhere")
    for path in (tmp_path / "elsewhere").rglob("*.png"):
        os.utime(path, (1, 1))
    assert Dataset.open(tmp_path / "elsewhere").key == first == Dataset.open(folder.path).key


@pytest.mark.parametrize("change", ["image", "mask", "instances", "classes", "tags", "split", "more", "less"])
def test_every_change_of_the_contents_changes_the_key(folder, change):
    first = Dataset.open(filled(folder).path).key
    changes = {
        "image": lambda: folder.image("images/a.png", np.zeros((6, 8, 3), np.uint8)),
        "mask": lambda: folder.mask("masks/a.png", [1, 1]),
        "instances": lambda: folder.mask("instances/a.png", [2]),
        "classes": lambda: folder.text("classes.txt", "background\ndog\n"),
        "tags": lambda: folder.text("tags.csv", "filename,tags\na.png,cat\n"),
        "split": lambda: folder.text("split.csv", "filename,split\na.png,train\nb.png,test\n"),
        "more": lambda: folder.images("c.png"),
        "less": (folder.path / "images/b.png").unlink,
    }
    changes[change]()
    assert Dataset.open(folder.path).key != first


def test_the_key_of_a_view_ignores_what_it_cannot_read(folder):
    first = Dataset.open(filled(folder).path)
    folder.mask("masks/a.png", [1, 1])
    second = Dataset.open(folder.path)
    assert first.using("tags").key == second.using("tags").key
    assert first.only("val").key == second.only("val").key


def test_keys_of_arrays():
    same = Dataset(dict(reversed(IMAGES.items())), MASKS)
    assert Dataset(IMAGES, MASKS).key == same.key != Dataset(IMAGES).key
    assert len(same.key) >= 10


def test_samples_and_datasets_travel_to_workers(folder):
    data = Dataset.open(filled(folder).path)
    sample = pickle.loads(pickle.dumps(data.samples["a"]))
    assert (sample.image() == data.samples["a"].image()).all() and (sample.label() == data.samples["a"].label()).all()
    assert pickle.loads(pickle.dumps(data)).key == data.key
    assert pickle.loads(pickle.dumps(labeled_set())).key == labeled_set().key


def test_it_says_what_it_is(folder):
    assert repr(Dataset.open(filled(folder).path)) == "Dataset data: 2 images, 2 classes"


def test_arrays_with_masks_of_three_axes_are_volumes():
    volume, photo = np.arange(60, dtype=np.uint8).reshape(3, 4, 5), np.zeros((6, 7, 3), np.uint8)
    assert Dataset([volume], [np.zeros_like(volume)], classes=["background", "heart"]).dims == 3
    assert Dataset({"a": volume[None]}).dims == 3 and Dataset([volume], dims=3).dims == 3
    assert Dataset([photo], [np.zeros((6, 7), np.uint8)], classes=["background", "cat"]).dims == 2
    assert Dataset([np.zeros((4, 5, 9), np.uint8)]).dims == 2  # nine channels
