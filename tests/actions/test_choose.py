"""Labels -> recipe, and what a network sees of volumes."""

from __future__ import annotations

import numpy as np
import pytest

from smidgen.actions.choose import choose, kind_of, usual_dims, view
from smidgen.core.errors import DataError, SettingsError
from smidgen.data.dataset import Dataset

IMAGE, MASK = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8)


def pictures(count: int, masks: int = 0, tags: int = 0) -> Dataset:
    return Dataset(
        [IMAGE] * count,
        masks=[MASK if i < masks else None for i in range(count)],
        tags=[["cat"] if i < tags else None for i in range(count)],
        classes=["background", "cat"],
    )


def volumes(count: int, masks: int, spacing: tuple[float, float, float] | None = (1.0, 1.0, 1.0), tags: int = 0) -> Dataset:
    volume = np.arange(32, dtype=np.uint8).reshape(2, 4, 4)
    labels = [np.zeros_like(volume) if i < masks else None for i in range(count)]
    marked = [["heart"] if i < tags else None for i in range(count)]
    return Dataset([volume] * count, labels, marked, ["background", "heart"], dims=3, spacing_mm=spacing)


@pytest.mark.parametrize(
    ("masks", "tags", "recipe"),
    [
        (9, 0, "masks"),
        (10, 10, "masks"),
        (0, 10, "tags"),
        (0, 3, "tags"),
        (2, 10, "mixed"),
        (2, 0, "semi"),
        (2, 5, "semi"),
        (6, 0, "masks"),
    ],
)
def test_the_recipe_follows_from_the_labels(masks, tags, recipe):
    assert choose(pictures(10, masks, tags)).recipe == recipe


def test_nothing_to_learn_from_is_said():
    with pytest.raises(DataError, match="none with tags or masks"):
        choose(pictures(3))


def test_few_images_without_masks_are_left_and_that_is_said():
    chosen = choose(pictures(10, 6))
    assert "fewer than those with one" in chosen.notes[0] and "--recipe semi uses them" in chosen.notes[0]


def test_strokes_alone_are_said_to_spread_with_another_recipe():
    stroke = np.full((4, 4), 255, np.uint8)
    stroke[0, :2] = 0, 1
    chosen = choose(Dataset([IMAGE] * 3, masks=[stroke] * 3, classes=["background", "cat"]))
    assert chosen.recipe == "masks" and "3 of 3 training images have sparse masks" in chosen.why
    assert "--recipe weak_to_strong" in chosen.notes[0]
    assert not choose(pictures(10, masks=10)).notes


def test_many_labeled_volumes_need_no_unlabeled_ones():
    few, many = choose(volumes(30, 4)), choose(volumes(30, 9))
    assert few.recipe == "semi" and "4 of 30 training volumes have masks" in few.why
    assert many.recipe == "masks" and "with 9 labeled cases they bought nothing measurable" in many.notes[0]


def test_tags_of_volumes_are_not_used():
    chosen = choose(volumes(10, 2, tags=10))
    assert chosen.recipe == "semi" and "tags of volumes are not used" in chosen.notes[-1]
    assert choose(volumes(10, 10)).why == "10 of 10 training volumes have masks"
    with pytest.raises(DataError, match="10 training volumes, none with a mask that may be used"):
        choose(volumes(10, 0, tags=10))


def test_volumes_with_distant_slices_are_seen_slice_by_slice():
    near, far, unknown = volumes(2, 2), volumes(2, 2, (4.0, 1.0, 1.0)), volumes(2, 2, None)
    assert (usual_dims(near), usual_dims(far), usual_dims(unknown)) == (3, 2, 3)
    assert usual_dims(Dataset([np.arange(16.0).reshape(1, 4, 4)] * 2, dims=3)) == 2  # one slice each
    seen, kind = view(far)
    assert [kind_of(one) for one in (near, far, pictures(2, 2))] == ["volumes", "slices", "pictures"]
    assert kind == "slices" and len(seen.samples) == 4 and next(iter(seen.samples.values())).size == (4, 4)
    assert view(far, 3)[1] == "volumes" and view(near, 2)[1] == "slices" and view(near) == (near, "volumes")
    plain = pictures(2, 2)
    assert view(plain) == (plain, "pictures") and view(plain, 2) == (plain, "pictures")
    with pytest.raises(SettingsError, match="--dims 3: arrays holds pictures"):
        view(plain, 3)
