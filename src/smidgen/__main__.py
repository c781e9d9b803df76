"""`python -m smidgen` is the command `smidgen`."""

from __future__ import annotations

from smidgen.cli.main import entry

if __name__ == "__main__":
    entry()
