"""Run every claim of `benchmarks/claims`; each skips the cells that `benchmarks/results` already holds."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> int:
    """Run the claims one after another and go on after a failed one; 1 if any failed."""
    claims = sorted((ROOT / "benchmarks" / "claims").glob("[!_]*.py"))
    if not claims:
        print("no claim is there yet: benchmarks/README.md tells how one is made")
        return 0
    failed = []
    for path in claims:
        print(f"{path.stem} …", flush=True)
        start = time.monotonic()
        if subprocess.run([sys.executable, str(path)], cwd=ROOT, check=False).returncode:
            failed.append(path.stem)
        print(f"{path.stem}: {'failed' if path.stem in failed else 'done'} after {time.monotonic() - start:.0f} s", flush=True)
    if failed:
        print(f"{len(failed)} of {len(claims)} claims failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
