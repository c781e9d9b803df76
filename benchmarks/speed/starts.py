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
from _records import keep
from PIL import Image

ROUNDS, IMAGES, AIM = 7, 200, 0.3
COMMANDS = {
    "--help": ["--help"],
    "methods": ["methods"],
    "methods advcam": ["methods", "advcam"],
    "train --help": ["train", "--help"],
    "inspect": ["inspect", "DATA"],
}
AIMED = ("--help",)


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
        programs = {name: ["-m", "smidgen", *(folder if word == "DATA" else word for word in words)] for name, words in COMMANDS.items()}
        programs["python itself"] = ["-c", ""]
        times: dict[str, list[float]] = {name: [] for name in programs}
        for n in range(ROUNDS + 1):
            for name, words in programs.items():
                took = cpu([sys.executable, *words])
                if n:
                    times[name].append(took)
    figures = {name: {"median_s": round(statistics.median(some), 3), "least_s": round(min(some), 3)} for name, some in times.items()}
    reached = all(figures[name]["median_s"] <= AIM for name in AIMED)
    keep(
        "starts",
        f"CPU seconds of commands that learn nothing (inspect: {IMAGES} images)",
        figures,
        {"rounds": ROUNDS, "aim_s": AIM},
        reached=reached,
    )
    return int(not reached)


if __name__ == "__main__":
    sys.exit(main())
