from __future__ import annotations

import json
import math
import tracemalloc

import numpy as np
import pytest
import torch
from torch import nn

from smidgen.core.errors import SettingsError, ShapeError
from smidgen.parts.imaging.channels import ChannelStatistics
from smidgen.parts.networks import settings as networks
from smidgen.parts.networks.encoders import Encoder, EncoderFactory
from smidgen.parts.networks.factories import HeadFactory
from smidgen.parts.networks.heads.settings import Point
from smidgen.parts.networks.network import Network
from smidgen.parts.networks.prediction import Prediction
from smidgen.products import volumes
from smidgen.products.looking import Predicts
from smidgen.products.sample import Classes
from smidgen.products.scores import Scores
from smidgen.products.segmenter import Architecture, Segmenter

CLASSES = Classes(("background", "bright"))


class Voxels(Encoder):
    """The volume itself."""

    def __init__(self, dims: int):
        nn.Module.__init__(self)
        self.channels, self.strides, self.dims = (1,), (1,), dims
        self.seen: list[tuple[int, ...]] = []

    def forward(self, x):
        self.seen.append(tuple(x.shape))
        return [x]


class Brighter(nn.Module):
    """Values above 0 are bright; what is known without training."""

    stride = 1

    def __init__(self):
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(3.0))

    def forward(self, features, size):
        return Prediction(torch.cat([-features[0], features[0]], dim=1) * self.sharpness / 2)


def toy(dims: int, patch: int | tuple[int, ...] = 0) -> Segmenter:
    architecture = Architecture(networks.Encoder(), "point", Point(), CLASSES, 1, patch=patch, dims=dims, zscored=True)
    return Segmenter(Network(Voxels(dims), Brighter()), architecture)


def small(dims: int = 3, norm: str = "batch", **more) -> Segmenter:
    own = networks.Encoder(name="resunet", weights="none", width=4, depth=2, norm=norm)
    torch.manual_seed(0)
    encoder = EncoderFactory(own, 1, pixels=ChannelStatistics((0.0,), (1.0,)), dims=dims)()
    head = HeadFactory("point", dims=dims)(encoder.channels, encoder.strides, 2)
    about = {"patch": (8, 16, 16)[-dims:], "dims": dims, "zscored": True, **more}
    return Segmenter(Network(encoder, head), Architecture(own, "point", Point(), CLASSES, 1, **about))


def volume(*size: int):
    return np.random.default_rng(0).standard_normal((1, *size)).astype(np.float32)


def bright(values):
    return 1 / (1 + np.exp(-3 * values[0]))


class Lazy:
    """Anything that is cut by slices; counts what is read."""

    ndim = 4

    def __init__(self, array):
        self.array, self.shape, self.read = array, array.shape, 0

    def __getitem__(self, place):
        part = self.array[place]
        self.read += part.size
        return part


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("size", [(9, 20, 30), (3, 4, 5), (1, 40, 17)])
def test_every_voxel_gets_what_is_known_directly(dims, size):
    image = volume(*size)
    scores = toy(dims, 8).predict(image, keep_probs=True)
    np.testing.assert_array_equal(scores.label, image[0] > 0)
    np.testing.assert_allclose(scores.confidence, np.maximum(bright(image), 1 - bright(image)), atol=1e-5)
    np.testing.assert_allclose(scores.probs[1], bright(image), atol=1e-3)


def test_a_network_of_volumes_sees_windows_of_the_trained_size_several_at_once():
    segmenter = toy(3, (8, 16, 12))
    segmenter.predict(volume(20, 30, 40))
    seen = segmenter.network.encoder.seen
    assert {shape[1:] for shape in seen} == {(1, 8, 16, 12)}
    assert max(shape[0] for shape in seen) == volumes.TOGETHER


def test_a_network_of_slices_sees_slices_several_at_once():
    segmenter = toy(2)
    segmenter.predict(volume(20, 30, 40))
    assert segmenter.network.encoder.seen == [(16, 1, 30, 40), (4, 1, 30, 40)]


def test_large_slices_are_seen_by_windows():
    image = volume(3, 64, 64)
    segmenter = toy(2, (16, 16))
    scores = segmenter.predict(image, max_pixels=300)
    assert {shape[2:] for shape in segmenter.network.encoder.seen} == {(16, 16)}
    np.testing.assert_array_equal(scores.label, image[0] > 0)


@torch.no_grad()
def test_where_the_window_is_the_volume_it_is_the_network_itself():
    segmenter, image = small(), volume(8, 16, 16)
    direct = segmenter.network(torch.from_numpy(image)[None]).logits.softmax(dim=1)[0].numpy()
    scores = segmenter.predict(image, keep_probs=True)
    np.testing.assert_allclose(scores.probs, direct, atol=1e-3)
    np.testing.assert_array_equal(scores.label, direct.argmax(axis=0))


@pytest.mark.parametrize("most", [1, 60_000, 0])
def test_blocks_of_any_memory_give_the_same_and_cover_all(most):
    segmenter, image = small(), volume(12, 200, 20)
    whole = segmenter.predict(image)
    label, found = np.full(image.shape[1:], 9, np.uint8), 0
    for planes, rows, part in volumes.blocks(segmenter, Lazy(image), most=most):
        label[planes, rows] = part.label
        found += part.label.size
    assert found == label.size
    np.testing.assert_array_equal(label, whole.label)
    assert volumes.bands(2, image.shape, (8, 16, 16), most) == (3 if most else 1)


def test_a_volume_is_read_about_once_although_windows_overlap():
    image = Lazy(volume(40, 32, 32))
    list(volumes.blocks(small(), image))
    assert image.read == image.array.size


def test_mirroring_and_tags_count_in_3d_too():
    segmenter, image = small(), volume(8, 16, 16)
    once = segmenter.predict(image, flip=True, keep_probs=True)
    mirrored = segmenter.predict(image[..., ::-1].copy(), flip=True, keep_probs=True)
    np.testing.assert_allclose(once.probs[..., ::-1], mirrored.probs, atol=2e-3)
    assert (segmenter.predict(image, ()).label == 0).all()


def test_what_does_not_fit_is_refused_in_words():
    with pytest.raises(ShapeError, match=r"expected shape \(1, d, h, w\), found"):
        toy(3).predict(volume(8, 8))
    with pytest.raises(ShapeError, match="takes 1 channels"):
        toy(3).predict(np.zeros((2, 8, 8, 8), np.float32))
    with pytest.raises(SettingsError, match="one scale"):
        toy(3).predict(volume(8, 8, 8), scales=(0.5, 1.0))


@pytest.mark.parametrize("dims", [2, 3])
def test_the_files_hold_all_that_volumes_need(tmp_path, dims):
    segmenter = small(dims, spacing_mm=(3.0, 0.7, 0.7)[-dims:])
    segmenter.save(tmp_path)
    again = Segmenter.load(tmp_path)
    assert again.architecture == segmenter.architecture
    assert (again.dims, again.zscored, again.patch) == (dims, True, (8, 16, 16)[-dims:])
    said = json.loads((tmp_path / "model.json").read_text())
    assert "z-scored over the whole volume" in said["values"] and said["spacing_mm"] == [3.0, 0.7, 0.7][-dims:]
    image = volume(9, 17, 20)
    np.testing.assert_array_equal(again.predict(image).label, segmenter.predict(image).label)


def test_files_from_before_there_were_volumes_still_load(tmp_path):
    own = networks.Encoder(name="resunet", width=4, depth=2)
    torch.manual_seed(0)
    Segmenter(
        Architecture(own, "point", Point(), CLASSES, 3, patch=32).build(), Architecture(own, "point", Point(), CLASSES, 3, patch=32)
    ).save(tmp_path)
    said = json.loads((tmp_path / "model.json").read_text())
    for name in ("dims", "zscored", "ids", "mask_values"):
        del said[name]
    (tmp_path / "model.json").write_text(json.dumps(said))
    again = Segmenter.load(tmp_path)
    assert (again.dims, again.zscored, again.patch, again.spacing_mm) == (2, False, 32, None)


@pytest.mark.slow
def test_windows_agree_with_another_library():
    inferers = pytest.importorskip("monai.inferers")
    segmenter, image = small(norm="instance"), volume(16, 40, 32)

    def network(windows):
        return segmenter.network(windows).logits.softmax(dim=1)

    with torch.no_grad():
        theirs = inferers.sliding_window_inference(
            torch.from_numpy(image)[None], (8, 16, 16), 4, network, overlap=0.5, mode="gaussian", sigma_scale=0.125
        )[0]
    ours = segmenter.predict(image, keep_probs=True)
    np.testing.assert_allclose(ours.probs, theirs.numpy(), atol=5e-3)


class Generated:
    """A volume of any size that lies nowhere: its values are made where it is cut."""

    ndim = 4

    def __init__(self, *size: int):
        self.shape = (1, *size)

    def __getitem__(self, place):
        z, y, x = (np.arange(*cut.indices(n), dtype=np.float32) for cut, n in zip(place[1:], self.shape[1:], strict=True))
        return np.sin(z[:, None, None] + y[:, None] * x)[None]


class Direct(Predicts):
    """Looks without a network."""

    classes = CLASSES

    def __init__(self):
        super().__init__(Architecture(networks.Encoder(), "point", Point(), CLASSES, 1, patch=(32, 96, 96), dims=3, zscored=True))

    def look(self, image, scales, flip, zoom):
        return self.look_together(image[None], scales, flip, zoom)[0]

    def look_together(self, images, scales, flip, zoom):
        return np.concatenate([0.5 - images / 2, 0.5 + images / 2], axis=1)

    def scored(self, probs, tags, keep_probs):
        return Scores(probs.argmax(axis=0).astype(np.uint8), probs.max(axis=0), None)


def traced(volume, most: int) -> float:
    """Megabytes that prediction holds at most."""
    tracemalloc.start()
    voxels = sum(part.label.size for _, _, part in volumes.blocks(Direct(), volume, overlap=0.0, most=most))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert voxels == math.prod(volume.shape)
    return peak / 1e6


@pytest.mark.slow
def test_memory_grows_neither_with_depth_nor_with_the_area_of_planes():
    small_one, deep, wide = (traced(Generated(*size), 20_000_000) for size in ((40, 200, 300), (160, 200, 300), (40, 800, 300)))
    assert deep < 1.2 * small_one
    assert wide < 1.5 * small_one
