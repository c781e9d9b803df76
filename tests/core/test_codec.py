"""One file format: what goes in comes out, whole or not at all, and nothing is unpickled."""

from __future__ import annotations

import pickle
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from smidgen.core.codec import load, portable, remove_leftovers_of_run, save, write_atomically
from smidgen.core.errors import SmidgenError, WriteError


@dataclass(frozen=True)
class Value:
    maps: np.ndarray
    ids: tuple[str, ...]
    boxes: tuple[tuple[int, int], ...]
    pair: tuple[str, tuple[float, ...]]
    rows: list[tuple[int, int]]
    ignore: np.ndarray | None = None
    crop: tuple[int, ...] | None = None
    score: float = 0.0
    file: str = ""


def value(**more):
    maps = np.arange(6, dtype=np.float32).reshape(2, 3)
    return Value(maps, ("a", "ü/b"), ((1, 2), (3, 4)), ("x", (0.5, float("inf"))), [(1, 2)], **more)


@pytest.mark.parametrize("more", [{}, {"ignore": np.array([True, False]), "crop": (1, 2), "score": np.float32(0.5), "file": "a name"}])
def test_a_value_comes_back(tmp_path, more):
    given = value(**more)
    save(given, tmp_path / "v.npz")
    found = load(tmp_path / "v.npz", Value)
    assert found.maps.dtype == np.float32
    for name in Value.__dataclass_fields__:
        np.testing.assert_equal(getattr(found, name), getattr(given, name))
        assert type(getattr(found, name)) is type(getattr(given, name)) or name == "score"


@pytest.mark.parametrize("bare", [np.eye(2, dtype=np.uint8), 3, "text", None, [1, 2], {"a": 1.5}])
def test_a_bare_value_comes_back(tmp_path, bare):
    save(bare, tmp_path / "v.npz")
    np.testing.assert_equal(load(tmp_path / "v.npz"), bare)


def test_what_is_not_plain_is_refused(tmp_path):
    with pytest.raises(TypeError, match="holds a object"):
        save(object(), tmp_path / "v.npz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped", "foreign", "pickled array", "pickle"])
def test_a_broken_file_is_named(tmp_path, damage):
    path = tmp_path / "v.npz"
    save(value(), path)
    whole = path.read_bytes()
    if damage == "foreign":
        np.save(path.with_suffix(".npy"), np.zeros(3))
        path.with_suffix(".npy").replace(path)
    elif damage == "pickled array":
        np.savez(path, maps=np.array([Unpickled()], dtype=object))
    else:
        middle = len(whole) // 2
        flipped = whole[:60] + bytes(255 - byte for byte in whole[60:90]) + whole[90:]
        path.write_bytes({"empty": b"", "truncated": whole[:middle], "flipped": flipped, "pickle": pickle.dumps(Unpickled())}[damage])
    with pytest.raises(SmidgenError, match=r"v\.npz.*run the same command again"):
        load(path, Value)
    assert not Unpickled.happened


class Unpickled:
    """Notes when anybody unpickles it."""

    happened = False

    def __reduce__(self):
        return setattr, (Unpickled, "happened", True)


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    def half(part):
        part.write_text("half")
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_atomically(tmp_path / "new.txt", half)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "old.txt").write_text("old")
    with pytest.raises(ValueError, match="no more"):
        write_atomically(tmp_path / "old.txt", half)
    assert (tmp_path / "old.txt").read_text() == "old"
    write_atomically(tmp_path / "old.txt", lambda part: part.write_text("new"))
    assert [path.read_text() for path in tmp_path.iterdir()] == ["new"]


def test_half_files_of_a_run_that_is_done_are_cleared_away(tmp_path):
    for name in (".7.part.run.json", "stages/a/.7.part.cost.json", "stages/a/01-heat/b/.7.part.c.npz", "predictions/.8.part.d.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    remove_leftovers_of_run(tmp_path)
    assert [path.name for path in tmp_path.rglob(".*")] == [".8.part.d.png"]  # another command may be at work there


@pytest.mark.parametrize(
    ("id", "name"),
    [
        ("ward 3/été", "ward 3/été"),
        ("a:b", "a%3Ab"),
        ("a%3Ab", "a%253Ab"),
        ('<x>?*|"\\', "%3Cx%3E%3F%2A%7C%22%5C"),
        ("scan.01/end.", "scan.01/end%2E"),
        ("in /x.", "in%20/x%2E"),
    ],
)
def test_names_are_portable(id, name):
    """Row e16: a picture named "a:b.png" on Linux."""
    assert portable(id) == name


# ---------------------------------------------------------------- a full disk


@contextmanager
def full_after(size: int):
    """No file can grow beyond so many bytes; what the system says then is what it says on a full disk, but for the words."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def checkpoint(part):
    with part.open("wb") as file:
        torch.save({"weights": torch.rand(200_000)}, file)


@pytest.mark.parametrize(
    "fill",
    [lambda part: part.write_bytes(bytes(10**6)), checkpoint, lambda part: np.savez(part, a=np.zeros(10**5))],
    ids=["bytes", "torch", "npz"],
)
def test_a_full_disk_is_said_with_file_and_remedy_and_the_old_file_stays(tmp_path, fill):
    path = tmp_path / "last.npz"
    path.write_text("old")
    with (
        full_after(100_000),
        pytest.raises(WriteError, match=r"last\.npz: could not be written \(File too large\): make room on its disk; the") as caught,
    ):
        write_atomically(path, fill)
    assert caught.value.exit_code == 2
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("last.npz", "old")]


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(WriteError, match=r"gone/new\.txt: could not be written \(No such file or directory\): see that its folder may"):
        write_atomically(tmp_path / "gone" / "new.txt", lambda part: part.write_text("new"))


def test_an_error_of_ones_own_stays_what_it_is(tmp_path):
    with pytest.raises(ZeroDivisionError):
        write_atomically(tmp_path / "new.txt", lambda part: 1 / 0)
