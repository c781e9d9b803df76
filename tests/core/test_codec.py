"""One file format: what goes in comes out, whole or not at all, and nothing is unpickled."""

from __future__ import annotations

import pickle
from dataclasses import dataclass

import numpy as np
import pytest

from smidgen.core.codec import load, save, write_atomically
from smidgen.core.errors import SmidgenError


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
