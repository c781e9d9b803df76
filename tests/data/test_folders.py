"""The folder layout: which files are found, paired, named."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from smidgen.core.errors import DataError
from smidgen.data.checks import verify
from smidgen.data.dataset import Dataset
from smidgen.data.layout import list_files, nearest, pair, without_suffix


def test_suffixes_of_any_case_are_found_and_paired(folder):
    """Report a61: a folder with .JPG files counted as empty."""
    for image, mask in (("1.JPG", "1.png"), ("2.Jpeg", "2.PNG"), ("3.PNG", "3.Tif"), ("4.TIF", "4.PNG")):
        folder.image(f"images/{image}")
        folder.mask(f"masks/{mask}", [1])
    data = Dataset.open(folder.path)
    assert list(data.samples) == ["1", "2", "3", "4"]
    assert all(sample.read_label for sample in data.samples.values()) and verify(data) == []


def test_pairs_have_equal_names_not_equal_beginnings(folder):
    """Report a67: 1.png matched masks 1, 10, 11, 12."""
    for i in range(1, 13):
        folder.image(f"images/{i}.png", np.full((2, 2, 3), i, np.uint8))
        folder.mask(f"masks/{i}.png", [i], shape=(2, 2))
    folder.text("classes.txt", "\n".join(["background"] + [f"c{i}" for i in range(1, 13)]))
    data = Dataset.open(folder.path)
    assert [int(data.samples[str(i)].label().max()) for i in range(1, 13)] == list(range(1, 13))


def test_what_is_no_image_is_listed_as_ignored(folder):
    """Report a69: an empty folder was taken as a picture."""
    folder.images("0.png 1.png 2.png 3.png 4.png")
    for i in range(5):
        folder.mask(f"masks/{i}.png", [1])
    (folder.path / "images/old").mkdir()
    folder.text("images/list.csv", "x")
    folder.text("images/.DS_Store", "x")
    data = Dataset.open(folder.path)
    assert len(data.labeled) + len(data.val) == 5
    assert data.notes[0] == "images/: ignored .DS_Store, list.csv, old/ (no image files)"
    assert verify(data) == []


def test_exif_rotation_and_an_upright_mask_agree(folder):
    """Report a21: raw image 200 x 100 (width x height), upright 100 x 200."""
    exif = Image.Exif()
    exif[274] = 8
    raw = np.zeros((100, 200, 3), np.uint8)
    raw[:, :20] = 255  # the left of the raw frame is the bottom of the upright one
    folder.image("images/a.jpg", raw, exif=exif)
    mask = np.zeros((200, 100), np.uint8)
    mask[-20:] = 1
    folder.image("masks/a.png", mask)
    data = Dataset.open(folder.path, val=0)
    sample = data.samples["a"]
    assert sample.size == (200, 100) == sample.image().shape[1:]
    assert ((sample.image().mean(0) > 0.5) == sample.label()).all() and verify(data) == []
    folder.image("masks/a.png", mask.T)
    (problem,) = verify(Dataset.open(folder.path, val=0))
    assert "200x100" in problem.what and "100x200" in problem.what and "EXIF" in problem.remedy


def test_letters_of_all_scripts_in_both_spellings(folder, tmp_path):
    """Report a27: ø in a folder's name made reading fail; é has two spellings."""
    place = type(folder)(tmp_path / "Københavns prøver" / "日本 語")
    place.image(f"images/{unicodedata.normalize('NFD', 'été 01')}.PNG")
    place.mask(f"masks/{unicodedata.normalize('NFC', 'été 01')}.png", [1])
    place.image("images/mask é.png")
    place.mask("masks/mask é.png", [1])
    place.text("tags.csv", "filename,tags\nété 01.PNG,ø\n")
    data = Dataset.open(place.path, val=0)
    assert list(data.samples) == ["mask é", "été 01"] and len(data.labeled) == 2
    assert data.samples["été 01"].tags == (1,) and data.classes.names == ("background", "ø")
    assert verify(data) == []


def test_order_of_the_listing_does_not_matter_and_one_addition_is_understood(folder):
    """Report a81: two listings in file-system order were zipped; masks have the ending _L."""
    for i in range(12):
        image = np.zeros((8, 24, 3), np.uint8)
        image[2:6, 2 * i : 2 * i + 2] = 255
        folder.image(f"images/p_{i}.png", image)
    for i in reversed(range(12)):
        mask = np.zeros((8, 24), np.uint8)
        mask[2:6, 2 * i : 2 * i + 2] = 1
        folder.image(f"masks/p_{i}_L.png", mask)
    data = Dataset.open(folder.path)
    assert len(data.samples) == 12
    for sample in data.samples.values():
        assert ((sample.image()[0] == 1) == sample.label()).all()
    assert "masks/: files are called like their image with _L added" in data.notes


def test_pairing_by_an_addition_needs_most_files():
    assert pair(["a", "b"], {"a_mask": "1", "b_mask": "2"}).files == {"a": "1", "b": "2"}
    assert pair(["a", "b"], {"x/a": "1"}).files == {}
    assert pair(["x/a", "x/b"], {"x/m-a": "1", "x/m-b": "2", "x/other": "3"}).orphans == ("x/other",)
    # Where any name is equal, names are meant to be equal.
    assert pair(["a", "b"], {"a": "1", "b_mask": "2"}).orphans == ("b_mask",)
    assert pair(["10", "11"], {"1": "1", "2": "2", "3": "3"}).files == {}


def test_mixed_pixel_formats_become_one(folder):
    """Report a65: gray and RGBA pictures among RGB ones crashed the run."""
    for i in range(6):
        folder.image(f"images/rgb{i}.png")
    for i in range(2):
        folder.image(f"images/gray{i}.png", np.full((6, 8), 51, np.uint8))
    rgba = np.full((6, 8, 4), 102, np.uint8)
    rgba[0, 0, 3] = 0
    folder.image("images/rgba.png", rgba)
    folder.save("images/cmyk.jpg", Image.new("CMYK", (8, 6), (0, 255, 255, 0)))
    data = Dataset.open(folder.path)
    assert data.channels == 3 and {sample.image().shape for sample in data.samples.values()} == {(3, 6, 8)}
    assert np.allclose(data.samples["gray0"].image(), 0.2) and np.allclose(data.samples["rgba"].image(), 0.4)
    assert data.notes == (
        "images: 1 with mode CMYK: turned into RGB",
        "images: 1 with mode RGBA: alpha dropped",
        "images: 2 gray among 8 with more channels: repeated to 3 channels",
    )
    assert verify(data) == []


def test_sixteen_bits_are_said(folder):
    folder.image("images/a.png", np.full((6, 8), 65535, np.uint16))
    data = Dataset.open(folder.path)
    assert data.notes == ("images: 1 with 16 bits: 0 stays 0, 65535 becomes 1",) and (data.samples["a"].image() == 1).all()


def test_a_relative_path_is_remembered_whole(folder, monkeypatch, tmp_path):
    folder.images("a.png")
    monkeypatch.chdir(folder.path)
    data = Dataset.open(".")
    monkeypatch.chdir(tmp_path)
    assert data.name == "data" and data.samples["a"].image().shape == (3, 6, 8) and verify(data) == []


def test_a_gray_set_stays_gray(folder):
    folder.image("images/a.png", np.zeros((6, 8), np.uint8))
    data = Dataset.open(folder.path)
    assert data.channels == data.samples["a"].channels == 1 and data.samples["a"].image().shape == (1, 6, 8)


def test_floating_point_images_share_one_range(folder):
    folder.image("images/a.tif", np.tile(np.arange(101, dtype=np.float32), (4, 1)))
    folder.image("images/b.tif", np.full((4, 101), 50, np.float32))
    data = Dataset.open(folder.path)
    low, high = data.value_range
    assert 0 < low < 40 and 60 < high < 100 and any("floating-point" in note for note in data.notes)
    assert np.allclose(data.samples["b"].image(), (50 - low) / (high - low))
    given = Dataset.open(folder.path, value_range=(0, 200))
    assert np.allclose(given.samples["b"].image(), 0.25) and given.key != data.key


def test_same_names_with_other_endings_are_named(folder):
    folder.images("a.jpg a.png")
    (problem,) = Dataset.open(folder.path).problems
    assert problem.where == "images/a.png" and "images/a.jpg" in problem.what and problem.ids == ("a",)


def test_folders_of_tags(folder):
    for name in ("ok/1.png", "defect/1.png", "defect/2.png"):
        folder.image(name)
    folder.mask("masks/defect/1.png", [255])
    data = Dataset.open(folder.path)
    assert {id: sample.tags for id, sample in data.samples.items()} == {"defect/1": (1,), "defect/2": (1,), "ok/1": ()}
    assert data.classes.names == ("background", "defect")
    assert "folder defect/, folder ok/: taken as image tags; folder ok/: known to hold none" in data.notes
    assert data.samples["defect/1"].label().sum() == 1


def test_folders_of_splits_are_no_tags(folder):
    folder.image("train/1.png")
    folder.image("val/2.png")
    data = Dataset.open(folder.path)
    assert all(sample.tags is None for sample in data.samples.values()) and "write a split.csv" in data.notes[0]


def test_a_flat_folder_and_a_single_image_are_read(folder):
    path = folder.image("a.b.png")
    folder.image("c.png")
    folder.text("README.md", "x")
    assert list(Dataset.open(folder.path).samples) == ["a.b", "c"]
    assert list(Dataset.open(path).samples) == ["a.b"] and not Dataset.open(folder.path).notes


def test_nothing_is_written(folder):
    folder.images("a.png b.png")
    before = sorted(folder.path.rglob("*"))
    verify(Dataset.open(folder.path))
    assert sorted(folder.path.rglob("*")) == before


def test_yaml_names_folders_classes_and_background(folder):
    for name in ("a.png", "b.png"):
        folder.image(f"pictures/{name}")
        folder.mask(f"truth/{name}", [1, 2])
    folder.image("more/c.png")
    folder.text("names.txt", "sky\nroad\ncar\n")
    entries = "images: pictures\nlabels: truth\nclasses: names.txt\nbackground: none\nunlabeled: more\nspacing: nominal\n"
    folder.text("dataset.yaml", entries)
    data = Dataset.open(folder.path, val=0)
    assert data.classes.names == ("sky", "road", "car") and data.classes.background is None
    assert list(data.labeled) == ["a", "b"] and list(data.unlabeled) == ["more/c"] and data.problems == ()
    folder.text("dataset.yaml", "images: pictures\nlabels: truth\nclasses: [none at all, road, car]\nbackground: 0\n")
    data = Dataset.open(folder.path)
    assert data.classes.names == ("none at all", "road", "car") and data.classes.background == 0 and data.problems == ()


def test_groups_csv_is_read_without_a_word_about_it_and_dataset_yaml_wins(folder):
    folder.images("a.png b.png c.png d.png")
    folder.text("groups.csv", "filename,group\na.png,one\nb.png,one\nc.png,two\n")
    folder.text("others.csv", "filename,scene\nd.png,three\n")
    data = Dataset.open(folder.path, val=0)
    assert [data.samples[id].group for id in "abcd"] == ["one", "one", "two", None] and data.problems == ()
    folder.text("dataset.yaml", "groups: others.csv:scene\n")
    assert [Dataset.open(folder.path, val=0).samples[id].group for id in "abcd"] == [None, None, None, "three"]


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("backgruond: 0", "unknown entry backgruond: did you mean background"),
        ("background: 3", "background: Input should be 0 or 'none'"),
        ("images: nowhere", "images: there is no folder nowhere"),
        ("labels: nowhere", "there is no folder nowhere"),
        ("classes: nowhere.txt", "there is no file nowhere.txt"),
        ("unlabeled: nowhere", "there is no folder nowhere"),
        ("groups: cases.csv:patient", "there is no file cases.csv"),
        ("[", "not readable"),
        ("- a", "a list of entries was expected"),
    ],
)
def test_mistakes_in_the_yaml_are_said(folder, yaml, message):
    folder.images("a.png")
    folder.text("dataset.yaml", yaml)
    with pytest.raises(DataError, match=message):
        Dataset.open(folder.path)


def test_masks_are_refused_while_the_background_is_unknown(folder):
    folder.images("a.png")
    folder.mask("masks/a.png", [1])
    folder.text("classes.txt", "cat\ndog\n")
    folder.text("tags.csv", "filename,tags\na.png,dog\n")
    data = Dataset.open(folder.path)
    assert data.classes.names == ("background", "cat", "dog") and data.samples["a"].tags == (2,)
    (problem,) = data.problems
    assert problem.where == "masks/" and "may be the background or cat" in problem.what and "dataset.yaml" in problem.remedy
    (folder.path / "masks/a.png").unlink()
    assert Dataset.open(folder.path).problems == ()


def test_scribbles_are_read_only_on_request(folder):
    folder.images("a.png b.png")
    scribble = np.full((6, 8), 255, np.uint8)
    scribble[0, :4] = [0, 0, 1, 1]
    folder.mask("scribbles/a.png", scribble)
    folder.text("classes.txt", "background\ncell\n")
    assert not Dataset.open(folder.path, val=0).labeled
    data = Dataset.open(folder.path, label_folder="scribbles", val=0)
    assert list(data.labeled) == ["a"] and data.samples["a"].sparse and data.problems == ()
    with pytest.raises(DataError, match="label_folder: there is no folder scribles"):
        Dataset.open(folder.path, label_folder="scribles")


def test_scribbles_are_learned_from_and_masks_scored_by(folder):
    folder.images("a.png b.png c.png")
    scribble, mask = np.full((6, 8), 255, np.uint8), np.zeros((6, 8), np.uint8)
    scribble[0, :4], mask[2:4, 2:4] = [0, 0, 1, 1], 1
    for name in "abc":
        folder.mask(f"scribbles/{name}.png", scribble)
    for name in "ab":
        folder.mask(f"masks/{name}.png", mask)
    folder.text("classes.txt", "background\ncell\n")
    folder.text("split.csv", "filename,split\na.png,train\nb.png,val\nc.png,val\n")
    data = Dataset.open(folder.path, label_folder="scribbles")
    assert (data.samples["a"].label() == scribble).all() and data.samples["a"].sparse
    assert (data.samples["b"].label() == mask).all() and not data.samples["b"].sparse
    assert (data.samples["c"].label() == scribble).all()  # it has no mask
    assert any("1 images of val and test are scored by the masks" in note for note in data.notes)
    assert data.key != Dataset.open(folder.path).key


def test_masks_win_over_labels_and_it_is_said(folder):
    folder.images("a.png")
    folder.mask("masks/a.png", [1])
    folder.mask("labels/a.png", [0, 1])
    data = Dataset.open(folder.path)
    assert data.samples["a"].label()[0, 0] == 1 and any("labels/ is not read" in note for note in data.notes)


def test_masks_without_image_are_named_and_can_be_left_out(folder):
    folder.images("a.png")
    folder.mask("masks/a.png", [1])
    folder.mask("masks/b.png", [1])
    data = Dataset.open(folder.path)
    assert [(one.where, one.ids) for one in data.problems] == [("masks/b.png", ("b",))]
    assert data.without(["b"]).problems == () and list(data.without(["b"]).samples) == ["a"]


def test_a_folder_of_volumes_without_volumes_is_refused_in_words(folder):
    folder.image("volumes/a.png")
    with pytest.raises(DataError, match=r"no volumes found \(there is a.png\): put .nii"):
        Dataset.open(folder.path)


def test_missing_and_empty_folders_are_said(folder):
    with pytest.raises(DataError, match="there is no such folder"):
        Dataset.open(folder.path / "nowhere")
    with pytest.raises(DataError, match="no images found: put"):
        Dataset.open(folder.path)


def test_broken_headers_are_problems_not_errors(folder):
    folder.images("a.png b.png")
    (folder.path / "images/b.png").write_bytes(b"")
    data = Dataset.open(folder.path)
    assert list(data.samples) == ["a"]
    assert [str(one) for one in data.problems] == ["images/b.png: empty file (0 bytes): copy it again from its source, or remove it"]


def test_a_loop_of_links_ends(folder):
    folder.images("a.png")
    try:
        (folder.path / "images/again").symlink_to(folder.path / "images", target_is_directory=True)
    except OSError:
        pytest.skip("this system makes no links")
    assert list(list_files(folder.path / "images").files) == ["a"]


def test_suffix_is_what_follows_the_last_dot():
    assert [without_suffix(name) for name in ("a.png", "a.b.png", "d.x/a", "d/.png", "a")] == ["a", "a.b", "d.x/a", "d/.png", "a"]
    assert nearest("Dgo", ["dog", "cat"]) == "dog" and nearest("zebra", ["dog"]) is None


def test_ids_are_paths_below_the_images_folder(folder):
    folder.image("images/day 1/a.png")
    folder.mask("masks/day 1/a.png", [1])
    data = Dataset.open(folder.path)
    assert list(data.samples) == ["day 1/a"] and data.samples["day 1/a"].read_label is not None
    assert Path(data.samples["day 1/a"].path).name == "a.png" and data.samples["day 1/a"].tags is None
