"""Datasets in another form and back: every pixel, tag, object and split, as far as the form goes; and never half of it."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as reference
from pycocotools.coco import COCO
from torchvision.datasets import VOCSegmentation

import smidgen
from smidgen.actions import convert as module
from smidgen.cli.main import main
from smidgen.core.errors import DataError, UsageError, WriteError
from smidgen.data.dataset import Dataset

NAMES = ("background", "œuf, cassé", 'a"b', "cat")
REAL = os.environ.get("SMIDGEN_DATA", "")


def disc(y: int, x: int, radius: int) -> np.ndarray:
    rows, columns = np.ogrid[:24, :32]
    return (rows - y) ** 2 + (columns - x) ** 2 < radius**2


@pytest.fixture
def source(tmp_path):
    """Five images: JPEG and PNG, one in a folder; masks with holes, touching objects, unlabeled pixels; tags, groups, a split."""
    folder, rng = tmp_path / "My Drive (1) ü" / "src", np.random.default_rng(0)
    for name in ("images/deep", "masks/deep", "instances"):
        (folder / name).mkdir(parents=True)
    files = ("a b.jpg", "c.v2.jpg", "deep/d.jpg", "été.png", "f.JPG")
    for file in files:
        Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8)).save(folder / "images" / file)
    ring = disc(12, 10, 9) & ~disc(12, 10, 4)
    for stem, value in (("a b", 1), ("c.v2", 2), ("deep/d", 3), ("f", 3)):
        label = np.where(ring, value, 0).astype(np.uint8)
        label[3:9, 22:30], label[20:, 28:], label[0, :] = 2, 255, 1
        Image.fromarray(label).save(folder / "masks" / f"{stem}.png")
    instances = np.zeros((24, 32), np.uint16)
    instances[ring & (np.arange(32) < 10)], instances[ring & (np.arange(32) >= 10)] = 300, 7
    instances[3:9, 22:26], instances[20:, 28:] = 9, 65535
    instances[23, 0] = 7  # on the background of the mask
    Image.fromarray(instances).save(folder / "instances" / "a b.png")
    (folder / "classes.txt").write_text("\n".join(NAMES), encoding="utf-8")
    rows = ["filename,instance_id,class_id,class_name"] + [f"a b.jpg,{i},{value}," for i, value in ((300, 1), (7, 1), (9, 3))]
    (folder / "instances.csv").write_text("\n".join(rows), encoding="utf-8")
    tags = ["filename,tags", '"a b.jpg","œuf, cassé;cat"', "deep/d.jpg,", 'été.png,"a""b"']
    (folder / "tags.csv").write_text("\n".join(tags), encoding="utf-8")
    split = ["train", "train", "val", "train", "test"]
    (folder / "split.csv").write_text("filename,split\n" + "".join(f"{file},{part}\n" for file, part in zip(files, split, strict=True)))
    (folder / "patients.csv").write_text("filename,patient\na b.jpg,p1\nc.v2.jpg,p1\n")
    (folder / "dataset.yaml").write_text("groups: patients.csv:patient\n")
    return folder


def pairs(one: np.ndarray, other: np.ndarray) -> set[tuple[int, int]]:
    return set(zip(one.ravel().tolist(), other.ravel().tolist(), strict=True))


def assert_equal(data: Dataset, again: Dataset, labels_only: bool = False) -> None:
    assert again.problems == () and again.classes == data.classes
    for id, mine in data.samples.items():
        theirs = again.samples[id]
        assert mine.split == theirs.split and (mine.read_label is None) == (theirs.read_label is None)
        assert np.array_equal(mine.image(), theirs.image())
        if mine.read_label is not None:
            assert np.array_equal(mine.label(), theirs.label())
        if labels_only:
            continue
        assert Path(mine.path).read_bytes() == Path(theirs.path).read_bytes() and mine.tags == theirs.tags
        assert (mine.read_instances is None) == (theirs.read_instances is None)
        if mine.read_instances is not None:
            found = pairs(mine.instances(), theirs.instances())
            numbers = dict(found)
            assert len(numbers) == len(found) and all(numbers.get(i, i) == i for i in (0, 65535))
            classes = again.instance_classes[id]
            known = data.instance_classes.get(id, {})
            assert {numbers[i]: value for i, value in known.items() if i in numbers}.items() <= classes.items()


# ---------------------------------------------------------------- there and back


@pytest.mark.parametrize("form", ["folder", "coco"])
def test_nothing_is_lost_in_a_folder_and_in_coco(source, tmp_path, form):
    data = Dataset.open(source)
    there = smidgen.convert(source, tmp_path / "there", to=form)
    assert there.images == 5
    back = smidgen.convert(tmp_path / "there", tmp_path / "back", to="folder")
    again = Dataset.open(tmp_path / "back")
    assert_equal(data, again)
    assert back.lost == () and {id: one.group for id, one in again.samples.items()} == {id: one.group for id, one in data.samples.items()}
    assert ["unlabeled pixels of 4 images" in text for text in there.lost] == ([True] if form == "coco" else [])


def test_voc_keeps_all_but_groups_and_classes_of_objects(source, tmp_path):
    data = Dataset.open(source)
    there = smidgen.convert(source, tmp_path / "there", to="voc")
    smidgen.convert(tmp_path / "there", tmp_path / "back", to="folder")
    again = Dataset.open(tmp_path / "back")
    assert again.instance_classes["a b"][9] == 2  # as the mask says; the table said 3
    again._contents.instance_classes["a b"][9] = 3
    data._contents.samples["été"]  # its tag has a quotation mark, and VOC keeps tags in names of files
    assert_equal(data, again.only(ids=again.samples), labels_only=True)
    assert again.samples["a b"].tags == data.samples["a b"].tags and again.samples["deep/d"].tags == ()
    said = "\n".join(there.lost)
    assert "groups of 2 images" in said and 'tags a"b' in said and "differ from the mask" in said
    assert "2 images are no .jpg files" in said


def test_nnunet_keeps_masks_and_splits(source, tmp_path):
    data = Dataset.open(source)
    there = smidgen.convert(source, tmp_path / "there", to="nnunet")
    table = json.loads((tmp_path / "there" / "dataset.json").read_text(encoding="utf-8"))
    assert table["labels"] == {"background": 0, "œuf, cassé": 1, 'a"b': 2, "cat": 3, "ignore": 4}
    assert table["file_ending"] == ".png" and table["numTraining"] == 3 and table["channel_names"] == {"0": "R", "1": "G", "2": "B"}
    names = sorted(path.name for path in (tmp_path / "there" / "imagesTr").iterdir())
    assert names == ["a b_0000.png", "c.v2_0000.png", "deep__d_0000.png"]
    assert (tmp_path / "there" / "cases.csv").read_text().splitlines()[3] == "deep__d,deep/d"
    again = Dataset.open(tmp_path / "there")
    assert {id.replace("__", "/"): one.split for id, one in again.samples.items()} == {
        id: one.split for id, one in data.samples.items() if id != "été"
    }
    for id, sample in again.samples.items():
        mine = data.samples[id.replace("__", "/")]
        assert np.array_equal(sample.label(), mine.label()) and np.array_equal(sample.image(), mine.image())
    said = "\n".join(there.lost)
    assert "1 images without a mask are left out" in said and "tags of 3 images" in said and "instances of 1 image:" in said


@pytest.mark.parametrize("form", ["folder", "voc", "coco", "nnunet"])
def test_sets_without_background_and_with_other_images_come_back(tmp_path, form):
    """Every pixel belongs to a class; images of 16 bits, of floats, of five channels."""
    rng = np.random.default_rng(0)
    masks = [np.arange(24, dtype=np.uint8).reshape(4, 6) % 3] * 2
    images = {
        "deep": [rng.integers(0, 65536, (4, 6), np.uint16)] * 2,
        "float": [rng.random((4, 6), np.float32)] * 2,
        "many": [rng.integers(0, 256, (4, 6, 5), np.uint8)] * 2,
        "two": [rng.integers(0, 256, (4, 6, 2), np.uint8)] * 2,
        "color": [rng.integers(0, 65536, (4, 6, 3), np.uint16)] * 2,
    }
    for kind, pictures in images.items():
        data = Dataset(pictures, masks, classes=("road", "car", "sky"), background=None, split=["train", "val"])
        smidgen.convert(data, tmp_path / kind, to=form)
        again = Dataset.open(tmp_path / kind)
        assert again.classes == data.classes and again.channels == data.channels and again.problems == ()
        for id, sample in data.samples.items():
            assert np.array_equal(sample.image(), again.samples[id].image()), kind
            assert np.array_equal(sample.label(), again.samples[id].label()) and again.samples[id].split == sample.split


@pytest.mark.parametrize("form", ["voc", "coco", "nnunet"])
def test_a_drawn_split_is_not_written_down(source, tmp_path, form):
    (source / "split.csv").unlink()
    smidgen.convert(source, tmp_path / "out", to=form)
    assert Dataset.open(tmp_path / "out").split_drawn


def test_sparse_labels_stay_sparse(tmp_path):
    label = np.full((8, 8), 255, np.uint8)
    label[2, :4], label[5, :4] = 0, 1
    data = Dataset([np.zeros((8, 8), np.uint8)] * 3, [label] * 3, classes=("background", "cell"))
    for form in ("voc", "coco", "nnunet", "folder"):
        smidgen.convert(data, tmp_path / form, to=form)
        again = Dataset.open(tmp_path / form)
        assert all(one.sparse and np.array_equal(one.label(), label) for one in again.samples.values())


def test_masks_that_would_be_misread_are_noticed(tmp_path):
    """In a folder of two classes, masks of 0 and 255 only are taken for background and foreground: reading back tells."""
    for part in ("imagesTr", "labelsTr"):
        (tmp_path / "src" / part).mkdir(parents=True)
    Image.new("L", (4, 2)).save(tmp_path / "src" / "imagesTr" / "a_0000.png")
    Image.fromarray(np.array([[0, 0, 0, 2]] * 2, np.uint8)).save(tmp_path / "src" / "labelsTr" / "a.png")
    labels = {"background": 0, "cell": 1, "ignore": 2}
    (tmp_path / "src" / "dataset.json").write_text(json.dumps({"labels": labels, "channel_names": {"0": "x"}, "file_ending": ".png"}))
    assert smidgen.convert(tmp_path / "src", tmp_path / "coco", to="coco").lost[1:] == ()
    assert "masks are taken for something else" in smidgen.convert(tmp_path / "src", tmp_path / "two", to="folder").lost[0]


# ---------------------------------------------------------------- others read it


def test_pycocotools_reads_it(source, tmp_path, capsys):
    smidgen.convert(source, tmp_path / "out", to="coco")
    data, seen = Dataset.open(source), 0
    for split in ("train", "val", "test"):
        coco = COCO(tmp_path / "out" / "annotations" / f"instances_{split}.json")
        assert {one["name"] for one in coco.cats.values()} == set(NAMES[1:])
        for entry in coco.imgs.values():
            id = entry["file_name"].rpartition(".")[0]
            annotations = coco.loadAnns(coco.getAnnIds(entry["id"]))
            for one in annotations:
                mask = coco.annToMask(one)
                assert mask.sum() == one["area"] == reference.area(coco.annToRLE(one))
                assert reference.toBbox(coco.annToRLE(one)).tolist() == one["bbox"]
                seen += 1
            instances = data.samples[id].instances()
            if instances is not None:
                found = {frozenset(np.flatnonzero(coco.annToMask(one))) for one in annotations}
                assert {frozenset(np.flatnonzero(instances == i)) for i in (300, 7, 9)} <= found
    assert seen > 8


def test_torchvision_reads_it(source, tmp_path):
    for name in ("été.png", "f.JPG"):
        (source / "images" / name).unlink()
    shutil.rmtree(source / "masks")
    shutil.copytree(source / "images", source / "masks")  # gone in a moment: only names are needed
    for path in (source / "masks").rglob("*.jpg"):
        path.unlink()
        label = np.zeros((24, 32), np.uint8)
        label[:4, :5] = (0, 1, 2, 3, 255)
        Image.fromarray(label).save(path.with_suffix(".png"))
    text = (source / "split.csv").read_text().replace("été.png,train\n", "").replace("f.JPG,test\n", "")
    (source / "split.csv").write_text(text)
    (source / "tags.csv").unlink()
    smidgen.convert(source, tmp_path / "out", to="voc")
    theirs = VOCSegmentation(tmp_path / "out", year="2012", image_set="train")
    assert len(theirs) == 2
    image, label = theirs[0]
    assert image.size == (32, 24) and np.asarray(label)[0, :5].tolist() == [0, 1, 2, 3, 255]
    assert len(VOCSegmentation(tmp_path / "out", year="2012", image_set="trainval")) == 3
    assert label.getpalette()[3:6] == [128, 0, 0]


# ---------------------------------------------------------------- numbers of classes


def test_numbers_of_categories_are_kept(tmp_path):
    """a09, a11: ids 7 and 9007199254740993 come out of a folder as they went in."""
    Image.new("RGB", (6, 4)).save(tmp_path / "a.png")
    ids = {"dog": 9007199254740993, "cat": 7}
    content = {
        "images": [{"id": 5, "file_name": "a.png"}],
        "annotations": [{"id": 1, "image_id": 5, "category_id": 7, "segmentation": [[0, 0, 3, 0, 3, 3]]}],
        "categories": [{"id": id, "name": name} for name, id in ids.items()],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    smidgen.convert(tmp_path / "a.json", tmp_path / "folder", to="folder")
    smidgen.convert(tmp_path / "folder", tmp_path / "coco", to="coco")
    written = json.loads((tmp_path / "coco" / "annotations" / "instances.json").read_text())
    assert {one["name"]: one["id"] for one in written["categories"]} == ids and written["annotations"][0]["category_id"] == 7


def test_labels_with_gaps_are_written_back(tmp_path):
    """a41: labels 0, 1, 2, 4 of nnU-Net come out of a folder as 0, 1, 2, 4."""
    for part in ("imagesTr", "labelsTr"):
        (tmp_path / "src" / part).mkdir(parents=True)
    Image.new("L", (4, 2)).save(tmp_path / "src" / "imagesTr" / "a_0000.png")
    stored = np.array([[0, 1, 2, 4]] * 2, np.uint8)
    Image.fromarray(stored).save(tmp_path / "src" / "labelsTr" / "a.png")
    labels = {"background": 0, "a": 1, "b": 2, "c": 4}
    (tmp_path / "src" / "dataset.json").write_text(json.dumps({"labels": labels, "channel_names": {"0": "x"}, "file_ending": ".png"}))
    smidgen.convert(tmp_path / "src", tmp_path / "folder", to="folder")
    assert np.asarray(Image.open(tmp_path / "folder" / "masks" / "a.png"))[0].tolist() == [0, 1, 2, 3]
    smidgen.convert(tmp_path / "folder", tmp_path / "back", to="nnunet")
    assert (np.asarray(Image.open(tmp_path / "back" / "labelsTr" / "a.png")) == stored).all()
    assert json.loads((tmp_path / "back" / "dataset.json").read_text())["labels"] == labels


# ---------------------------------------------------------------- files and manners


def test_links_instead_of_copies(source, tmp_path):
    smidgen.convert(source, tmp_path / "out", to="coco", symlink=True)
    path = tmp_path / "out" / "images" / "a b.jpg"
    assert path.is_symlink() and path.resolve() == (source / "images" / "a b.jpg").resolve()
    assert_equal(Dataset.open(source), Dataset.open(tmp_path / "out"))


def test_names_keep_everything_before_the_last_dot(tmp_path):
    """c19, c21: scan.01 and scan.02 stay apart, and outputs are called like their inputs."""
    images = {name: np.zeros((4, 6, 3), np.uint8) for name in ("scan.01", "scan.02", "my.img 3.v2", "10", "9")}
    for form in ("folder", "voc", "coco", "nnunet"):
        data = Dataset(images, {name: np.eye(4, 6, dtype=np.uint8) for name in images})
        smidgen.convert(data, tmp_path / form, to=form)
        assert set(Dataset.open(tmp_path / form).samples) == set(images)


def test_a_target_with_something_in_it_is_refused(source, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("dear")
    with pytest.raises(UsageError, match="something already"):
        smidgen.convert(source, tmp_path / "out", to="coco")
    with pytest.raises(UsageError, match="outside"):
        smidgen.convert(source, source / "inside", to="coco")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]
    (tmp_path / "out" / "mine.txt").unlink()
    assert smidgen.convert(source, tmp_path / "out", to="coco").images == 5  # an empty folder will do


def test_broken_labels_stop_it_and_leave_nothing(source, tmp_path):
    for name in ("a b", "f"):
        Image.new("L", (32, 24), 77).save(source / "masks" / f"{name}.png")
    with pytest.raises(DataError) as caught:
        smidgen.convert(source, tmp_path / "out", to="coco")
    assert len(caught.value.problems) == 2 and "77 in 768 pixels" in str(caught.value)
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*"))
    found = smidgen.convert(source, tmp_path / "out", to="coco", skip_broken=True)
    assert found.images == 3 and len(found.left_out) == 2 and set(Dataset.open(tmp_path / "out").samples) == {"c.v2", "deep/d", "été"}


def test_an_interrupted_one_is_not_there_and_starts_again(source, tmp_path, monkeypatch):
    add, count = module.FolderWriter.add, iter(range(9))

    def stop(self, sample):
        if next(count) == 2:
            raise KeyboardInterrupt
        add(self, sample)

    monkeypatch.setattr(module.FolderWriter, "add", stop)
    with pytest.raises(KeyboardInterrupt):
        smidgen.convert(source, tmp_path / "out", to="folder")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*"))
    monkeypatch.undo()
    assert smidgen.convert(source, tmp_path / "out", to="folder").images == 5


def test_a_full_disk_leaves_nothing(source, tmp_path):
    """The system refuses files beyond a size, as it does when a disk is full."""
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    Image.fromarray(noise).save(source / "images" / "z.png")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with pytest.raises(WriteError, match="make room"):
            smidgen.convert(source, tmp_path / "out", to="coco")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*"))


@pytest.mark.slow
def test_a_killed_one_is_not_there_and_starts_again(tmp_path):
    """SIGKILL in the middle: no folder of the final name; the same command finishes and clears what was left."""
    images = {f"{i:04}": np.random.default_rng(i).integers(0, 256, (96, 96, 3), np.uint8) for i in range(300)}
    smidgen.convert(Dataset(images, {id: np.eye(96, dtype=np.uint8) for id in images}), tmp_path / "src", to="folder")
    command = [sys.executable, "-m", "smidgen", "convert", str(tmp_path / "src"), str(tmp_path / "out"), "--to", "coco"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    part, until = tmp_path / ".out.part" / "images", time.monotonic() + 60
    while not (part.is_dir() and len(list(part.iterdir())) > 20) and time.monotonic() < until:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (tmp_path / "out").exists() and (tmp_path / ".out.part").exists()
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert not (tmp_path / ".out.part").exists() and len(Dataset.open(tmp_path / "out").samples) == 300


def test_from_the_command_line(source, tmp_path, capsys):
    assert main(["convert", str(source), str(tmp_path / "out"), "--to", "nnunet"]) == 0
    said = capsys.readouterr().out
    assert "mind      tags of 3 images" in said and "nnunet    4 images in" in said
    assert main(["convert", str(source), str(tmp_path / "out"), "--to", "coco"]) == 2
    assert "something already" in capsys.readouterr().err
    assert main(["convert", str(source), str(tmp_path / "x"), "--to", "yolo"]) == 2
    assert "yolo" in capsys.readouterr().err


def test_names_that_attack_stop_the_command(tmp_path, capsys):
    (tmp_path / "a.json").write_text(
        json.dumps({"images": [{"id": 1, "file_name": "../../etc/passwd"}], "annotations": [], "categories": []})
    )
    assert main(["convert", str(tmp_path / "a.json"), str(tmp_path / "out"), "--to", "folder", "--skip-broken"]) == 2
    said = capsys.readouterr().err
    assert "a.json image 1" in said and "'../../etc/passwd' leads out" in said and "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_it_starts_without_torch():
    code = "import sys, smidgen.actions.convert; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(not REAL, reason="SMIDGEN_DATA is not set: it names the folder of the real data sets")
@pytest.mark.parametrize(("name", "count"), [("coco128", 30), ("voc_animals", 12), ("dsb2018_nuclei", 4)])
def test_real_sets_come_back(tmp_path, name, count):
    data = Dataset.open(Path(REAL) / name)
    data = data.only(ids=list(data.samples)[:count])
    for form in ("coco", "voc", "nnunet"):
        smidgen.convert(data, tmp_path / form, to=form)
        smidgen.convert(tmp_path / form, tmp_path / f"{form}-back", to="folder")
        assert_equal(data, Dataset.open(tmp_path / f"{form}-back"), labels_only=form != "coco")
