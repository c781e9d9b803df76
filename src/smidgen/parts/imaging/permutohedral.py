"""Permutohedral lattice (Adams, Baek & Davis, Eurographics 2010): sums over all pairs of points, weighted by a Gaussian of their distance.

Reading order: Lattice.of (simplices, distinct, neighbors), Lattice.summed. Nothing is learned here, and nothing needs torch.
A point of d features gives its value to the d + 1 corners of the simplex around it (splat), corners that are neighbors share what they have
(blur), and the point reads from its corners again (slice). Each of the three is a sparse matrix, made once for any number of values.
Scale, order of the axes, rounding and single precision are those of Krähenbühl & Koltun's code (NIPS 2011), so that its numbers come out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod, sqrt

import numpy as np
from jaxtyping import Float32, Int, Int32, Int64
from scipy.sparse import csr_array

SPREAD = 1 << 62
"""Keys of corners have to be smaller than this to tell any two apart for certain."""
ODD = np.random.default_rng(2010).integers(1, 1 << 62, 256, dtype=np.int64) * 2 + 1
"""What coordinates are multiplied with where they are too many for SPREAD: a hash; two of a million corners fall together once in 10^7."""


@dataclass(frozen=True)
class Lattice:
    """The corners around a set of points, and who is whose neighbor.

    Args:
        corners: The corners of each point's simplex, as rows of the lattice.
        shares: How near the point is to each of them; they sum to 1.
        blurs: Per axis of the lattice: a corner and half of its two neighbors.
    """

    corners: Int32[np.ndarray, "n s"]
    shares: Float32[np.ndarray, "n s"]
    blurs: tuple[csr_array, ...]

    @classmethod
    def of(cls, features: Float32[np.ndarray, "d n"]) -> Lattice:
        """The lattice around points.

        Args:
            features: Coordinates of the points, in standard deviations of the Gaussian.
        """
        lowest, ranks, shares = simplices(features)
        # Many points share a simplex: what is done per simplex costs less than what is done per point.
        first, simplex = distinct(_packed(np.concatenate([lowest[:-1], ranks[:-1]])))
        keys, steps = _corner_keys(lowest[:-1, first], ranks[:-1, first])
        named, corner = distinct(keys.ravel())
        corners = corner.astype(np.int32).reshape(keys.shape).T[simplex]
        blurs = tuple(_blur(len(named), *neighbors(keys.ravel()[named], step)) for step in steps)
        return cls(corners, np.ascontiguousarray(shares.T), blurs)

    @property
    def size(self) -> int:
        """Number of corners."""
        return len(self.blurs[0].indptr) - 1

    @property
    def scale(self) -> float:
        """What sums come out too large by: blurring along d + 1 axes gives more than one pass of a Gaussian (Adams et al.)."""
        return 1 / (1 + 2.0 ** (1 - self.corners.shape[1]))

    def blurred(self, values: Float32[np.ndarray, "m k"]) -> Float32[np.ndarray, "m k"]:
        """Values of the corners after the pass of the Gaussian."""
        for blur in self.blurs:
            values = blur @ values
        return values

    def summed(self, values: Float32[np.ndarray, "n k"]) -> Float32[np.ndarray, "n k"]:
        """Σ over all points j, i itself included, of exp(-|f_i - f_j|² / 2) values_j, approximately.

        The kernel is a little wider than a Gaussian, and passes only where there are corners.
        """
        read = gathering([self.corners], [self.shares], self.size)
        sums: np.ndarray = read @ self.blurred(read.T.tocsr() @ values)
        return sums * np.float32(self.scale)


def gathering(corners: Sequence[Int32[np.ndarray, "n _"]], shares: Sequence[Float32[np.ndarray, "n _"]], size: int) -> csr_array:
    """The matrix that reads values of points from corners (slice); its transpose gives them to the corners (splat).

    Args:
        corners: Of one or more lattices, as rows of all corners together.
        shares: Belonging to them.
        size: Number of all corners.
    """
    columns, data = np.concatenate(corners, axis=1), np.concatenate(shares, axis=1)
    starts = np.arange(0, columns.size + 1, columns.shape[1], dtype=np.int32)
    return csr_array((data.ravel(), columns.ravel(), starts), shape=(len(columns), size))


def simplices(
    features: Float32[np.ndarray, "d n"],
) -> tuple[Int32[np.ndarray, "s n"], Int[np.ndarray, "s n"], Float32[np.ndarray, "s n"]]:
    """The simplex around each point.

    Source: Adams et al., section 3; Krähenbühl & Koltun's code for the scale.

    Returns:
        The corner of color 0, in units of s = d + 1; the rank of each coordinate's distance from it (0 = farthest above); the share of each
        corner, by color.
    """
    elevated = _elevated(features)
    s = np.float32(len(elevated))
    nearest = np.rint(elevated * (1 / s))
    above = elevated - nearest * s
    ranks = np.zeros(elevated.shape, np.int8)
    for i in range(len(above)):
        for j in range(i + 1, len(above)):
            less = above[i] < above[j]
            ranks[i] += less
            ranks[j] += ~less
    # Rounding may have left the plane on which coordinates sum to 0: those that were rounded farthest go back by one.
    lowest = nearest.astype(np.int32)
    ranks += lowest.sum(axis=0).astype(np.int8)
    back = (ranks < 0).astype(np.int8) - (ranks >= len(above)).astype(np.int8)
    ranks += back * np.int8(len(above))
    lowest += back
    above = (elevated - lowest.astype(np.float32) * s) * (1 / s)
    inorder = np.empty_like(above)
    np.put_along_axis(inorder, ranks.astype(np.intp), above, axis=0)
    shares = np.concatenate([1 + inorder[-1:] - inorder[:1], inorder[-2::-1] - inorder[:0:-1]])
    return lowest, ranks, shares


def _elevated(features: Float32[np.ndarray, "d n"]) -> Float32[np.ndarray, "s n"]:
    """The points on the plane of the lattice: coordinates that sum to 0."""
    d = len(features)
    deviation = sqrt(2 / 3) * (d + 1)
    elevated = np.empty((d + 1, features.shape[1]), np.float32)
    total = np.zeros(features.shape[1], np.float32)
    for j in range(d, 0, -1):
        scaled = features[j - 1] * np.float32(deviation / sqrt(j * (j + 1)))
        elevated[j] = total - np.float32(j) * scaled
        total += scaled
    elevated[0] = total
    return elevated


def _corner_keys(lowest: Int32[np.ndarray, "d n"], ranks: Int[np.ndarray, "d n"]) -> tuple[Int64[np.ndarray, "s n"], list[int]]:
    """A number for each corner of each simplex, and what it differs by from that of the neighbor along each axis."""
    s = len(lowest) + 1
    base = lowest.astype(np.int64) * s
    weights = _weights(base.min(axis=1) - 2 * s, base.max(axis=1) + 2 * s)
    start = _weighted(base, weights)
    # The corner of color r: all coordinates r higher, but those of the r highest ranks are s lower for it.
    keys = np.stack([start + _weighted(color - s * (ranks >= s - color).astype(np.int64), weights) for color in range(s)])
    down = [-1] * (s - 1)
    steps = [[*down[:axis], s - 1, *down[axis + 1 :]] for axis in range(s - 1)] + [down]
    return keys, [int(_weighted(np.array(step)[:, None], weights)[0]) for step in steps]


def _packed(coordinates: Int[np.ndarray, "d n"]) -> Int64[np.ndarray, " n"]:
    """One number for each column."""
    return _weighted(coordinates.astype(np.int64), _weights(coordinates.min(axis=1), coordinates.max(axis=1)))


def _weights(low: Int[np.ndarray, " d"], high: Int[np.ndarray, " d"]) -> Int64[np.ndarray, " d"]:
    """Factors of coordinates within these limits that make one number of them: places of a number where they fit, else a hash."""
    sides = [int(b) - int(a) + 1 for a, b in zip(low, high, strict=True)]
    if prod(sides) < SPREAD:
        return np.array([prod(sides[:i]) for i in range(len(sides))], np.int64)
    return ODD[: len(sides)]


def _weighted(coordinates: Int64[np.ndarray, "d n"], weights: Int64[np.ndarray, " d"]) -> Int64[np.ndarray, " n"]:
    total = np.zeros(coordinates.shape[1], np.int64)
    for row, weight in zip(coordinates, weights, strict=True):
        total += row * weight  # wraps around where it is a hash
    return total


def distinct(keys: Int64[np.ndarray, " n"]) -> tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " n"]]:
    """Where each distinct key stands (ascending by key), and which of them each is. As np.unique, which takes twice the time."""
    order = keys.argsort()
    inorder = keys[order]
    new = np.ones(len(keys), bool)
    np.not_equal(inorder[1:], inorder[:-1], out=new[1:])
    which = np.empty(len(keys), np.int64)
    which[order] = np.cumsum(new) - 1
    return order[new], which


def neighbors(keys: Int64[np.ndarray, " m"], step: int) -> tuple[Int32[np.ndarray, " e"], Int32[np.ndarray, " e"]]:
    """All pairs of corners that are one step apart, as rows: from, to.

    Args:
        keys: Ascending.
        step: Difference of two neighbors' keys along an axis.
    """
    wanted = keys + np.int64(step)
    at = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    found = np.flatnonzero(keys[at] == wanted)
    return found.astype(np.int32), at[found].astype(np.int32)


def _blur(size: int, one: Int32[np.ndarray, " e"], other: Int32[np.ndarray, " e"]) -> csr_array:
    """A corner and half of both its neighbors along an axis; one that is missing counts as empty."""
    columns = np.arange(size, dtype=np.int32)[:, None].repeat(3, axis=1)
    data = np.zeros((size, 3), np.float32)
    data[:, 0] = 1
    columns[one, 1], data[one, 1] = other, 0.5
    columns[other, 2], data[other, 2] = one, 0.5
    return csr_array((data.ravel(), columns.ravel(), np.arange(0, 3 * size + 1, 3, dtype=np.int32)), shape=(size, size))
