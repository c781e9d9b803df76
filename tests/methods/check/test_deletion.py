from __future__ import annotations

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor

from smidgen.core.run import Given, Run
from smidgen.data.dataset import Dataset
from smidgen.methods.check import settings
from smidgen.methods.check.deletion import moved
from smidgen.products.labels import LabelMap
from smidgen.products.resizing import nearest
from smidgen.report.evidence import summed


class SeesRed:
    """A classifier whose logit is strong where an image is red, and which believes in blue everywhere."""

    key, ids, points, stride, head_weights = "sees red", (1, 2), ("pixels",), 4, None

    def prepare(self, image: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(image))

    def features(self, x: Tensor, at: str = "pixels", to: str | None = None) -> Tensor:
        return x

    def class_maps(self, x: Tensor, at: str = "pixels", companions: Tensor | None = None) -> Tensor:
        red = (x[:, 0] - x[:, 1] - 0.3).clamp(min=0)
        return torch.stack([320 * red - 4, torch.full_like(red, 3)], dim=1)

    def layers(self) -> None:
        return None


def scenes(n: int = 8) -> tuple[Dataset, dict[str, np.ndarray]]:
    """Gray images with a red square, and its masks."""
    generator = np.random.default_rng(0)
    images, masks = {}, {}
    for i in range(n):
        image, mask = generator.integers(100, 140, (32, 40, 3)).astype(np.uint8), np.zeros((32, 40), np.uint8)
        y, x = generator.integers(0, 24), generator.integers(0, 32)
        mask[y : y + 8, x : x + 8] = 1
        image[mask == 1] = (230, 30, 30)
        images[f"i{i}"], masks[f"i{i}"] = image, mask
    return Dataset(images, tags={id: ["red"] for id in images}, classes=["background", "red", "blue"]), masks


def outcome(folder, masks: dict[str, np.ndarray], data: Dataset, **said):
    run = Run(folder, Fabric(accelerator="cpu", devices=1), {"deletion": settings.Deletion(**({"size": 0} | said))})
    labels = Given({id: LabelMap(mask) for id, mask in masks.items()}, "toy")
    return run.stage("check", "deletion", data, classifier=SeesRed(), labels=labels)


@pytest.mark.parametrize("hide", ["surroundings", "mean"])
def test_hiding_what_was_found_costs_the_tag_and_hiding_elsewhere_does_not(tmp_path, hide):
    data, masks = scenes()
    test = summed(outcome(tmp_path, masks, data, hide=hide), data)
    assert test.images == 8
    assert test.found > 0.8, "the tag is sure with the square and gone without it"
    assert test.random < 0.25
    assert test.better > 0.9
    assert test.difference.low > 0.4


def test_a_wrong_map_shows_no_difference(tmp_path):
    data, masks = scenes(24)
    wrong = {id: np.roll(mask, (12 + i % 7, 16 + i % 11), (0, 1)) for i, (id, mask) in enumerate(masks.items())}
    test = summed(outcome(tmp_path, wrong, data), data)
    assert abs(test.found - test.random) < 0.15
    assert test.difference.low < 0 < test.difference.high or test.found <= test.random


def test_a_class_that_is_believed_everywhere_loses_nothing(tmp_path):
    data, masks = scenes(3)
    blue = Dataset({id: (255 * data.samples[id].image().transpose(1, 2, 0)).astype(np.uint8) for id in masks}, tags=[["blue"]] * 3,
                   classes=["background", "red", "blue"])  # fmt: skip
    labels = {id: 2 * mask for id, mask in zip(blue.samples, masks.values(), strict=True)}
    test = summed(outcome(tmp_path, labels, blue), blue)
    assert test.found == pytest.approx(0, abs=1e-6)
    assert test.random == pytest.approx(0, abs=1e-6)


def test_tags_without_a_region_are_named_and_not_tried(tmp_path):
    data, masks = scenes(3)
    masks["i0"][:] = 0
    masks["i1"][:] = 1
    results = outcome(tmp_path, masks, data)
    assert [results[id].ids for id in results] == [(), (), (1,)]
    assert results["i0"].left_out == results["i1"].left_out == (1,)
    assert results["i0"].without_random.shape == (0, 3)
    assert summed(results, data).left_out == 2


def test_it_tries_a_sample_and_may_be_off(tmp_path):
    data, masks = scenes()
    some = outcome(tmp_path / "a", masks, data, images=3)
    assert len(some) == 3
    assert list(outcome(tmp_path / "b", masks, data, images=3)) == list(some)
    off = outcome(tmp_path / "c", masks, data, images=0)
    assert len(off) == 0
    assert summed(off, data) is None


def test_a_moved_region_keeps_its_size():
    torch.manual_seed(0)
    region = np.zeros((12, 17), bool)
    region[2:6, 3:5] = region[5, 3:12] = True
    others = [moved(region) for _ in range(200)]
    assert {int(one.sum()) for one in others} == {int(region.sum())}
    assert 0.1 < np.mean(others) / region.mean() * 0.5 < 1
    everywhere = np.mean(others, axis=0)
    assert (everywhere > 0).all(), "it gets everywhere"


def test_shrinking_takes_the_middle_of_each_place():
    label = np.kron(np.array([[0, 1], [2, 3]], np.uint8), np.ones((4, 4), np.uint8))
    assert nearest(label, (2, 2)).tolist() == [[0, 1], [2, 3]]
    assert (nearest(label, (16, 8))[::2] == label).all()
