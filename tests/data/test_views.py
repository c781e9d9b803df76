from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from smidgen.core.errors import NeedError, SettingsError
from smidgen.data.dataset import Dataset
from smidgen.data.pairs import labeled
from smidgen.data.strong import Strong
from smidgen.data.views import Views, steps_of, unlabeled, weak
from smidgen.methods.semi.settings import WeakToStrong

SEEN = WeakToStrong(crop=12, scale=(1.0, 1.0))


def pictures(sparse: bool = False) -> Dataset:
    """Three images with a gradient, of which the first has a mask; or scribbles for all."""
    images = {f"p{n}": np.linspace(0, 1, 80, dtype=np.float32).reshape(8, 10) for n in range(3)}
    mask = np.ones((8, 10), np.uint8)
    if sparse:
        mask[:, 1:] = 255
        mask[1:] = 255
    masks = dict.fromkeys(images, mask) if sparse else {"p0": mask}
    return Dataset(images, masks, classes=["background", "thing"], split=dict.fromkeys(images, "train"))


def volumes() -> Dataset:
    images = {f"v{n}": np.arange(4 * 12 * 12, dtype=np.float32).reshape(4, 12, 12) for n in range(2)}
    return Dataset(
        images, {"v0": np.ones((4, 12, 12), np.uint8)}, classes=["background", "thing"], dims=3, split=dict.fromkeys(images, "train")
    )


def test_strong_views_show_the_same_part_as_the_weak_one():
    data = pictures()
    torch.manual_seed(0)
    seen = Views(weak(SEEN, data), 3, Strong(1.0, 0.0, 0.3, 0.0, 0.0, 0.0), 2).unlabeled(data.train["p1"])
    assert seen["image"].shape == (3, 12, 12) and seen["strong"].shape == (2, 3, 12, 12)
    for strong in seen["strong"]:
        assert np.corrcoef(strong.flatten(), seen["image"].flatten())[0, 1] > 0.999
    assert not torch.equal(seen["strong"][0], seen["strong"][1])


def test_a_labeled_image_has_one_strong_view():
    seen = Views(weak(SEEN, pictures()), 1, Strong(), 3).labeled(labeled(pictures(), None)[0])
    assert seen["strong"].shape == (1, 1, 12, 12)
    assert sorted(seen["label"].unique().tolist()) == [1, 255]


def test_where_the_image_ends_is_known_without_a_label():
    data = pictures()
    seen = Views(weak(SEEN, data), 1).unlabeled(data.train["p1"])
    assert seen["label"].unique().tolist() == [0, 255]
    assert int((seen["label"] == 0).sum()) == 80
    assert (float(seen["low"]), float(seen["high"]), float(seen["spread"])) == (0.0, 1.0, 0.25)
    assert "strong" not in seen


def test_z_scored_images_bring_their_own_limits():
    data = volumes()
    chosen = SEEN.model_copy(update={"patch": (2, 6, 6)})
    views = Views(weak(chosen, data), 1, Strong(), 1)
    seen, sample = views.unlabeled(data.train["v1"]), data.train["v1"]
    assert seen["image"].shape == (1, 2, 6, 6) and seen["strong"].shape == (1, 1, 2, 6, 6)
    assert (float(seen["low"]), float(seen["high"])) == pytest.approx(sample.limits(), abs=1e-6)
    assert float(seen["spread"]) == 1.0
    flat = Views(weak(SEEN.model_copy(update={"crop": 6}), data.slices()), 1).unlabeled(next(iter(data.slices().unlabeled.values())))
    assert flat["image"].shape == (1, 6, 6)


def test_views_travel_to_workers():
    data = volumes()
    views = pickle.loads(pickle.dumps(Views(weak(SEEN.model_copy(update={"patch": (2, 6, 6)}), data), 1, Strong(), 2)))
    assert views.unlabeled(data.train["v1"])["strong"].shape == (2, 1, 2, 6, 6)


def test_scribbled_images_are_among_the_unlabeled_with_their_labels_out_of_reach():
    assert [sample.id for sample in unlabeled(pictures())] == ["p1", "p2"]
    found = unlabeled(pictures(sparse=True))
    assert [sample.id for sample in found] == ["p0", "p1", "p2"]
    assert all(sample.label() is None for sample in found)
    with pytest.raises(NeedError, match="choose --recipe masks"):
        unlabeled(pictures().only(ids=["p0"]))


def test_rounds_become_steps():
    lasting = SEEN.model_copy(update={"steps": 7, "batch_unlabeled": 4})
    assert steps_of(lasting, range(10)) == 7
    assert steps_of(lasting.model_copy(update={"epochs": 2.0}), range(10)) == 5


def test_as_many_sides_as_axes():
    with pytest.raises(SettingsError, match="patch has 2 values, and volumes have 3 axes: give 3"):
        weak(SEEN.model_copy(update={"patch": (8, 8)}), volumes())
