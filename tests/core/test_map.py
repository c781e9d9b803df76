"""run.map: item by item, what is finished is skipped, every item has its own random numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from smidgen.core.errors import SettingsError, SmidgenError
from smidgen.core.run import Given, Results, Run


@dataclass(frozen=True)
class Pair:
    noise: np.ndarray
    ids: tuple[str, ...]


IMAGES = {id: np.full((2, 3), i, np.float32) for i, id in enumerate(("b", "case/1", "a"))}


def again(run: Run) -> Run:
    """The same command, started anew."""
    return Run(run.folder, run.fabric)._inside(run.folder, run._key)


def counted(calls: list):
    def one(image: np.ndarray) -> Pair:
        calls.append(float(image[0, 0]))
        return Pair(image + np.random.standard_normal(image.shape) + float(torch.rand(())), (str(len(image)), "x"))

    return one


def values(results: Results) -> dict[str, list]:
    return {id: value.noise.tolist() for id, value in results.items()}


def test_values_come_back_in_order_and_lazily(run):
    calls = []
    results = run.map("heat", counted(calls), IMAGES)
    assert list(results) == ["a", "b", "case/1"]
    assert calls == [2, 0, 1]
    assert results["case/1"].ids == ("2", "x")
    assert len(results) == 3 and "b" in results and "c" not in results
    with pytest.raises(KeyError):
        results["c"]
    assert (run.folder / "01-heat" / "case" / "1.npz").exists()


def test_finished_items_are_skipped_and_a_lost_one_is_made_again(run):
    calls = []
    first = values(run.map("heat", counted(calls), IMAGES))
    assert values(again(run).map("heat", counted(calls), IMAGES)) == first
    assert len(calls) == 3
    (run.folder / "01-heat" / "b.npz").unlink()
    assert values(again(run).map("heat", counted(calls), IMAGES)) == first
    assert calls[3:] == [0]


def test_items_are_what_all_share(run):
    def both(image: np.ndarray, name: str) -> str:
        return f"{image.sum():.0f} {name}"

    results = run.map("both", both, IMAGES, Given({"a": "x", "b": "y", "z": "w"}, "names"))
    assert dict(results) == {"a": "12 x", "b": "0 y"}


def test_random_numbers_depend_on_the_item_only(run, tmp_path):
    whole = values(run.map("heat", counted([]), IMAGES))
    alone = Run(tmp_path / "other", run.fabric)._inside(tmp_path / "other" / "x", "0").map("heat", counted([]), {"b": IMAGES["b"]})
    assert whole["b"] == values(alone)["b"]
    assert whole["b"] != (np.array(whole["a"]) - 2).tolist()


def test_after_a_step_random_numbers_are_the_same_finished_or_skipped(run):
    run.map("heat", counted([]), IMAGES)
    after = torch.rand(3), np.random.random(), torch.nn.Linear(2, 2).weight
    fresh = again(run)
    torch.rand(5)
    fresh.map("heat", counted([]), IMAGES)
    assert torch.equal(after[0], torch.rand(3))
    assert after[1] == np.random.random()
    assert torch.equal(after[2], torch.nn.Linear(2, 2).weight)


SIZED = {f"{i}": np.zeros((2, 2 + i % 2)) for i in range(7)}


def batched(calls: list):
    def one(images: list[np.ndarray], other: list[int]) -> list[Pair]:
        calls.append(sorted(other))
        noise = np.random.random((len(images), 1, 1))
        return [Pair(image + extra, (str(i),)) for image, extra, i in zip(images, noise, other, strict=True)]

    return one


def test_batches_are_of_one_kind_from_the_full_list(run):
    other = {id: int(id) for id in SIZED}
    calls = []
    shaped = partial(run.map, "b", batched(calls), SIZED, other, together=np.shape, size=3)
    first = values(shaped())
    assert calls == [[0, 2, 4], [6], [1, 3, 5]]
    (run.folder / "01-b" / "3.npz").unlink()
    fresh = again(run)
    assert values(fresh.map("b", batched(calls), SIZED, other, together=np.shape, size=3)) == first
    assert calls[3:] == [[1, 3, 5]]


def test_nothing_is_read_where_all_is_finished(run):
    def shape(image: np.ndarray) -> tuple:
        seen.append(1)
        return image.shape

    other, seen = {id: int(id) for id in SIZED}, []
    run.map("b", batched([]), SIZED, other, together=shape)
    assert len(seen) == 7
    again(run).map("b", batched([]), SIZED, other, together=shape)
    assert len(seen) == 7


def test_a_batch_has_to_return_as_many(run):
    with pytest.raises(ValueError, match="shorter"):
        run.map("b", lambda images: images[:1], SIZED, together=np.shape)


def test_the_annotation_says_what_the_files_hold(run):
    def untold(image):
        return Pair(image, ())

    with pytest.raises(SmidgenError, match="'untold' made a Pair"):
        run.map("untold", untold, IMAGES)

    class Callable:
        def __call__(self, image: np.ndarray) -> Pair:
            return Pair(image, ())

        def method(self, image: np.ndarray) -> Pair | None:
            return Pair(image, ())

    assert isinstance(run.map("callable", Callable(), IMAGES)["a"], Pair)
    assert isinstance(run.map("method", partial(Callable().method), IMAGES)["a"], Pair)


def test_two_steps_of_one_name_are_refused(run):
    run.map("heat", counted([]), IMAGES)
    with pytest.raises(SettingsError, match="two steps are called 'heat'"):
        run.map("heat", counted([]), IMAGES)


def test_only_stages_map(tmp_path):
    recipe = Run(tmp_path, Fabric(accelerator="cpu", devices=1))
    with pytest.raises(SettingsError, match="only stages map and fit"):
        recipe.map("heat", counted([]), IMAGES)


def test_a_map_has_a_key_of_its_own(run):
    assert run.map("a", counted([]), IMAGES).key != run.map("b", counted([]), IMAGES).key


def test_names_of_files_are_portable_and_ids_stay(run):
    """Row e16: an image "a:b.png" on Linux."""
    results = run.map("twice", lambda value: value * 2, {"a:b": 1.0, "c?/d.": 2.0})
    assert dict(results) == {"a:b": 2.0, "c?/d.": 4.0}
    assert sorted(path.relative_to(run.folder / "01-twice").as_posix() for path in run.folder.rglob("*.npz")) == [
        "a%3Ab.npz",
        "c%3F/d%2E.npz",
    ]


def test_half_files_of_a_killed_process_are_cleared_away(run):
    folder = run.folder / "01-twice"
    folder.mkdir()
    for name in (".99999.part.a.npz", ".99999.part.other.npz"):
        (folder / name).write_bytes(b"half")
    results = run.map("twice", lambda value: value * 2, {"a": 1.0, "b": 2.0})
    assert dict(results) == {"a": 2.0, "b": 4.0}
    assert sorted(path.name for path in folder.iterdir()) == [".99999.part.other.npz", "a.npz", "b.npz"]
