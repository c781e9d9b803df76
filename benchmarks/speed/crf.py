"""Dense CRF: ours against pydensecrf2, on a photograph of 375 x 500 pixels. Aim: the same probabilities, 21 classes in at most 0.75 s.

Both build their lattices and do the same number of rounds, from the same energies. The kernels are the method's own, and wider ones (80
pixels, 13 steps of color; 3 pixels), with which lattices are smaller; the aim is meant for those.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable

import numpy as np
from _records import Question, in_turn, measured, missing, record
from scipy.ndimage import gaussian_filter
from skimage.data import coffee

from smidgen.methods.refine.crf import kernels
from smidgen.methods.refine.settings import Crf
from smidgen.parts.imaging.crf import DenseCrf, energies_of

ROUNDS, AIM_S = 5, 0.75
OWN, WIDE = Crf(), Crf(near_width=3, color_weight=10, color_width=80, color_spread=13)
CASES = {"21 classes, wide kernels": (21, WIDE), "21 classes": (21, OWN), "2 classes": (2, OWN)}

ASKED = Question(
    name="crf",
    claim="The dense CRF gives pydensecrf2's probabilities, without its compiler",
    question="What do lattices and rounds take, from the same energies?",
    data="a photograph of 375 x 500 pixels",
    metric="CPU s",
    baseline="pydensecrf2",
    settings={"rounds": ROUNDS, "aim_s": AIM_S, "own": OWN.model_dump(), "wide": WIDE.model_dump()},
    aim=f"21 classes with wide kernels in {AIM_S} s, probabilities within 0.01",
)


def photo() -> np.ndarray:
    """375 x 500 pixels, 8 bits."""
    return np.ascontiguousarray(coffee()[:375, :500])


def probabilities(classes: int, size: tuple[int, int]) -> np.ndarray:
    """Smooth random maps, as heatmaps are."""
    draw = np.random.default_rng(classes)
    maps = np.stack([gaussian_filter(draw.standard_normal(size), 20) for _ in range(classes)]) * 60
    powers = np.exp(maps - maps.max(axis=0))
    return (powers / powers.sum(axis=0)).astype(np.float32)


def theirs(energies: np.ndarray, image: np.ndarray, crf: Crf) -> Callable[[], np.ndarray]:
    """The same in pydensecrf2."""
    from pydensecrf.densecrf import DenseCRF2D

    near, colored = kernels(crf)

    def infer() -> np.ndarray:
        field = DenseCRF2D(image.shape[1], image.shape[0], len(energies))
        field.setUnaryEnergy(np.ascontiguousarray(energies.reshape(len(energies), -1)))
        field.addPairwiseGaussian(sxy=near.width, compat=near.weight)
        field.addPairwiseBilateral(sxy=colored.width, srgb=(colored.color or 0) * 255, rgbim=image, compat=colored.weight)
        return np.array(field.inference(crf.iterations)).reshape(energies.shape)

    return infer


def main() -> int:
    """Measure; 0 if the aim is reached."""
    try:
        import pydensecrf.densecrf  # noqa: F401 (asked for here, used above)
    except ImportError:
        return missing("pydensecrf2")
    image = photo()
    values = np.ascontiguousarray(image.transpose(2, 0, 1)).astype(np.float32) / 255

    def compared(classes: int, crf: Crf) -> tuple[list[float], list[float], dict[str, float]]:
        energies = energies_of(probabilities(classes, image.shape[:2]))
        other = theirs(energies, image, crf)

        def ours() -> np.ndarray:
            return DenseCrf.of(values, kernels(crf)).marginals(energies, crf.iterations)

        mine, found = ours(), other()
        apart = float((mine.argmax(0) != found.argmax(0)).mean())
        more = {"largest_difference": round(float(np.abs(mine - found).max()), 6), "pixels_of_another_class": round(apart, 6)}
        return *in_turn(other, ours, ROUNDS), more

    parts = [measured(ASKED, name, lambda case=case: compared(*case)) for name, case in CASES.items()]
    fast = statistics.median(parts[0].method) <= AIM_S
    return record(ASKED, parts, reached=fast and all(part.more["largest_difference"] < 1e-2 for part in parts))


if __name__ == "__main__":
    sys.exit(main())
