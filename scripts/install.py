"""Make the virtual environment that `make` works with: smidgen in place, everything it needs beside it.

Run by `make setup` with the Python of the system, so it imports the standard library only.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
import venv
from collections import deque
from pathlib import Path

EXTRAS = "demo,export,volumes,test,dev"
LARGE_MB = 20
"""Downloads of this size and more are worth a line."""
KEPT = 25
"""Last lines of pip that are shown when it fails."""


def main(folder: Path) -> int:
    """Create the environment where it is missing, install into it, and leave a stamp for make."""
    if sys.version_info < (3, 11):
        print(f"smidgen needs Python 3.11 or newer, this is {sys.version.split()[0]}: make setup PYTHON=python3.12", file=sys.stderr)
        return 2
    start = time.monotonic()
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        print(f"setup: making {folder} (about 5 GB with PyTorch; some minutes, once)", flush=True)
        try:
            venv.create(folder, with_pip=True)
        except subprocess.CalledProcessError:
            print("setup: Python can't make virtual environments here; on Debian: apt-get install python3-venv", file=sys.stderr)
            return 1
    command = [
        python,
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--progress-bar",
        "off",
        "-c",
        "constraints.txt",
        "-e",
        f".[{EXTRAS}]",
    ]
    failed = _show(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    if failed:
        return failed
    (folder / ".installed").touch()
    print(f"setup: ready after {time.monotonic() - start:.0f} s", flush=True)
    return 0


def _show(pip: subprocess.Popen[str]) -> int:
    """Follow pip: one moving line on a terminal, a line per large download elsewhere, its last words when it fails."""
    live, last = sys.stdout.isatty(), deque[str](maxlen=KEPT)
    assert pip.stdout is not None
    for line in pip.stdout:
        last.append(line)
        text = line.strip()
        found = re.match(r"Downloading (\S+?)-\d\S* \(([\d.]+) (kB|MB|GB)\)", text)
        if text.startswith("Installing collected packages"):
            text = f"installing: {text.count(',') + 1} packages to go"
        elif found:
            text = f"fetching {found[1]} ({found[2]} {found[3]})"
        elif not live:
            continue
        if live:
            print(f"\r\033[Ksetup: {text}"[: shutil.get_terminal_size().columns], end="", flush=True)
        elif not found or found[3] == "GB" or (found[3] == "MB" and float(found[2]) >= LARGE_MB):
            print(f"setup: {text}", flush=True)
    if live:
        print("\r\033[K", end="")
    if pip.wait():
        print("".join(last), file=sys.stderr)
        print("setup: pip could not install what constraints.txt and pyproject.toml name; its last words stand above", file=sys.stderr)
    return pip.returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
