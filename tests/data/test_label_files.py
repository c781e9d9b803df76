"""What label values mean, with the reports from the field that each rule answers."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pytest import approx

from smidgen.core.errors import DataError
from smidgen.data.checks import verify
from smidgen.data.dataset import Dataset
from smidgen.data.images import Broken
from smidgen.data.labels import COLOR, InstanceFile, LabelFile, Values, packed, values_of


def disc(size: int = 48) -> np.ndarray:
    image = Image.new("L", (size, size))
    ImageDraw.Draw(image).ellipse((8, 8, size - 8, size - 12), fill=1)
    return np.asarray(image)


def pairs(folder, masks, suffix="png", **options):
    """As many images as masks."""
    for i, mask in enumerate(masks):
        height, width = np.shape(mask)[:2]
        folder.image(f"images/{i}.png", np.zeros((height, width, 3), np.uint8))
        folder.image(f"masks/{i}.{suffix}", mask, **options)
    return folder


@pytest.mark.parametrize("classes", [None, "background\npolyp\n"])
def test_zero_and_255_are_background_and_foreground_where_there_is_one_class(folder, classes):
    """Reports a01, b29: 255 as foreground crashed the GPU, or was ignored as a whole."""
    pairs(folder, [disc() * 255] * 8)
    if classes:
        folder.text("classes.txt", classes)
    data = Dataset.open(folder.path)
    name = "polyp" if classes else "foreground"
    assert data.classes.names == ("background", name)
    assert (data.samples["0"].label() == disc()).all()
    assert any(f"255 = {name}" in note and "only these two values in 8 files" in note for note in data.notes)
    assert verify(data) == []


def test_a_file_with_another_value_among_two_valued_ones_is_named(folder):
    pairs(folder, [disc() * 255] * 6 + [disc()])
    problems = verify(Dataset.open(folder.path))
    assert [(one.where, one.ids) for one in problems] == [("masks/6.png", ("6",))]
    assert f"1 in {disc().sum()} pixels" in problems[0].what and "255 (the class)" in problems[0].what


def test_zero_one_and_255_are_class_indices(folder):
    mask = disc()
    mask = np.where(mask == 1, 1, np.where(np.arange(48) < 3, 255, 0)).astype(np.uint8)
    data = Dataset.open(pairs(folder, [mask] * 3).path)
    assert (data.samples["0"].label() == mask).all() and data.notes == ()


def test_two_values_in_a_set_of_many_classes_are_said_and_stop_the_work(folder):
    """Report b29 with three classes: nothing but background would be labeled."""
    pairs(folder, [disc() * 255] * 3).text("classes.txt", "background\ncat\ndog\n")
    data = Dataset.open(folder.path, val=0)
    assert any("255 is taken as unlabeled, so nothing but background is labeled" in note for note in data.notes)
    (problem,) = verify(data)
    assert problem.where == "masks of train" and "only background in all 3 files" in problem.what
    assert "255 means unlabeled" in problem.remedy


@pytest.mark.parametrize("suffix", ["jpg", "JPEG"])
def test_lossy_masks_are_split_at_mid_gray(folder, suffix):
    """Report a03: JPEG masks hold values near 0 and near 255."""
    image = Image.new("L", (128, 128))
    ImageDraw.Draw(image).ellipse((20, 30, 100, 110), fill=255)
    clean = np.asarray(image)
    pairs(folder, [clean] * 3, suffix=suffix, format="JPEG", quality=75)
    stored = np.asarray(Image.open(folder.path / f"masks/0.{suffix}"))
    assert len(np.unique(stored)) > 2
    data = Dataset.open(folder.path)
    found, truth = data.samples["0"].label() == 1, clean == 255
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) >= 0.99
    assert len(data.classes) == 2 and any("split at 128" in note for note in data.notes)
    assert verify(data) == []


def test_a_picture_among_lossy_masks_is_named(folder):
    gradient = np.tile(np.arange(256, dtype=np.uint8), (4, 1))
    blurred = np.where(np.arange(256) < 128, 3, 250).astype(np.uint8) * np.ones((4, 1), np.uint8)
    problems = verify(Dataset.open(pairs(folder, [blurred] * 4 + [gradient]).path))
    assert [one.where for one in problems] == ["masks/4.png"] and "shades of gray" in problems[0].what


def test_a_picture_among_masks_is_named_with_its_values(folder):
    """Report a05: one mask file holds every value from 0 to 255."""
    gradient = np.tile(np.arange(256, dtype=np.uint8), (4, 1))
    pairs(folder, [gradient % 3] * 5 + [gradient]).text("classes.txt", "background\na\nb\n")
    (problem,) = verify(Dataset.open(folder.path))
    assert problem.where == "masks/5.png" and problem.ids == ("5",)
    assert "252 values without a class (3 in 4 pixels, 4 in 4 pixels" in problem.what and "there are 3 classes (0 to 2)" in problem.what


def test_a_picture_does_not_outvote_class_indices(folder):
    gradient = np.tile(np.arange(256, dtype=np.uint8), (4, 1))
    pairs(folder, [gradient % 2] * 5 + [gradient]).text("classes.txt", "background\na\n")
    data = Dataset.open(folder.path)
    assert (data.samples["0"].label() == gradient % 2).all()
    assert [one.where for one in verify(data)] == ["masks/5.png"]


def test_three_equal_channels_are_class_indices(folder):
    """Report a17: masks exported with R = G = B."""
    mask = np.arange(48, dtype=np.uint8).reshape(6, 8) % 3
    pairs(folder, [np.stack([mask] * 3, -1), mask]).text("classes.txt", "background\na\nb\n")
    data = Dataset.open(folder.path)
    assert (data.samples["0"].label() == mask).all() and (data.samples["1"].label() == mask).all()


def test_one_color_on_black_is_the_class(folder):
    """Report b22: red, 0/255 and 0/1 masks are the same masks."""
    red = disc()[..., None] * np.array([255, 0, 0], np.uint8)
    data = Dataset.open(pairs(folder, [red] * 2).path)
    assert (data.samples["0"].label() == disc()).all() and any("color #ff0000" in note for note in data.notes)


def test_several_colors_are_refused(folder):
    colors = np.array([[[0, 0, 0], [128, 0, 0], [0, 128, 0]]], np.uint8)
    pairs(folder, [colors] * 2).text("classes.txt", "background\na\nb\n")
    problems = verify(Dataset.open(folder.path))
    assert len(problems) == 2 and "color #800000 in 1 pixels" in problems[0].what and problems[0].remedy == "save class indices, not colors"


def test_palette_masks_are_read_by_index(folder):
    """Report a90: read as gray, VOC's palette gives 38, 147, 220 in place of 1, 15, 255."""
    mask = np.zeros((64, 64), np.uint8)
    mask[:10], mask[20:30], mask[40] = 1, 15, 255
    folder.image("images/0.png", np.zeros((64, 64, 3), np.uint8))
    folder.palette_mask("masks/0.png", mask)
    folder.text("classes.txt", "\n".join(["background"] + [f"class {i}" for i in range(1, 21)]))
    data = Dataset.open(folder.path)
    assert (data.samples["0"].label() == mask).all() and verify(data) == []


def test_masks_without_names_need_names_beyond_two_values(folder):
    mask = np.arange(48, dtype=np.uint8).reshape(6, 8) % 3
    data = Dataset.open(pairs(folder, [mask]).path)
    assert [(one.where, one.remedy) for one in data.problems] == [("masks/", "write classes.txt, the background first")]
    assert "0, 1, 2" in data.problems[0].what
    assert len(data.classes) == 3


def test_other_sizes_are_never_resized(folder):
    folder.image("images/a.png")
    folder.mask("masks/a.png", 1, shape=(3, 4))
    data = Dataset.open(folder.path, val=0)
    with pytest.raises(DataError, match=r"a\.png: 4x3 pixels \(width x height\), its image has 8x6: export the mask"):
        data.samples["a"].label()


def test_float_masks_of_whole_numbers_are_read_and_fractions_refused():
    assert packed(np.array([[0.0, 14.0]])).tolist() == [[0, 14]]
    with pytest.raises(Broken, match="fractions"):
        packed(np.array([[0.5]]))
    with pytest.raises(Broken, match="2 channels"):
        packed(np.zeros((1, 1, 2), np.uint8))


def test_blue_is_not_mistaken_for_255():
    assert packed(np.array([[[0, 0, 255], [9, 9, 9]]], np.uint8)).tolist() == [[COLOR + 255, 9]]


def test_negative_values_are_listed(folder):
    """Report a76: unlabeled stored as -1."""
    path = folder.image("m.tif", np.array([[-1, 1]], np.int32))
    with pytest.raises(Broken, match=r"1 value without a class \(-1 in 1 pixels\); there are 2 classes \(0 to 1\), 255 = unlabeled"):
        LabelFile(str(path), (1, 2), 2).read()


def test_the_majority_of_files_decides():
    two, ids = {0: 9, 255: 1}, {0: 9, 1: 1}
    assert values_of([two, two, ids], True) == Values("two values", 255)
    assert values_of([two, ids, ids], True) == Values("ids")
    assert values_of([two, two], False) == Values("ids")
    assert values_of([{0: 9}, {255: 9}], True) == Values("ids")
    assert values_of([], True) == Values("ids")


@pytest.mark.parametrize(("kind", "ignored"), [(np.uint8, 255), (np.uint16, 65535)])
def test_instances_have_one_value_for_ignored(folder, kind, ignored):
    path = folder.image("i.png", np.array([[0, 3, ignored, 254]], kind))
    ids = InstanceFile(str(path), (1, 4))()
    assert ids.dtype == np.uint16 and ids.tolist() == [[0, 3, 65535, 254]]


def test_sixteen_bit_instance_255_is_an_instance(folder):
    path = folder.image("i.png", np.array([[255, 256]], np.uint16))
    assert InstanceFile(str(path), (1, 2))().tolist() == [[255, 256]]


def test_labels_count_as_sparse_below_half(folder):
    few, most = np.full((10, 10), 255, np.uint8), np.zeros((10, 10), np.uint8)
    few[0, :2] = 0, 1
    most[:3], most[5] = 255, 1
    data = Dataset.open(pairs(folder, [few, few, most]).path, val=0)
    assert all(sample.sparse for sample in data.labeled.values())
    assert any("sparse" in note and "2 %" in note for note in data.notes)
    assert not Dataset.open(folder.path, val=0).using("masks").labeled
    (folder.path / "masks/0.png").unlink()
    (folder.path / "masks/1.png").unlink()
    dense = Dataset.open(folder.path, val=0)
    assert not dense.samples["2"].sparse
    assert (dense.samples["2"].label() != 255).mean() == approx(0.7)
