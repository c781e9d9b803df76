"""Memory of this process: its peak, per stage where the system lets us start counting anew (Linux), and handing back what was freed."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from pathlib import Path


def reset_peak() -> None:
    """Start counting anew; elsewhere than on Linux the count goes on from the start of the process."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> float:
    """Largest resident memory since `reset_peak`, in MiB; 0 where the system does not tell."""
    with suppress(OSError, StopIteration):
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    try:
        import resource
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def hand_back() -> None:
    """Give memory that was freed back to the system.

    The C library of Linux keeps what lies between blocks that are in use. Work on images of many sizes leaves such holes: 2 GiB after
    sixteen sizes of climbs that need 0.7 GiB each, and more with every further size. Costs up to 0.1 s after such a batch; elsewhere
    nothing happens.
    """
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
