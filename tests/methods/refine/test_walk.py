from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.ndimage import binary_dilation, binary_erosion
from torch import nn

from smidgen.core.errors import NeedError, ShapeError
from smidgen.core.fit import Step
from smidgen.core.run import Given
from smidgen.data.dataset import Dataset
from smidgen.methods.refine import settings
from smidgen.methods.refine.walk import EdgeLearner, Seeded, affinity_costs, canvas, edges_of, prepare, refined, seeds, walk, walked
from smidgen.parts.networks.edges import EdgeNetwork
from smidgen.parts.networks.encoders import Encoder
from smidgen.products.heatmaps import Heatmaps

FAST = settings.Walk(
    seed_crf=False, size=64, crop=64, batch=4, steps=60, optimizer="adamw", rate=0.03, decay=0.0, radius=4, scale=(1.0, 1.0)
)


class Colors(Encoder):
    """Two levels that see colors only: the pixels themselves, and a quarter of them."""

    def __init__(self, channels: int = 3):
        nn.Module.__init__(self)
        self.in_channels, self.channels, self.strides, self.frozen_statistics = channels, (8, 8), (4, 8), True
        self.first, self.norm = nn.Conv2d(channels, 8, 1), nn.BatchNorm2d(8)

    def forward(self, image):
        gradient = nn.functional.max_pool2d(image, 5, 1, 2) + nn.functional.max_pool2d(-image, 5, 1, 2)  # bright where colors change
        x = self.norm(self.first(gradient))
        return [nn.functional.avg_pool2d(x, stride) for stride in self.strides]


class ColorFactory:
    key = "colors"

    def __call__(self):
        torch.manual_seed(0)
        return Colors()


def heat(maps, ids, size, background=0.25):
    maps = np.array(maps, np.float32)
    nothing = None if background is None else np.full(maps.shape[1:], background, np.float32)
    return Heatmaps(maps=maps, ids=ids, background=nothing, peak=np.ones(len(ids), np.float32), size=size)


def scene(left: int, top: int, side: int = 16):
    """A bright square on dark ground, 32 pixels wide, and evidence for no more than a corner of the square."""
    image, truth = np.full((32, 32, 3), 40, np.uint8), np.zeros((32, 32), bool)
    image[top : top + side, left : left + side], truth[top : top + side, left : left + side] = (220, 180, 60), True
    maps = np.zeros((1, 8, 8), np.float32)
    maps[0, top // 4 : top // 4 + 2, left // 4 : left // 4 + 2] = 1
    maps[0, ~truth[2::4, 2::4]] = 0.1
    maps[0, (maps[0] == 0)] = 0.25  # the rest of the square: not sure of anything
    return image, truth, heat(maps, (1,), (32, 32))


@pytest.fixture(scope="module")
def scenes():
    return {f"{n}": scene(4 * (n % 4), 4 * (n // 4)) for n in range(12)}


@pytest.fixture(scope="module")
def data(scenes):
    images = {id: one[0] for id, one in scenes.items()} | {"empty": np.full((30, 34, 3), 40, np.uint8)}
    tags = {id: ["square"] for id in scenes} | {"empty": []}
    return Dataset(images, tags=tags, classes=["background", "square"])


@pytest.fixture(scope="module")
def heatmaps(scenes):
    found = {id: one[2] for id, one in scenes.items()}
    return Given(found | {"empty": heat(np.zeros((0, 8, 9)), (), (30, 34))}, key="toy")


def seeded(data, heatmaps, ids, chosen=FAST):
    """Images with what their heatmaps are sure of."""
    found = {id: seeds(data.samples[id], heatmaps[id], chosen, 3, 0) for id in ids}
    return [Seeded(data.samples[id], found) for id in ids]


def test_seeds_with_and_without_a_crf(data, scenes, heatmaps):
    """A corner of the square is sure; its color carries that over the whole square."""
    _, truth, _ = scenes["5"]
    for size in (0, 64):
        cut = seeds(data.samples["5"], heatmaps["5"], settings.Walk(size=size, seed_crf=False), 3, 0)
        assert cut.shape == (32, 32) and cut.dtype == np.uint8
        assert (cut == 1).any() and (cut == 0).any() and (cut == 255).any()
        assert (cut == 0)[truth].mean() < 0.2 and (cut == 1)[~truth].mean() < 0.05
    tidy = seeds(data.samples["5"], heatmaps["5"], settings.Walk(foreground_above=0.24), 3, 0)
    np.testing.assert_array_equal(tidy, truth)


def test_costs_by_hand():
    """Labels 0 0 1 1 x in a row, x not known, edge .5 between the classes: pairs closer than 3."""
    edges = torch.tensor([[[0.1, 0.2, 0.5, 0.3, 0.9]]])
    labels = torch.tensor([[[0, 0, 1, 1, 255]]], dtype=torch.uint8)
    costs = affinity_costs(edges, labels, radius=3, background=0)
    assert costs["background"].item() == pytest.approx(-math.log(0.8), abs=1e-4)  # places 0 and 1
    assert costs["foreground"].item() == pytest.approx(-math.log(0.5), abs=1e-4)  # 2 and 3: the edge is part of the path
    assert costs["boundary"].item() == pytest.approx(-math.log(0.5), abs=1e-4)  # 1-2, 0-2, 1-3: strongest .5 on all
    everything = affinity_costs(edges, labels, radius=3, background=None)
    assert everything["background"].item() == 0
    assert everything["foreground"].item() == pytest.approx(-(math.log(0.8) + math.log(0.5)) / 2, abs=1e-4)


def test_costs_are_finite_at_the_ends():
    labels = torch.tensor([[[0, 0, 1, 1], [2, 2, 2, 255]]], dtype=torch.uint8)
    for value in (0.0, 1.0):
        edges = torch.full((1, 2, 4), value, requires_grad=True)
        total = sum(affinity_costs(edges, labels, 3, 0).values())
        (gradient,) = torch.autograd.grad(total, edges)
        assert total.isfinite() and gradient.isfinite().all()
    nothing = affinity_costs(torch.rand(1, 2, 4), torch.full((1, 2, 4), 255, dtype=torch.uint8), 3, 0)
    assert [cost.item() for cost in nothing.values()] == [0, 0, 0]


def test_a_view_and_its_seeds_move_together(data, heatmaps):
    torch.manual_seed(0)
    for size, side in ((0, 32), (64, 64)):
        chosen = settings.Walk(crop=side, size=size, scale=(1.0, 1.0), foreground_above=0.8, seed_crf=False)
        view = prepare(seeded(data, heatmaps, ["5"], chosen)[0], chosen, channels=3)
        assert view["image"].shape == (3, side, side) and view["seeds"].shape == (side // 4, side // 4)
        seen = view["image"][0, 2::4, 2::4]
        assert (view["seeds"] == 1).any() and (view["seeds"] == 0).any() and (view["seeds"] == 255).any()
        assert seen[view["seeds"] == 1].min() > 0.8
        assert seen[view["seeds"] == 0].max() < 0.2


@pytest.mark.parametrize("crop", [8, 9, 10, 11])
def test_seeds_fit_the_edges_of_any_crop(data, heatmaps, crop):
    view = prepare(seeded(data, heatmaps, ["0"])[0], settings.Walk(crop=crop), channels=3)
    assert EdgeNetwork(Colors())(view["image"][None]).shape == view["seeds"][None].shape


def test_edges_of_an_image_and_its_mirror_image(run, data):
    torch.manual_seed(1)
    network = EdgeNetwork(Colors()).eval()
    image = torch.rand(3, 24, 20)
    found = edges_of(image, run, network)
    assert found.shape == (6, 5)
    np.testing.assert_allclose(edges_of(image.flip(-1), run, network), found[:, ::-1], atol=1e-6)
    with torch.no_grad():
        logits = network(torch.stack([image, image.flip(-1)]))
    np.testing.assert_allclose(found, ((logits[0] + logits[1].flip(-1)) / 2).sigmoid().numpy(), atol=1e-6)


def test_edges_lose_and_hold_back_evidence():
    """A whole edge in the middle of a row: the two sides do not hear of each other, and the edge itself is empty."""
    maps, edges = np.zeros((1, 1, 9), np.float32), np.zeros((1, 9), np.float32)
    maps[0, 0, :2], maps[0, 0, 8], edges[0, 4] = (0.81, 0.36), 0.04, 1
    found = walked(maps, edges, settings.Walk())
    # .81^1.5 and .36^1.5, evenly spread over the four places of their side, as all are each other's neighbors
    assert found[0, 0] == pytest.approx([(0.729 + 0.216) / 4] * 4 + [0] + [0.008 / 4] * 4, abs=1e-6)


@pytest.mark.parametrize(
    ("size", "longer", "expected"), [((30, 34), 0, (32, 36)), ((288, 384), 0, (288, 384)), ((10, 20), 40, (20, 40)), ((1, 1), 0, (4, 4))]
)
def test_canvas(size, longer, expected):
    assert canvas(size, longer) == expected


def test_the_walk_fills_the_object(run, data, scenes, heatmaps):
    """From a corner of each square, by edges that only the seeds taught: the whole square and nothing else."""
    found = walk(run, FAST, data, heatmaps, ColorFactory())
    assert set(found) == set(scenes) | {"empty"}
    for id, (_, truth, start) in scenes.items():
        refined_map = found[id].maps[0]
        assert refined_map.shape == (16, 16) and refined_map.dtype == np.float32
        assert refined_map.max() == pytest.approx(1) and refined_map.min() >= 0
        assert found[id].ids == (1,) and found[id].size == (32, 32)
        # the border itself belongs to neither side: leave one place (two pixels) out on both
        inside, outside = binary_erosion(truth, iterations=3)[::2, ::2], ~binary_dilation(truth, iterations=3)[::2, ::2]
        assert start.maps[0].repeat(2, 0).repeat(2, 1)[inside].mean() < 0.6
        assert refined_map[inside].min() > 0.9
        assert refined_map[outside].max() < found[id].background.max()
    empty = found["empty"]
    assert empty.maps.shape == (0, 14, 16) and empty.ids == () and (empty.background == np.float32(0.25)).all()


def test_all_classes_are_divided_by_one_maximum(run, data):
    network = EdgeNetwork(Colors()).eval()
    maps = np.zeros((2, 8, 8), np.float32)
    maps[0, 2, 2], maps[1, 6, 6] = 1, 0.5
    chosen = settings.Walk(background=0.4)
    found = refined(data.samples["5"], heat(maps, (1, 2), (32, 32)), run, chosen, network)
    assert found.maps[0].max() == pytest.approx(1)
    assert found.maps[1].max() == pytest.approx(found.peak[1] / found.peak[0])
    assert (found.background == np.float32(0.4)).all()
    swapped = refined(data.samples["5"], heat(maps[::-1], (2, 1), (32, 32)), run, chosen, network)
    np.testing.assert_array_equal(swapped.maps[::-1], found.maps)


def test_each_class_can_be_divided_by_its_own_maximum(run, data):
    network = EdgeNetwork(Colors()).eval()
    maps = np.zeros((2, 8, 8), np.float32)
    maps[0, 2, 2], maps[1, 6, 6] = 1, 0.5
    given = heat(maps, (1, 2), (32, 32))
    common, own = (refined(data.samples["5"], given, run, settings.Walk(strongest=one), network) for one in ("image", "class"))
    assert own.maps.max(axis=(1, 2)) == pytest.approx([1, 1])
    np.testing.assert_array_equal(own.peak, common.peak)
    np.testing.assert_allclose(own.maps[1] * common.maps[1].max(), common.maps[1], atol=1e-6)


def test_other_sizes_and_what_is_ignored(run, data):
    network = EdgeNetwork(Colors()).eval()
    ignore = np.zeros((8, 8), bool)
    ignore[:4, :2] = True
    given = Heatmaps(np.full((1, 8, 8), 0.5, np.float32), (1,), None, np.ones(1, np.float32), (32, 32), ignore)
    found = refined(data.samples["5"], given, run, settings.Walk(size=64), network)
    assert found.maps.shape == (1, 16, 16) and found.size == (32, 32)
    assert found.background is None
    np.testing.assert_array_equal(found.ignore, np.kron(ignore, np.ones((2, 2), bool)))


def test_only_the_heads_learn(data, heatmaps):
    pictures = seeded(data, heatmaps, ("0", "5", "6"))
    learner = EdgeLearner(Colors(), settings.Walk(crop=32, batch=2, epochs=3), pictures, 0)
    assert learner.steps == 5  # 3 times 3 images, 2 at once
    learner.networks.train()
    assert not learner.network.encoder.training and learner.network.levels.training
    moving = {id(p) for group in learner.optimizers["all"].param_groups for p in group["params"]}
    assert moving == {id(p) for p in learner.network.parameters()} - {id(p) for p in learner.network.encoder.parameters()}
    batch = {"seeded": {k: v[None] for k, v in prepare(pictures[0], learner.settings, 3).items()}}
    terms = learner.terms(batch, "all", Step(0, 1, torch.Generator()))
    assert set(terms) == {"background", "foreground", "boundary"}
    sum(terms.values()).backward()
    assert all(p.grad is None for p in learner.network.encoder.parameters())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in learner.network.levels.parameters())
    assert learner.schedule(0.0) == 1 and learner.schedule(0.75) == pytest.approx(0.25**0.9)


def test_what_it_can_t_work_on(run, data, heatmaps):
    with pytest.raises(NeedError, match="no heatmap speaks of a class"):
        walk(run, FAST, data, Given({"empty": heatmaps["empty"]}, key="toy"), ColorFactory())
    with pytest.raises(ShapeError, match="3 channels, the network takes 4"):
        seeds(data.samples["0"], heatmaps["0"], settings.Walk(), channels=4, background=0)


def test_settings_in_order():
    for wrong in ({"foreground_above": 0.1}, {"scale": (2.0, 1.0)}, {"radius": 1}):
        with pytest.raises(ValidationError):
            settings.Walk(**wrong)
