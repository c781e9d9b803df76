from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from smidgen.core.errors import SettingsError
from smidgen.data.transforms import Augmentation, colored, shrinking
from smidgen.products.sample import IGNORED


def scene(h: int, w: int, channels: int = 3, classes: int = 3, cell: int = 4):
    """Blocks of one class each; the first channel holds label / 10, so image and label can be compared after any move."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, classes, (h // cell + 1, w // cell + 1))
    label = np.kron(blocks, np.ones((cell, cell)))[:h, :w].astype(np.uint8)
    return np.repeat((label / 10).astype(np.float32)[None], channels, axis=0), label


@pytest.mark.parametrize("size", [(20, 31), (7, 64), (33, 33), (1, 1)])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_any_image_gives_a_square_view_without_invented_classes(size, channels):
    image, label = scene(*size, channels=channels)
    augment = Augmentation(crop=24, scale=(0.5, 2.0), flip=True, color=0.4)
    for seed in range(10):
        torch.manual_seed(seed)
        view = augment(image, label, np.full(size, 0.25, np.float32))
        assert view.image.shape == (channels, 24, 24)
        assert set(view.label.unique().tolist()) <= {*np.unique(label).tolist(), IGNORED}
        assert view.image.min() >= 0 and view.image.max() <= 1
        assert set(view.confidence.unique().tolist()) <= {0.0, 0.25}
        assert torch.equal(view.confidence == 0, view.label == IGNORED)


def test_image_label_and_confidence_move_together():
    image, label = scene(40, 50, cell=10)
    for seed in range(20):
        torch.manual_seed(seed)
        view = Augmentation(crop=24, scale=(0.5, 2.0), flip=True)(image, label, label.astype(np.float32) / 10)
        seen = view.label != IGNORED
        assert torch.equal((view.confidence[seen] * 10).round().to(torch.uint8), view.label[seen])
        # away from block borders, where bilinear mixes, the image holds the class of the same pixel
        agree = ((view.image[0][seen] * 10).round().to(torch.uint8) == view.label[seen]).float().mean()
        assert agree > 0.8


def test_without_randomness_the_image_itself_is_returned():
    image, label = scene(24, 24)
    view = Augmentation(crop=24)(image, label)
    np.testing.assert_array_equal(view.image.numpy(), image)
    np.testing.assert_array_equal(view.label.numpy(), label)
    assert view.confidence is None


def test_what_lies_outside_is_the_mean_color_and_ignored():
    image, label = scene(8, 8)
    torch.manual_seed(3)
    view = Augmentation(crop=16)(image, label)
    outside = view.label == IGNORED
    assert int(outside.sum()) == 16 * 16 - 8 * 8
    torch.testing.assert_close(view.image[:, outside], torch.full((3, int(outside.sum())), float(image.mean())))


def test_flip_mirrors_half_of_the_views():
    label = np.array([[0, 1], [0, 1]], np.uint8)
    image = np.zeros((3, 2, 2), np.float32)
    torch.manual_seed(0)
    firsts = [int(Augmentation(crop=2, flip=True)(image, label).label[0, 0]) for _ in range(400)]
    assert 160 < sum(firsts) < 240


def test_a_crop_looks_for_labeled_pixels():
    label = np.full((64, 64), IGNORED, np.uint8)
    label[:32] = 1
    image = np.zeros((1, 64, 64), np.float32)
    torch.manual_seed(0)
    empty = sum(bool((Augmentation(crop=8)(image, label).label == IGNORED).all()) for _ in range(200))
    assert empty < 20  # half of all crops are empty, of five in a row one in 32
    nothing = np.full((64, 64), IGNORED, np.uint8)
    assert (Augmentation(crop=8)(image, nothing).label == IGNORED).all()


def test_larger_images_are_shrunk_first_and_smaller_ones_are_not():
    assert shrinking((100, 50), 50) == 0.5
    assert shrinking((20, 50), 50) == shrinking((20, 10), 50) == shrinking((999, 10), 0) == 1
    image, label = scene(64, 32, cell=16)
    view = Augmentation(crop=32, size=32)(image, label)
    assert int((view.label != IGNORED).sum()) == 32 * 16


def test_color_changes_are_as_strong_as_said():
    torch.manual_seed(0)
    gray = torch.full((3, 4, 4), 0.5)
    means = torch.tensor([float(colored(gray, 0.2).mean()) for _ in range(100)])
    assert means.min() >= 0.4 - 1e-6 and means.max() <= 0.6 + 1e-6 and means.std() > 0.02


def test_the_same_seed_gives_the_same_view():
    image, label = scene(40, 30)
    augment = Augmentation(crop=16, scale=(0.5, 2.0), flip=True, color=0.4)
    views = []
    for _ in range(2):
        torch.manual_seed(5)
        views.append(augment(image, label))
    assert torch.equal(views[0].image, views[1].image) and torch.equal(views[0].label, views[1].label)


@pytest.mark.parametrize("wrong", [{"crop": 0}, {"crop": 8, "scale": (2.0, 1.0)}, {"crop": 8, "color": 2.0}, {"crop": 8, "size": -1}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(SettingsError, match="expected"):
        Augmentation(**wrong)


def test_a_view_takes_few_milliseconds():
    torch.set_num_threads(1)
    image, label = scene(384, 384)
    augment = Augmentation(crop=320, scale=(0.5, 2.0), flip=True, color=0.4)
    augment(image, label)
    seconds = []
    for _ in range(10):
        begun = time.process_time()
        augment(image, label)
        seconds.append(time.process_time() - begun)
    assert np.median(seconds) < 0.03  # 8 ms on a quiet machine
