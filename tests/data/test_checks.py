"""Everything wrong is listed at once, with file and remedy."""

from __future__ import annotations

import json

import numpy as np
import pytest

from smidgen.data import checks
from smidgen.data.checks import examine, glance, remarks, verify
from smidgen.data.dataset import Dataset


@pytest.fixture
def broken(folder):
    """Ten images with masks, tags and a split; half of them with something wrong."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    for i in range(10):
        folder.image(f"images/{i}.jpg", noise, quality=90)
        folder.mask(f"masks/{i}.png", np.eye(40, dtype=np.uint8))
    folder.text("classes.txt", "background\ncat\ndog\n")
    folder.text("tags.csv", "filename,tags\n0.jpg,cat\n1.jpg,bird\n12.jpg,cat\n")
    cut(folder.path / "images/0.jpg")
    (folder.path / "images/1.jpg").write_bytes(b"")
    cut(folder.path / "masks/2.png")
    folder.mask("masks/3.png", np.eye(20, dtype=np.uint8))
    folder.mask("masks/4.png", np.eye(40, dtype=np.uint8) * 7)
    folder.image("images/5.png", noise)
    folder.mask("masks/11.png", np.eye(40, dtype=np.uint8))
    return folder


def cut(path):
    path.write_bytes(path.read_bytes()[: int(0.6 * path.stat().st_size)])


def test_all_problems_are_listed_at_once(broken):
    problems = {one.where: one for one in verify(Dataset.open(broken.path))}
    assert set(problems) == {
        "images/0.jpg",
        "images/1.jpg",
        "masks/2.png",
        "masks/3.png",
        "masks/4.png",
        "images/5.png",
        "masks/11.png",
        "tags.csv line 3",
        "tags.csv line 4",
    }
    assert "7 in 40 pixels" in problems["masks/4.png"].what and "20x20" in problems["masks/3.png"].what
    assert all(one.remedy and one.ids for one in problems.values())


def test_leaving_out_what_is_broken_leaves_nothing_wrong(broken):
    data = Dataset.open(broken.path)
    left = data.without([id for one in verify(data) for id in one.ids])
    assert sorted(left.samples) == ["6", "7", "8", "9"] and verify(left) == []


def test_a_glance_finds_broken_ends_and_sizes_without_decoding(broken):
    found = {one.where for one in glance(Dataset.open(broken.path))}
    assert {"images/0.jpg", "images/1.jpg", "masks/2.png", "masks/3.png"} <= found and "masks/4.png" not in found


def test_bytes_behind_the_end_marker_are_no_problem(folder):
    path = folder.image("images/a.jpg")
    path.write_bytes(path.read_bytes() + b"camera maker's note " * 500)
    data = Dataset.open(folder.path)
    assert glance(data) == [] and verify(data) == []


def test_nan_is_a_problem_with_file_and_remedy(folder):
    folder.image("images/a.tif", np.array([[0, np.nan]], np.float32))
    (problem,) = verify(Dataset.open(folder.path))
    assert str(problem).startswith("images/a.tif: 1 of 2 values are NaN or infinite: fill the holes with a number, or write `nodata: nan`")


def test_what_is_out_of_reach_is_not_read(broken):
    data = Dataset.open(broken.path, val=0).using("tags")
    assert not any(one.where in ("masks/2.png", "masks/3.png", "masks/4.png") for one in verify(data))


def test_outcomes_are_kept_by_path_size_and_time(broken, tmp_path, monkeypatch):
    data, cache, decoded = Dataset.open(broken.path), tmp_path / "kept" / "checks.json", []
    decode = checks._decode
    monkeypatch.setattr(checks, "_decode", lambda task: (decoded.append(task.id), decode(task))[1])
    first = verify(data, cache)
    assert len(decoded) == 18 and cache.exists()
    decoded.clear()
    again = Dataset.open(broken.path)
    assert verify(again, cache) == first and decoded == [] and again.key == data.key
    broken.mask("masks/4.png", np.eye(40, dtype=np.uint8) * 2)
    assert len(verify(Dataset.open(broken.path), cache)) == len(first) - 1 and decoded == ["4"]
    # Other classes give the same file another meaning.
    decoded.clear()
    broken.text("classes.txt", "background\ncat\n")
    assert any(one.where == "masks/4.png" for one in verify(Dataset.open(broken.path), cache))
    assert len(decoded) == 9


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps({"version": 0, "files": {}}), "\x00"])
def test_an_unreadable_cache_is_as_good_as_none(folder, tmp_path, text):
    folder.images("a.png")
    cache = tmp_path / "checks.json"
    cache.write_text(text)
    assert verify(Dataset.open(folder.path), cache) == []
    assert json.loads(cache.read_text())["version"] == checks.VERSION


def test_progress_is_told(folder):
    folder.images("a.png b.png")
    folder.mask("masks/a.png", [1])
    told = []
    verify(Dataset.open(folder.path), progress=lambda done, of: told.append((done, of)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_files_that_vanish_are_named(folder):
    folder.images("a.png b.png")
    data = Dataset.open(folder.path)
    (folder.path / "images/a.png").unlink()
    (problem,) = verify(data)
    assert problem.where == "images/a.png" and "No such file" in problem.what
    assert glance(data) == [problem] and data.key


@pytest.mark.parametrize(("fill", "found"), [(0, "only background"), (255, "nothing but unlabeled pixels")])
def test_masks_that_teach_nothing_are_a_problem(folder, fill, found):
    folder.images("a.png b.png")
    for name in "ab":
        folder.mask(f"masks/{name}.png", fill)
    folder.text("classes.txt", "background\ncat\ndog\n")
    (problem,) = verify(Dataset.open(folder.path, val=0))
    assert found in problem.what and problem.ids == ()


def test_what_limits_the_result_is_remarked():
    """Reports b14, b26, b31, b53: blank labels, no negatives, classes that are never learned or never scored."""
    images = [np.full((2, 2), n, np.uint8) for n in range(4)]
    ab, blank = np.array([[0, 1], [1, 2]], np.uint8), np.full((2, 2), 255, np.uint8)
    val = np.array([[0, 1], [1, 1]], np.uint8)
    names = ["background", "a", "b", "c"]
    data = Dataset(images, [ab, ab, blank, val], tags=[["a"], ["a", "b"], ["a"], ["c"]], classes=names, split=["train"] * 3 + ["val"])
    assert remarks(data, examine(data)) == [
        "tags: c in no train image: can't be learned from tags",
        "tags: a in every train image: without images that lack it, tags can't tell where it is",
        "masks: 002: no pixel is labeled, so they teach like images without a mask",
        "masks: c in no train mask: can't be learned from masks",
        "masks: b, c in no val mask: can't be scored",
    ]
    assert len(remarks(data)) == 2
