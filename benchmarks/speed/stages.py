"""Memory and seconds of each stage of a small run from tags, as the run itself counts them (`stages/*/cost.json`).

Generated scenes of 320 x 240 pixels, the preset `small` with fewer steps, the default encoder with its ImageNet weights, one thread. The
process is the real command, so its memory holds the libraries, too: what a stage needs is what it adds.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from _records import Question, kept, measured, record
from PIL import Image

IMAGES = 24
WORDS = ["--gap.epochs", "2", "--supervised.epochs", "2", "--walk.epochs", "1", "--machine.threads", "1", "--machine.accelerator", "cpu"]
ASKED = Question(
    name="stages",
    claim="No stage needs more than a small laptop has",
    question="What is the largest memory of each stage, against the libraries alone?",
    data=f"{IMAGES} generated scenes of 240 x 320 pixels, from tags",
    metric="MiB",
    baseline="libraries alone",
    settings={"images": IMAGES, "size": [240, 320], "words": WORDS},
)
LIBRARIES = """
import smidgen.actions.finishing, smidgen.recipes.supplies, smidgen.methods.segment.supervised
from smidgen.core.memory import peak_mib
print(peak_mib())
"""


def write_data(folder: Path) -> None:
    """Red squares and green discs on gray noise; a quarter validates."""
    (folder / "images").mkdir()
    draw, (down, across) = np.random.default_rng(1), np.ogrid[:240, :320]
    rows = []
    for i in range(IMAGES):
        image, kind = draw.integers(90, 150, (240, 320, 3)).astype(np.uint8), i % 3
        y, x = draw.integers(60, 180), draw.integers(60, 260)
        inside = (abs(down - y) < 40) & (abs(across - x) < 40) if kind == 1 else (down - y) ** 2 + (across - x) ** 2 < 1600
        if kind:
            image[inside] = (220, 40, 40) if kind == 1 else (40, 200, 60)
        Image.fromarray(image).save(folder / "images" / f"{i:02}.png")
        rows.append((f"{i:02}.png", ("", "square", "disc")[kind]))
    with (folder / "tags.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("filename", "tags"), *rows])


def run() -> dict[str, dict[str, float]]:
    """The real command, and what it counted, by stage in their order."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    libraries = float(subprocess.run([sys.executable, "-c", LIBRARIES], env=environment, check=True, capture_output=True, text=True).stdout)
    with tempfile.TemporaryDirectory() as place:
        data, folder = Path(place) / "scenes", Path(place) / "run"
        data.mkdir()
        write_data(data)
        words = [sys.executable, "-m", "smidgen", "train", str(data), "--use", "tags", "--preset", "small", "--out", str(folder), *WORDS]
        subprocess.run(words, env=environment, check=True, stdout=subprocess.DEVNULL)
        found: dict[str, dict[str, float]] = {}
        for path in sorted(folder.glob("stages/*/cost.json"), key=lambda path: path.stat().st_mtime):
            cost, name = json.loads(path.read_text()), " ".join(path.parent.name.split("-")[:-1])
            name = name if name not in found else f"{name} (train)"
            found[name] = {"libraries": round(libraries), "peak": round(cost["peak_mib"]), "seconds": round(cost["seconds"], 1)}
    return found


def main() -> int:
    """Measure."""
    costs: dict[str, dict[str, float]] = {}

    def of(name: str) -> tuple[list[float], list[float], dict[str, float]]:
        cost = costs[name]
        return [cost["libraries"]], [cost["peak"]], {"seconds": cost["seconds"]}

    parts = kept(ASKED)
    if not parts:
        costs = run()
        parts = [measured(ASKED, name, lambda name=name: of(name)) for name in costs]
    return record(ASKED, sorted(parts, key=lambda part: -part.method[0]), reached=None)


if __name__ == "__main__":
    sys.exit(main())
