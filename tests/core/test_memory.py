"""Memory that was freed goes back to the system."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import pytest

from smidgen.core.memory import hand_back, peak_mib


def resident_mib() -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep nothing, or can't be asked")
def test_holes_between_blocks_in_use_are_handed_back():
    hand_back()
    before = resident_mib()
    blocks = [np.ones(8_000) for _ in range(1600)]  # 64 kB each, too small to be mapped by themselves
    kept = blocks[::16]
    del blocks
    assert resident_mib() - before > 50  # freed, and still ours
    hand_back()
    assert resident_mib() - before < 25
    assert all(block.sum() == 8_000 for block in kept)


def test_the_peak_is_told():
    assert peak_mib() > 10
