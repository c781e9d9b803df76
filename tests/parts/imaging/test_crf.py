from __future__ import annotations

import runpy
import time
from pathlib import Path

import numpy as np
import pytest

from smidgen.parts.imaging.crf import DenseCrf, Kernel, energies_of, energies_of_label

ORACLE = runpy.run_path(str(Path(__file__).with_name("pydensecrf_values.py")))
ANSWERS, CASES, asked = ORACLE["ANSWERS"], ORACLE["CASES"], ORACLE["asked"]
TWO = [Kernel(3.0, 3.0), Kernel(4.0, 30.0, 10 / 255)]


def scaled(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image.transpose(2, 0, 1)).astype(np.float32) / 255


def probs(seed: int, classes: int, height: int, width: int) -> np.ndarray:
    found = np.random.default_rng(seed).random((classes, height, width)).astype(np.float32) + 0.05
    return found / found.sum(axis=0)


def brute(image: np.ndarray, kernels: list[Kernel], energies: np.ndarray, iterations: int) -> np.ndarray:
    """Algorithm 1 as it stands, with every pair of pixels and exact Gaussians."""
    ties = []
    for kernel in kernels:
        features = kernel.features(image).astype(np.float64)
        pairs = np.exp(-((features[:, :, None] - features[:, None]) ** 2).sum(axis=0) / 2)
        root = 1 / np.sqrt(pairs.sum(axis=1))
        ties.append(kernel.weight * root[:, None] * pairs * root)
    own = -energies.reshape(len(energies), -1).astype(np.float64)
    now = np.exp(own) / np.exp(own).sum(axis=0)
    for _ in range(iterations):
        logits = own + now @ sum(ties)
        now = np.exp(logits - logits.max(axis=0))
        now /= now.sum(axis=0)
    return now.reshape(energies.shape)


@pytest.mark.parametrize("name", CASES)
def test_it_finds_what_pydensecrf_finds(name):
    height, width, classes, rounds, near, color = CASES[name]
    image, energies = asked(height, width, classes)
    crf = DenseCrf.of(scaled(image), [Kernel(*near), Kernel(*color[:2], color[2] / 255)])
    with np.load(ANSWERS) as answers:
        expected = answers[name]
    assert np.abs(expected - np.exp(-energies)).max() > 0.2  # it had something to do
    np.testing.assert_allclose(crf.marginals(energies, rounds), expected, atol=1e-3)  # nearly all agree to 1e-5


@pytest.mark.parametrize("rounds", [1, 5])
def test_it_is_near_the_sum_over_all_pairs(rounds):
    """The lattice's kernel is an approximation: what it gets wrong is a fraction of what the CRF does."""
    y, x = np.mgrid[:5, :6]
    image = np.where(x < 3, 0.2, 0.7).astype(np.float32) * np.ones((3, 1, 1), np.float32)
    image[1] += (0.04 * y).astype(np.float32)
    given = probs(1, 3, 5, 6) + np.stack([x < 2, x > 3, y > 2]) * np.float32(0.1)
    given /= given.sum(axis=0)
    kernels = [Kernel(2.0, 1.5), Kernel(3.0, 3.0, 0.2)]
    found = DenseCrf.of(image, kernels).marginals(energies_of(given), rounds)
    exact = brute(image, kernels, energies_of(given), rounds)
    moved, wrong = np.abs(exact - given), np.abs(found - exact)
    assert moved.mean() > 0.05 and wrong.max() < 0.05
    assert wrong.mean() < 0.1 * moved.mean()


def test_without_rounds_or_weights_a_pixel_says_what_it_says():
    given = probs(0, 4, 9, 7)
    image = np.random.default_rng(1).random((3, 9, 7)).astype(np.float32)
    np.testing.assert_allclose(DenseCrf.of(image, TWO).marginals(energies_of(given), 0), given, atol=1e-6)
    np.testing.assert_allclose(
        DenseCrf.of(image, [Kernel(0.0, 3.0), Kernel(0.0, 3.0, 0.1)]).marginals(energies_of(given), 3), given, atol=1e-6
    )


def test_marginals_are_probabilities():
    image = np.random.default_rng(1).random((3, 11, 13)).astype(np.float32)
    found = DenseCrf.of(image, [Kernel(300.0, 3.0), Kernel(500.0, 40.0, 0.1)]).marginals(energies_of(probs(2, 5, 11, 13)), 10)
    assert found.shape == (5, 11, 13) and found.dtype == np.float32
    assert found.min() >= 0
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-5)


def test_threads_share_the_classes_and_change_no_bit():
    rng = np.random.default_rng(5)
    image = rng.random((3, 20, 24)).astype(np.float32)
    energies = energies_of(rng.dirichlet(np.ones(9), (20, 24)).transpose(2, 0, 1).astype(np.float32))
    kernels = (Kernel(3.0, 3.0), Kernel(4.0, 20.0, 0.05))
    alone = DenseCrf.of(image, kernels).marginals(energies, 4)
    assert (DenseCrf.of(image, kernels, threads=2).marginals(energies, 4, threads=2) == alone).all()
    assert (
        DenseCrf.of(image, kernels, threads=8).marginals(energies[:3], 4, threads=8)
        == DenseCrf.of(image, kernels).marginals(energies[:3], 4)
    ).all()


def test_the_order_of_the_classes_does_not_matter():
    image, given = np.random.default_rng(1).random((3, 11, 13)).astype(np.float32), energies_of(probs(2, 4, 11, 13))
    crf, order = DenseCrf.of(image, TWO), [2, 0, 3, 1]
    np.testing.assert_allclose(crf.marginals(given[order], 5), crf.marginals(given, 5)[order], atol=1e-5)


def test_on_one_color_only_distance_counts():
    """A constant image: color says nothing, so both kernels of the same width agree, and an even field stays even."""
    image = np.full((3, 16, 16), 0.4, np.float32)
    even = np.stack([np.full((16, 16), 0.7, np.float32), np.full((16, 16), 0.3, np.float32)])
    found = DenseCrf.of(image, TWO).marginals(energies_of(even), 10)
    assert (found[0] > 0.9).all()
    given = energies_of(probs(5, 3, 16, 16))
    with_color, without = (DenseCrf.of(image, [Kernel(4.0, 2.0, color)]).marginals(given, 3) for color in (0.1, None))
    assert np.abs(with_color - without).max() < 0.05  # two lattices cut the same plane in different ways
    assert np.abs(without - np.exp(-given)).max() > 0.15


def test_the_label_snaps_to_the_edge_of_colors():
    """Two colors meet at column 20; the evidence changes at column 16 and is noisy: what is found ends at the color."""
    rng = np.random.default_rng(0)
    image = np.where(np.arange(40) < 20, 0.2, 0.6)[None, None].repeat(30, 1).repeat(3, 0) + rng.normal(0, 0.01, (3, 30, 40))
    left = np.where(np.arange(40) < 16, 0.65, 0.35)[None].repeat(30, 0) + rng.uniform(-0.3, 0.3, (30, 40))
    given = np.stack([left, 1 - left]).clip(0.01, 0.99).astype(np.float32)
    assert 0.05 < (given.argmax(axis=0) != (np.arange(40) >= 20)).mean() < 0.4
    found = DenseCrf.of(image.astype(np.float32), [Kernel(1.0, 2.0), Kernel(5.0, 40.0, 20 / 255)]).marginals(energies_of(given), 10)
    np.testing.assert_array_equal(found.argmax(axis=0), (np.arange(40) >= 20)[None].repeat(30, 0))


def test_gray_counts_as_its_copy_in_three_channels():
    rng = np.random.default_rng(0)
    gray, given = rng.random((1, 24, 24)).astype(np.float32), energies_of(probs(1, 2, 24, 24))
    kernel = Kernel(3.0, 10.0, 0.2)
    three = kernel.features(gray.repeat(3, 0))
    one = kernel.features(gray)
    assert one.shape == (3, 576) and three.shape == (5, 576)
    np.testing.assert_allclose(((three[:, 7] - three[:, 300]) ** 2).sum(), ((one[:, 7] - one[:, 300]) ** 2).sum(), rtol=1e-4)
    same = DenseCrf.of(gray, [kernel]).marginals(given, 5).argmax(0) == DenseCrf.of(gray.repeat(3, 0), [kernel]).marginals(given, 5).argmax(
        0
    )
    assert same.mean() > 0.95


@pytest.mark.parametrize("channels", [2, 12])
def test_any_number_of_channels(channels):
    image = np.random.default_rng(0).random((channels, 12, 10)).astype(np.float32)
    image[:, :, 5:] += 2
    given = probs(1, 2, 12, 10)
    given[0, :, :5] += 0.5
    found = DenseCrf.of(image, [Kernel(6.0, 20.0, 0.5)]).marginals(energies_of(given / given.sum(0)), 5)
    assert (found.argmax(0)[:, :5] == 0).all()


def test_energies_of_a_label():
    label = np.array([[0, 2, 255]], np.uint8)
    found = np.exp(-energies_of_label(label, 3, 0.7))
    np.testing.assert_allclose(found[:, 0].T, [[0.7, 0.15, 0.15], [0.15, 0.15, 0.7], [1 / 3, 1 / 3, 1 / 3]], atol=1e-6)
    np.testing.assert_allclose(energies_of(np.zeros((1, 1, 1), np.float32)), -np.log(1e-5), rtol=1e-6)


@pytest.mark.slow
def test_a_photo_takes_less_than_a_second_or_two():
    """21 classes on 375 x 500 pixels, 10 rounds, the lattice included: 0.6 s where it was measured, on one core."""
    image, energies = asked(375, 500, 21)
    started = time.process_time()
    DenseCrf.of(scaled(image), [Kernel(3.0, 3.0), Kernel(4.0, 80.0, 13 / 255)]).marginals(energies, 10)
    assert time.process_time() - started < 4
