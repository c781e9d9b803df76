"""Reading data needs no torch: `inspect` and `--help` stay quick."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
from smidgen.data.dataset import Dataset
from smidgen.data.checks import verify
from smidgen.data.summary import summarize
data = Dataset.open(sys.argv[1])
verify(data), summarize(data), data.key, data.samples["a"].image()
slow = {"torch", "torchvision", "tifffile", "skimage", "scipy", "matplotlib"} & set(sys.modules)
sys.exit(f"imported {slow}" if slow else 0)
"""


def test_reading_imports_nothing_slow(folder):
    folder.images("a.png")
    folder.mask("masks/a.png", [1])
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(folder.path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
