"""CPU seconds of commands that learn nothing. Aim: at most 0.3 s for `smidgen --help`; the others are reported."""

from __future__ import annotations

import csv
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from _records import Question, measured, record
from PIL import Image

ROUNDS, IMAGES, AIM = 7, 200, 0.3
COMMANDS = {
    "smidgen --help": ["--help"],
    "smidgen methods": ["methods"],
    "smidgen methods advcam": ["methods", "advcam"],
    "smidgen train --help": ["train", "--help"],
    f"smidgen inspect, {IMAGES} images": ["inspect", "DATA"],
}

ASKED = Question(
    name="starts",
    claim="Commands that learn nothing answer at once, since they do not load torch",
    question="What does the whole program take, against a Python that does nothing?",
    data=f"{IMAGES} photos of 240 x 320 pixels (inspect)",
    metric="CPU s",
    baseline="python",
    settings={"rounds": ROUNDS, "aim_s": AIM},
    aim=f"smidgen --help in {AIM} s",
)


def write_data(folder: Path) -> None:
    """Tagged photos; `inspect` reads headers and tables, so what they show does not matter."""
    (folder / "images").mkdir()
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8))
    for i in range(IMAGES):
        image.save(folder / "images" / f"{i:04}.jpg")
    with (folder / "tags.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("filename", "tags"), *((f"{i:04}.jpg", ("", "a", "b", "a;b")[i % 4]) for i in range(IMAGES))])


def cpu(words: list[str]) -> float:
    """User and system seconds of one program."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Measure; 0 if the aim is reached."""
    with tempfile.TemporaryDirectory() as folder:
        write_data(Path(folder))

        def compared(words: list[str]) -> tuple[list[float], list[float], dict[str, float]]:
            said = ["-m", "smidgen", *(folder if word == "DATA" else word for word in words)]
            rounds = [(cpu([sys.executable, "-c", ""]), cpu([sys.executable, *said])) for _ in range(ROUNDS + 1)][1:]
            return [round(one, 4) for one, _ in rounds], [round(other, 4) for _, other in rounds], {}

        parts = [measured(ASKED, name, lambda words=words: compared(words)) for name, words in COMMANDS.items()]
    return record(ASKED, parts, reached=statistics.median(parts[0].method) <= AIM)


if __name__ == "__main__":
    sys.exit(main())
