from __future__ import annotations

import numpy as np
import pytest

from smidgen.core.errors import SettingsError, ShapeError
from smidgen.products.windows import _starts, gaussian, sliding, whole

SHAPES = [
    ((40, 33), 16),
    ((16, 16), 16),
    ((5, 40), 16),
    ((7, 3), 16),
    ((17, 100), (8, 32)),
    ((12, 20, 9), 8),
    ((4, 5, 6), (8, 4, 3)),
    ((1, 1), 1),
]


def softmax(image):
    odds = np.exp(np.stack([image[0], 1 - image[0], image[0] ** 2]))
    return (odds / odds.sum(axis=0)).astype(np.float32)


def positional(window):
    """Depends on where in the window a pixel lies, so that blending matters."""
    ramp = np.broadcast_to(np.linspace(0.1, 0.9, window.shape[-1], dtype=np.float32), window.shape[1:])
    return np.stack([ramp, 1 - ramp])


def slowly(predict, image, window, overlap):
    """All windows into one weighted sum, with no strips and no running mean."""
    space = image.shape[1:]
    sides = (window,) * len(space) if isinstance(window, int) else window
    grown = np.pad(image, [(0, 0), *((0, max(0, s - n)) for n, s in zip(space, sides, strict=True))], mode="symmetric")
    axes = []
    for n, s in zip(grown.shape[1:], sides, strict=True):
        gaps, step = 0, max(1, int(round(s * (1 - overlap), 6)))
        while gaps * s < n - s or (gaps + 0.25) * step < n - s:
            gaps += 1
        axes.append(sorted({round(i * (n - s) / max(1, gaps)) for i in range(gaps + 1)}))
    total, weights = 0.0, np.zeros(grown.shape[1:])
    for index in np.ndindex(*map(len, axes)):
        place = tuple(slice(axis[i], axis[i] + s) for axis, i, s in zip(axes, index, sides, strict=True))
        probs = predict(grown[(slice(None), *place)])
        if isinstance(total, float):
            total = np.zeros((len(probs), *grown.shape[1:]))
        total[(slice(None), *place)] += probs * gaussian(sides)
        weights[place] += gaussian(sides)
    return (total / weights)[(slice(None), *map(slice, space))]


@pytest.mark.parametrize(("shape", "window"), SHAPES)
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.8])
def test_a_constant_is_returned_exactly(shape, window, overlap):
    constant = np.array([0.1, 0.7, 0.2], np.float32)
    probs = whole(
        lambda w: np.broadcast_to(constant.reshape(-1, *(1,) * (w.ndim - 1)), (3, *w.shape[1:])),
        np.zeros((1, *shape), np.float32),
        window,
        overlap,
    )
    assert probs.shape == (3, *shape)
    assert (probs == constant.reshape(-1, *(1,) * len(shape))).all()


@pytest.mark.parametrize(("shape", "window"), SHAPES)
def test_a_pixelwise_predictor_gives_what_it_gives_directly(shape, window):
    image = np.random.default_rng(0).random((2, *shape), dtype=np.float32)
    probs = whole(softmax, image, window)
    np.testing.assert_allclose(probs, softmax(image), atol=1e-6)
    np.testing.assert_allclose(probs.sum(axis=0), 1, atol=1e-6)


@pytest.mark.parametrize(("shape", "window"), SHAPES)
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.8])
def test_strips_blend_as_one_slow_sum_does(shape, window, overlap):
    image = np.random.default_rng(1).random((1, *shape), dtype=np.float32)
    np.testing.assert_allclose(whole(positional, image, window, overlap), slowly(positional, image, window, overlap), atol=1e-6)


def test_strips_are_never_deeper_than_a_window_and_come_early():
    seen = []

    def predict(window):
        seen.append(window.shape)
        return softmax(window)

    strips = sliding(predict, np.zeros((1, 100, 20), np.float32), 16)
    first = next(strips)
    assert len(seen) == 2 and first.shape == (3, 8, 20)
    depths = [first.shape[1], *(strip.shape[1] for strip in strips)]
    assert sum(depths) == 100 and max(depths) <= 16
    assert set(seen) == {(1, 16, 16)}


def test_only_windows_of_the_image_are_read():
    cuts = []

    class Watched(np.ndarray):
        def __getitem__(self, at):
            cuts.append(at)
            return super().__getitem__(at)

    image = np.zeros((1, 64, 8), np.float32).view(Watched)
    assert sum(strip.shape[1] for strip in sliding(softmax, image, 16)) == 64
    read = [at for at in cuts if isinstance(at, tuple) and isinstance(at[-1], slice)]
    assert read and all(at[1].stop - at[1].start == 16 for at in read if at[1].stop is not None)


def test_weights_are_highest_in_the_center_and_nowhere_lost():
    weight = gaussian((9, 5, 7))
    assert weight[4, 2, 3] == 1 == weight.max()
    assert weight.min() == np.float32(1e-3)
    np.testing.assert_array_equal(weight, weight[::-1, ::-1, ::-1])
    assert gaussian((17,))[8 + 2] == pytest.approx(np.exp(-0.5 * (2 / (17 / 8)) ** 2))


def test_what_makes_no_sense_is_refused():
    image = np.zeros((1, 8, 8), np.float32)
    with pytest.raises(SettingsError, match="overlap"):
        whole(softmax, image, 4, 1.0)
    with pytest.raises(SettingsError, match="window"):
        whole(softmax, image, 0)
    with pytest.raises(ShapeError, match="spatial axes"):
        whole(softmax, image, (4, 4, 4))
    with pytest.raises(ShapeError, match="keep the size"):
        whole(lambda window: window[:, :2], image, 4)
    with pytest.raises(ShapeError, match="holds nothing"):
        whole(softmax, image[:, :0], 4)


def test_windows_are_spread_evenly_and_one_is_saved_where_little_is_lost():
    seen = []
    whole(lambda w: seen.append(w.shape) or softmax(w), np.zeros((1, 88, 208, 176), np.float32), (80, 112, 112))
    assert len(seen) == 2 * 3 * 2  # the axis of 176 takes 2 windows whose overlap is .43, and not 3 of which two are nearly the same
    for n, side, overlap in [(176, 112, 0.5), (100, 10, 0.0), (23, 10, 0.0), (1000, 37, 0.3), (25, 10, 0.9)]:
        starts = _starts(n, side, overlap)
        assert starts[0] == 0 and starts[-1] == n - side
        assert max(np.diff(starts)) <= min(side, 1.25 * side * (1 - overlap) + 1)


def test_an_overlap_that_has_no_exact_binary_fraction_loses_no_place():
    assert _starts(30, 10, 0.8) == list(range(0, 21, 2))  # 10 * (1 - 0.8) is 1.9999999999999996


def test_the_strides_of_the_papers_atria_are_an_overlap_per_axis():
    """Windows of 112 x 112 x 80 by strides of 18, 18 and 4 over 176 x 208 x 88 voxels."""
    axes = [_starts(n, side, 1 - stride / side) for n, side, stride in ((176, 112, 18), (208, 112, 18), (88, 80, 4))]
    assert [len(axis) for axis in axes] == [5, 7, 3]  # 105 windows
    assert all(axis[0] == 0 and axis[-1] + side == n for axis, n, side in zip(axes, (176, 208, 88), (112, 112, 80), strict=True))


@pytest.mark.parametrize("together", [1, 3, 100])
def test_stacks_of_windows_give_the_same_as_single_ones(together):
    image = np.random.default_rng(2).random((1, 9, 20, 30), dtype=np.float32)
    sizes = []

    def stacked(windows):
        sizes.append(len(windows))
        return np.stack([positional(window) for window in windows])

    np.testing.assert_array_equal(whole(stacked, image, (4, 8, 8), together=together), whole(positional, image, (4, 8, 8)))
    assert max(sizes) <= together and (together == 1 or max(sizes) > 1)


@pytest.mark.parametrize("shape", [(9, 20, 30), (20, 30), (3, 5, 9)])
def test_a_band_of_rows_is_the_same_as_these_rows_of_the_whole(shape):
    image = np.random.default_rng(3).random((1, *shape), dtype=np.float32)
    window = (4, 8, 8)[-len(shape) :]
    everything = whole(positional, image, window)
    for low, high in [(0, 3), (2, 5), (shape[1] // 2, shape[1])]:
        band = np.concatenate(list(sliding(positional, image, window, rows=slice(low, high))), axis=1)
        np.testing.assert_array_equal(band, everything[:, :, low:high])
