"""Random walk of class evidence over an image, held back by edges (PSA, Ahn & Kwak, CVPR 2018; IRN, Ahn et al., CVPR 2019).

Reading order: paths (who is whose neighbor), affinities, transition, walk. Nothing is learned here, and nothing needs torch.
Differs: the power of the transition matrix is never formed. What it does to a map is a sum of Chebyshev polynomials, of which the first
dozens are all that counts (Sachdeva & Vishnoi, Faster Algorithms via Approximation Theory, 2014): 256 steps at the cost of about 85.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb

import numpy as np
from jaxtyping import Float
from scipy.sparse import dia_array

Window = tuple[slice, slice]


@dataclass(frozen=True)
class Path:
    """The straight line from a place to one of its neighbors.

    Args:
        offset: Rows and columns from the first end to the second.
        places: All places closer than 1 to the line between both ends, as offsets from the first end; both ends are among them.
    """

    offset: tuple[int, int]
    places: tuple[tuple[int, int], ...]

    def windows(self, size: tuple[int, int]) -> Iterator[Window]:
        """Where in a map each of `places` lies, for all pairs whose two ends are inside: equal parts of the map, shifted.

        Args:
            size: Height and width of the map.
        """
        return (self.window(size, place) for place in self.places)

    def window(self, size: tuple[int, int], place: tuple[int, int]) -> Window:
        """The part of a map in which the pairs have this place of their path; the map is larger than the offset."""
        (down, right), (height, width) = self.offset, size
        top, left = place[0], max(0, -right) + place[1]
        return slice(top, top + height - down), slice(left, left + width - abs(right))

    def fits(self, size: tuple[int, int]) -> bool:
        """Whether any two places of a map are so far apart."""
        return self.offset[0] < size[0] and abs(self.offset[1]) < size[1]


@lru_cache
def paths(radius: int) -> tuple[Path, ...]:
    """Paths to all neighbors closer than `radius`, in places of the map; of two opposite neighbors the lower (or right) one.

    IRN learns with radius 10 (152 paths) and walks with radius 5 (34).
    """
    rows, columns = range(radius), range(1 - radius, radius)
    offsets = [(y, x) for y in rows for x in columns if (y > 0 or x > 0) and x * x + y * y < radius * radius]
    return tuple(Path(offset, _between(offset)) for offset in offsets)


def _between(offset: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    # Whatever is closer than 1 to the segment lies in its bounding box, and there the distance to the segment is the one to the line.
    down, right = offset
    box = [(y, x) for y in range(down + 1) for x in range(min(0, right), max(0, right) + 1)]
    return tuple((y, x) for y, x in box if (down * x - right * y) ** 2 < down * down + right * right)


def affinities(edges: Float[np.ndarray, "h w"], path: Path) -> Float[np.ndarray, "i j"]:
    """1 - the strongest edge on the path, for all pairs that have this offset; indexed by the first end, from its first possible place on.

    Source: IRN.

    Args:
        edges: In [0, 1]; 1 = nothing passes.
        path: The line between two ends.
    """
    windows = path.windows((edges.shape[0], edges.shape[1]))
    strongest = edges[next(windows)].copy()
    for window in windows:
        np.maximum(strongest, edges[window], out=strongest)
    return 1 - strongest


def transition(edges: Float[np.ndarray, "h w"], radius: int, sharpness: float) -> dia_array:
    """One step of the walk as a matrix P: P @ map. Rows sum to 1; it is the transpose of IRN's, whose columns do.

    A place becomes the average of itself and its neighbors closer than `radius`, weighted by affinity^sharpness (1 for itself).
    Source: IRN; PSA.

    Args:
        edges: In [0, 1].
        radius: How far one step leads, in places of the map.
        sharpness: Exponent β of the affinities; larger = edges hold back more.

    Returns:
        Matrix of h·w rows, stored by diagonals: seven times as fast as by rows (measured). In float64, as the rounding of a row's sum
        grows with the number of steps.
    """
    height, width = edges.shape
    diagonals: dict[int, np.ndarray] = {0: np.ones((height, width))}
    for path in (path for path in paths(radius) if path.fits((height, width))):
        weights = affinities(edges, path).astype(np.float64) ** sharpness
        shift = path.offset[0] * width + path.offset[1]
        # A diagonal is indexed by column. On maps narrower than the radius two neighbors may share one: they never meet in a place.
        for diagonal, end in ((shift, path.offset), (-shift, (0, 0))):
            values = diagonals.setdefault(diagonal, np.zeros((height, width)))
            values[path.window((height, width), end)] += weights
    shifts = sorted(diagonals)
    matrix = dia_array((np.stack([diagonals[shift].ravel() for shift in shifts]), shifts), shape=(edges.size, edges.size))
    matrix.data /= _by_column(matrix @ np.ones(edges.size), shifts)
    return matrix


def _by_column(rows: np.ndarray, shifts: Sequence[int]) -> np.ndarray:
    """A value per row, laid out as the diagonals are: by column. Ones beyond the matrix."""
    laid_out = np.ones((len(shifts), len(rows)), rows.dtype)
    for values, shift in zip(laid_out, shifts, strict=True):
        values[max(0, shift) : len(rows) + min(0, shift)] = rows[max(0, -shift) : len(rows) - max(0, shift)]
    return laid_out


def walk(maps: Float[np.ndarray, "k h w"], step: dia_array, steps: int, tolerance: float = 1e-7) -> Float[np.ndarray, "k h w"]:
    """Evidence after `steps` steps.

    Args:
        maps: Non-negative evidence per class.
        step: From `transition`, for maps of this size.
        steps: How many; IRN: 256.
        tolerance: Largest relative error, weighted by each place's ties to its neighbors; 0 = none (then each step is a term).

    Returns:
        Non-negative maps. What is constant stays so.
    """
    shares = chebyshev_shares(steps, tolerance)
    walked = [_summed(one.ravel(), step, shares).reshape(one.shape) for one in maps]
    return np.stack(walked) if walked else np.zeros_like(maps)


@lru_cache
def chebyshev_shares(steps: int, tolerance: float) -> tuple[float, ...]:
    """How much of each Chebyshev polynomial there is in x^steps, without the tail that is smaller than `tolerance`; they sum to 1.

    x^s = 2^(1-s) Σ C(s, (s-n)/2) T_n(x) over n = s, s-2, …, the term n = 0 halved. On [-1, 1], where the walk's eigenvalues lie, no T_n
    exceeds 1; so what is left out is at most its own sum.
    """
    if steps == 0:
        return (1.0,)
    whole = 2 ** (steps - 1)
    shares = [comb(steps, (steps - n) // 2) / whole if (steps - n) % 2 == 0 else 0.0 for n in range(steps + 1)]
    shares[0] /= 2
    tails = np.cumsum(shares[::-1])[::-1]
    kept = [share for share, tail in zip(shares, tails, strict=True) if tail > tolerance]
    return tuple(share / sum(kept) for share in kept)


def _summed(start: Float[np.ndarray, " n"], step: dia_array, shares: Sequence[float]) -> Float[np.ndarray, " n"]:
    """Σ shares[n] T_n(step) start, with T_n = 2 step T_(n-1) - T_(n-2)."""
    before, now = start, step @ start
    total = shares[0] * before + (shares[1] * now if len(shares) > 1 else 0)
    for share in shares[2:]:
        before, now = now, 2 * (step @ now) - before
        if share:
            total += share * now
    return np.maximum(total, 0)
