"""Patches of volumes and slices: identity, mirrored borders, turning, balance of foreground, and labels that move along."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pytest import approx
from scipy.ndimage import map_coordinates

from smidgen.core.errors import SettingsError, ShapeError
from smidgen.data.volume_transforms import VolumeAugmentation

STILL = {"degrees": 0.0, "scale": (1.0, 1.0), "foreground": 0.0}


def volume(*size, channels=1, seed=0):
    return np.random.default_rng(seed).normal(size=(channels, *size)).astype(np.float32)


def ramp(*size):
    """Values that are linear in z, y and x, so that interpolation is exact."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in size), indexing="ij")
    return (100 * z + 10 * y + x).astype(np.float32)[None]


def test_a_patch_of_the_size_of_the_volume_is_the_volume():
    image, label = volume(4, 5, 6, channels=2), np.random.default_rng(1).integers(0, 3, (4, 5, 6)).astype(np.uint8)
    view = VolumeAugmentation((4, 5, 6), **STILL)(image, label, label / np.float32(3))
    assert view.image.numpy() == approx(image, abs=1e-5)
    assert (view.label.numpy() == label).all() and view.confidence.numpy() == approx(label / 3)
    flat = VolumeAugmentation((5, 6), **STILL)(image[:, 2], label[2])
    assert flat.image.numpy() == approx(image[:, 2], abs=1e-5) and (flat.label.numpy() == label[2]).all()


def test_beyond_the_border_values_are_mirrored_and_labels_are_255():
    image = volume(3, 4, 5)
    torch.manual_seed(0)
    view = VolumeAugmentation((5, 6, 9), **STILL)(image, np.zeros((3, 4, 5), np.uint8), np.ones((3, 4, 5), np.float32))
    inside = np.argwhere(view.label.numpy() == 0)
    low, high = inside.min(axis=0), inside.max(axis=0) + 1
    assert tuple(high - low) == (3, 4, 5) and set(np.unique(view.label)) == {0, 255}
    after = [(a, n - b) for a, b, n in zip(low, high, (5, 6, 9), strict=True)]
    assert view.image[0].numpy() == approx(np.pad(image[0], after, mode="symmetric"), abs=1e-5)
    assert ((view.confidence.numpy() == 1) == (view.label.numpy() == 0)).all()


@pytest.mark.parametrize("seed", range(4))
def test_turned_and_scaled_patches_are_those_of_scipy(seed):
    image = volume(9, 20, 24, seed=seed)
    augment = VolumeAugmentation((7, 16, 22), degrees=40.0, scale=(0.7, 1.4))
    torch.manual_seed(seed)
    view = augment(image)
    torch.manual_seed(seed)
    places = augment._places(image.shape[1:], None)
    z, y, x = (one.expand(7, 16, 22).numpy() for one in (places.z[:, None, None], places.y[None], places.x[None]))
    assert view.image[0].numpy() == approx(map_coordinates(image[0], [z, y, x], order=1, mode="reflect"), abs=1e-4)


def test_a_turn_is_one_in_the_plane_and_in_millimeters():
    """The middle stays; one voxel further down, a turned and scaled patch looks so far beside it in the image, in millimeters."""
    augment = VolumeAugmentation((1, 3, 3), degrees=90.0, scale=(0.5, 2.0), foreground=0.0, spacing_mm=(5.0, 2.0, 0.5))
    torch.manual_seed(5)
    places = augment._places((9, 41, 41), None)
    down = [(float(one[2, 1]) - float(one[1, 1])) * mm for one, mm in zip((places.y, places.x), (2.0, 0.5), strict=True)]
    across = [(float(one[1, 2]) - float(one[1, 1])) * mm for one, mm in zip((places.y, places.x), (2.0, 0.5), strict=True)]
    assert math.hypot(*down) / 2.0 == approx(math.hypot(*across) / 0.5, rel=1e-4)  # one factor for both
    assert down[0] * across[0] + down[1] * across[1] == approx(0, abs=1e-4)  # still at right angles
    assert 0.5 <= math.hypot(*down) / 2.0 <= 2.0


def test_planes_far_apart_are_not_mixed():
    image = np.broadcast_to(np.arange(12, dtype=np.float32)[:, None, None] ** 3, (1, 12, 8, 8)).copy()
    for spacing, mixed in (((3.0, 1.0, 1.0), False), ((2.0, 1.0, 1.0), True)):
        torch.manual_seed(1)
        view = VolumeAugmentation((5, 8, 8), degrees=0.0, scale=(0.8, 0.9), foreground=0.0, spacing_mm=spacing)(image)
        roots = np.cbrt(view.image[0, :, 4, 4].numpy())
        assert (np.abs(roots - np.rint(roots)) > 1e-3).any() == mixed


def test_labels_move_with_their_image():
    """Where the turned image is high, there is its label."""
    image, label = np.zeros((1, 9, 30, 30), np.float32), np.zeros((9, 30, 30), np.uint8)
    image[:, 2:7, 8:20, 12:25], label[2:7, 8:20, 12:25] = 1, 1
    for seed in range(5):
        torch.manual_seed(seed)
        view = VolumeAugmentation((8, 24, 24), flips=(True, True, True))(image, label)
        clear = ((view.image[0] < 0.25) | (view.image[0] > 0.75)) & (view.label != 255)
        assert ((view.image[0] > 0.5) == (view.label == 1))[clear].all() and (view.label == 1).any()


def test_half_of_the_patches_are_centered_on_the_foreground_each_class_alike():
    label = np.zeros((20, 40, 40), np.uint8)
    label[10, 5:8, 5:8], label[4:16, 20:36, 20:36] = 1, 2
    label[0] = 255
    middles = []
    for seed in range(150):
        torch.manual_seed(seed)
        view = VolumeAugmentation((3, 5, 5), degrees=0.0, scale=(1.0, 1.0))(volume(20, 40, 40), label)
        middles.append(int(view.label[1, 2, 2]))
    share = [middles.count(value) / 150 for value in (1, 2)]
    assert share[0] == approx(0.25, abs=0.1) and share[1] > 0.25  # class 2 is met by chance, too


def test_unlabeled_volumes_are_cut_anywhere():
    label = np.zeros((9, 30, 30), np.uint8)
    label[4, 3, 3] = 1
    image = ramp(9, 30, 30)
    always = VolumeAugmentation((3, 5, 5), foreground=1.0)
    seen = set()
    for seed in range(40):
        torch.manual_seed(seed)
        unknown = always(image)
        assert set(unknown.label.unique().tolist()) <= {0, 255}
        seen.add(int(unknown.image[0, 1, 2, 2]) // 300)
        torch.manual_seed(seed)
        assert (always(image, label).label == 1).any()
        torch.manual_seed(seed)
        empty = always(image, np.zeros_like(label))
        assert (empty.image == unknown.image).all()  # a label without foreground chooses nothing
    assert len(seen) > 2


def test_a_large_label_is_probed_before_it_is_searched():
    label = np.zeros((80, 240, 240), np.uint8)
    label[40, 120, 120] = 1
    torch.manual_seed(0)
    assert VolumeAugmentation((8, 8, 8), foreground=1.0)._anchor(label) == (40, 120, 120)
    label[:, :120] = 1
    torch.manual_seed(0)
    z, y, x = VolumeAugmentation((8, 8, 8), foreground=1.0)._anchor(label)
    assert label[z, y, x] == 1


def test_scribbles_are_seen():
    label = np.full((64, 64), 255, np.uint8)
    label[32, 20:40] = 0  # background strokes only: no patch is centered on it
    seen = 0
    for seed in range(40):
        torch.manual_seed(seed)
        seen += bool((VolumeAugmentation((24, 24))(volume(64, 64), label).label != 255).any())
    assert seen > 30  # one patch in two would miss it by chance


def test_values_change_only_where_asked_for():
    image = volume(4, 8, 8)
    torch.manual_seed(0)
    view = VolumeAugmentation((4, 8, 8), **STILL, brightness=0.5)(image)
    change = view.image.numpy() - image
    assert change.std() == approx(0, abs=1e-5) and 0 < abs(change.mean()) <= 0.5
    view = VolumeAugmentation((4, 8, 8), **STILL, gamma=0.5)(image)
    assert view.image.min() == approx(image.min(), abs=1e-4) and view.image.max() == approx(image.max(), abs=1e-4)
    order = np.argsort(image.ravel())
    assert (np.diff(view.image.numpy().ravel()[order]) >= -1e-5).all() and np.abs(view.image.numpy() - image).max() > 0.01


def test_the_same_seed_draws_the_same_patch():
    image, label = volume(9, 30, 30), np.zeros((9, 30, 30), np.uint8)
    label[4, 10:20, 10:20] = 1
    views = []
    for _ in range(2):
        torch.manual_seed(3)
        views.append(VolumeAugmentation((8, 16, 16), flips=(False, True, True))(image, label))
    assert (views[0].image == views[1].image).all() and (views[0].label == views[1].label).all()


def test_settings_that_make_no_sense_are_refused():
    for wrong in ({"patch": (4,)}, {"patch": (4, 0)}, {"patch": (4, 4), "flips": (True,)}, {"patch": (4, 4), "scale": (1.2, 0.8)}):
        with pytest.raises(SettingsError, match="change these settings"):
            VolumeAugmentation(**wrong)
    with pytest.raises(ShapeError, match="as many sides as axes"):
        VolumeAugmentation((4, 4))(volume(4, 4, 4))
