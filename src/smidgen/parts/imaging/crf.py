"""Dense CRF (Krähenbühl & Koltun, NIPS 2011): a class is likelier where similar pixels, near and far, have it too.

Reading order: Kernel, DenseCrf.of, DenseCrf.marginals (algorithm 1), energies_of, energies_of_label. Nothing is learned
here, and nothing needs torch.
Differs: one sparse matrix reads the lattices of all kernels for all classes at once. It holds the symmetric normalization, so that a
round of the mean field is a few products.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8
from scipy.sparse import csr_array

from smidgen.core.conventions import IGNORED
from smidgen.parts.imaging.permutohedral import Lattice, gathering

TINY = 1e-5
"""Smallest probability whose logarithm is taken (pydensecrf)."""
SHARED = 4
"""Fewer classes than this are not worth a thread: reading the lattice is most of their cost."""
COLORS = 3
"""Number of channels for which widths of colors are meant."""


@dataclass(frozen=True)
class Kernel:
    """A Gaussian that says how alike two pixels are, and what it costs that two alike ones differ in class (Potts).

    Args:
        weight: Cost.
        width: Standard deviation of the distance in the image, in pixels.
        color: Standard deviation of the color, in units of the image; None = color does not count.
    """

    weight: float
    width: float
    color: float | None = None

    def features(self, image: Float32[np.ndarray, "c h w"]) -> Float32[np.ndarray, "d n"]:
        """Where each pixel lies for this kernel: at its place, and at its color.

        With another number of channels than three the squared difference of colors is 3/c of their sum. So a gray image is what it would be
        with its channel repeated.
        """
        channels, height, width = image.shape
        rows, columns = np.mgrid[:height, :width].astype(np.float32)
        places = np.stack([columns.ravel(), rows.ravel()]) / np.float32(self.width)
        if self.color is None:
            return places
        colors = image.reshape(channels, -1) * np.float32((COLORS / channels) ** 0.5 / self.color)
        return np.concatenate([places, colors])


@dataclass(frozen=True)
class DenseCrf:
    """What is known of an image before its classes: its pixels, tied to all others.

    Args:
        read: Values of all corners → pixels; normalized.
        give: The other way.
        lattices: One per kernel; their corners follow each other.
        weights: What each kernel's sums are multiplied with.
    """

    read: csr_array
    give: csr_array
    lattices: tuple[Lattice, ...]
    weights: tuple[float, ...]

    @classmethod
    def of(cls, image: Float32[np.ndarray, "c h w"], kernels: Sequence[Kernel], threads: int = 1) -> DenseCrf:
        """Tie the pixels of an image. With three channels and two kernels that takes up to about 800 bytes a pixel, whatever the widths.

        Args:
            image: Any number of channels; all count.
            kernels: At least one.
            threads: So many kernels are worked on at once.
        """
        with ThreadPoolExecutor(threads) as pool:
            lattices = tuple(pool.map(lambda kernel: Lattice.of(kernel.features(image)), kernels))
        starts = np.cumsum([0, *(lattice.size for lattice in lattices)]).astype(np.int32)
        corners = [lattice.corners + start for lattice, start in zip(lattices, starts, strict=False)]
        shares = [lattice.shares * _symmetric(lattice) for lattice in lattices]
        read = gathering(corners, shares, int(starts[-1]))
        weights = tuple(kernel.weight * lattice.scale for kernel, lattice in zip(kernels, lattices, strict=True))
        return cls(read, read.T.tocsr(), lattices, weights)

    def support(self, probs: Float32[np.ndarray, "n k"]) -> Float32[np.ndarray, "n k"]:
        """What the other pixels say for each class: Σ over kernels of weight · N K N probs, N the symmetric normalization."""
        given, start, parts = self.give @ probs, 0, []
        for lattice, weight in zip(self.lattices, self.weights, strict=True):
            parts.append(lattice.blurred(given[start : start + lattice.size]) * np.float32(weight))
            start += lattice.size
        return self.read @ np.concatenate(parts)

    def marginals(self, energies: Float32[np.ndarray, "k h w"], iterations: int, threads: int = 1) -> Float32[np.ndarray, "k h w"]:
        """Probability of each class at each pixel, by mean field from the energies alone.

        Source: algorithm 1; the pixel itself counts among the others, as in the authors' code.

        Args:
            energies: -log of what each pixel says of itself; at least one class.
            iterations: Rounds; 5 to 10 do.
            threads: Classes are shared out to so many, `SHARED` each at least; the numbers do not depend on it.
        """
        own = -np.ascontiguousarray(energies.reshape(len(energies), -1).T)
        probs, shares = _softmax(own.copy()), max(1, min(threads, len(energies) // SHARED))
        with ThreadPoolExecutor(shares) as pool:
            for _ in range(iterations):
                if shares == 1:
                    heard = self.support(probs)
                else:
                    heard = np.concatenate(list(pool.map(self.support, np.array_split(probs, shares, axis=1))), axis=1)
                heard += own
                probs = _softmax(heard)
        return np.ascontiguousarray(probs.T).reshape(energies.shape)


def _symmetric(lattice: Lattice) -> Float32[np.ndarray, "n 1"]:
    """1 / √(sum of the kernel): a pixel with many like it neither speaks nor hears more than one with few."""
    return 1 / np.sqrt(lattice.summed(np.ones((len(lattice.corners), 1), np.float32)) + np.float32(1e-20))


def _softmax(logits: Float32[np.ndarray, "n k"]) -> Float32[np.ndarray, "n k"]:
    """Shares of exponentials; overwrites what it was given."""
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits


def energies_of(probs: Float32[np.ndarray, "k h w"]) -> Float32[np.ndarray, "k h w"]:
    """-log of probabilities, which are taken to be at least 1e-5."""
    return -np.log(np.maximum(probs, np.float32(TINY)))


def energies_of_label(label: UInt8[np.ndarray, "h w"], classes: int, certainty: float) -> Float32[np.ndarray, "k h w"]:
    """Energies of a label that is right with a certain probability; the other classes share the rest.

    Args:
        label: Class indices below `classes`; 255 = not known: all are equally likely.
        classes: Number of classes, k; with one there is nothing to be wrong about.
        certainty: Above 1 / k and below 1; IRN: 0.7.
    """
    rest = (1 - certainty) / max(classes - 1, 1)
    probs = np.where(label == np.arange(classes, dtype=np.uint8)[:, None, None], np.float32(certainty), np.float32(rest))
    probs[:, label == IGNORED] = 1 / classes
    return energies_of(probs)
