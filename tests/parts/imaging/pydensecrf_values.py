"""Inputs by formula, for which pydensecrf2 was asked: its answers are in pydensecrf_values.npz.

`python tests/parts/imaging/pydensecrf_values.py` asks it again, in an environment that has pydensecrf2 (it is no dependency) and numpy.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

ANSWERS = Path(__file__).with_suffix(".npz")
CASES = {
    "deeplab": (24, 32, 3, 10, (3.0, 1.0), (4.0, 67.0, 3.0)),
    "irn": (24, 32, 2, 10, (3.0, 3.0), (10.0, 50.0, 5.0)),
    "authors": (40, 30, 5, 5, (3.0, 3.0), (10.0, 60.0, 20.0)),
    "narrow": (18, 22, 4, 1, (2.0, 0.7), (1.0, 9.0, 40.0)),
}
"""Name -> height, width, classes, rounds, (weight, pixels), (weight, pixels, 8-bit steps)."""


def asked(height: int, width: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """An 8-bit image (h w 3) of soft color patches and stripes, and energies (k h w)."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    waves = [
        np.sin(x / 4 + c) * np.cos(y / 5 - 2 * c) + 0.4 * np.sign(np.sin((x + y) / 6)) + 0.1 * np.sin(13 * x + 7 * y + c) for c in range(3)
    ]
    image = np.clip(128 + 70 * np.stack(waves, axis=-1), 0, 255).astype(np.uint8)
    logits = np.stack([np.cos(x / 7 + 2 * c) + np.sin(y / 6 + 3 * c) + 0.8 * np.sin(11 * x * (c + 1) + 5 * y) for c in range(classes)])
    probs = np.exp(logits) / np.exp(logits).sum(axis=0)
    return image, -np.log(probs).astype(np.float32)


def answers() -> dict[str, np.ndarray]:
    from pydensecrf.densecrf import DenseCRF2D

    found = {}
    for name, (height, width, classes, rounds, near, color) in CASES.items():
        image, energies = asked(height, width, classes)
        crf = DenseCRF2D(width, height, classes)
        crf.setUnaryEnergy(np.ascontiguousarray(energies.reshape(classes, -1)))
        crf.addPairwiseGaussian(sxy=near[1], compat=near[0])
        crf.addPairwiseBilateral(sxy=color[1], srgb=color[2], rgbim=np.ascontiguousarray(image), compat=color[0])
        found[name] = np.array(crf.inference(rounds), np.float32).reshape(energies.shape)
    return found


if __name__ == "__main__":
    np.savez_compressed(ANSWERS, **answers())
