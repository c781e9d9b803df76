"""walk_cost: what a random walk of 256 steps costs as a truncated series of sparse products, against squaring the dense matrix eight times.

Both walk with the same edges on a 94 x 125 map (an image of 375 x 500 pixels) and end with the same maps. Nothing is extrapolated: the
dense way is run to its end (552 MB for the matrix, 2.6e13 FLOP).
"""

from __future__ import annotations

import time

import numpy as np
from _records import Claim, Row, measured, record

from smidgen.parts.imaging.random_walk import transition, walk

SIZE, RADIUS, SHARPNESS, SQUARINGS, CLASSES = (94, 125), 5, 10.0, 8, 2

CLAIM = Claim(
    name="walk_cost",
    claim="The walk of IRN, exact, without ever forming the power of its matrix",
    question="How long do 256 steps take for one image with two classes?",
    data="generated edges",
    split="one map of 94 x 125 places",
    metric="seconds",
    higher_is_better=False,
    paper=None,
    settings={"size": SIZE, "radius": RADIUS, "sharpness": SHARPNESS, "steps": 2**SQUARINGS, "classes": CLASSES},
)


def scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Smooth edges and two maps of evidence."""
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(seed)
    edges = gaussian_filter(noise.random(SIZE), 2)
    edges = (edges - edges.min()) / np.ptp(edges)
    maps = np.stack([gaussian_filter(noise.random(SIZE), 6) for _ in range(CLASSES)])
    return edges, maps


def dense(edges: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """The official way: the whole matrix, squared again and again, in 32 bits."""
    step = transition(edges, RADIUS, SHARPNESS).toarray().astype(np.float32)
    for _ in range(SQUARINGS):
        step = step @ step
    return (maps.reshape(CLASSES, -1).astype(np.float32) @ step.T).reshape(maps.shape)


def sparse(edges: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Ours, the matrix built anew as well."""
    return walk(maps, transition(edges, RADIUS, SHARPNESS), 2**SQUARINGS)


def compared(seed: int) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of both, one after the other in one process, and how far their results are apart."""
    edges, maps = scene(seed)
    sparse(edges, maps)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        ours = sparse(edges, maps)
        times.append(time.perf_counter() - start)
    start = time.perf_counter()
    theirs = dense(edges, maps)
    seconds = time.perf_counter() - start
    apart = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    if apart > 1e-3:
        raise SystemExit(f"walk_cost: the two ways differ by {apart:.2g} of the largest value")
    return {"value": seconds, "difference": apart}, {"value": float(np.median(times)), "difference": apart}


def main() -> None:
    """Measure both side by side."""
    found: dict[int, tuple[dict[str, float], dict[str, float]]] = {}

    def side(seed: int, which: int) -> dict[str, float]:
        if seed not in found:
            found[seed] = compared(seed)
        return found[seed][which]

    base = [measured(CLAIM, "dense", 0, {}, lambda: side(0, 0))]
    ours = [measured(CLAIM, "series", 0, {}, lambda: side(0, 1))]
    record(CLAIM, Row("dense matrix, squared 8 times", base), Row("sparse products, truncated Chebyshev series", ours))


if __name__ == "__main__":
    main()
