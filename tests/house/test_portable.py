"""No file of the repository knows a machine it was made on, or a host that packages come from."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
MACHINE = re.compile(r"(?<![\w./~*-])/(?:home|root|Users|work|mnt|opt|srv)/[\w.]")
HOST = re.compile(
    r"https?://(?:files|registry|deb|index|download|security)\.[a-z]|\b(?:pypi|pythonhosted|npmjs|debian)\.(?:org|com|net)\b", re.IGNORECASE
)


def repository_files(root: Path) -> list[Path]:
    """What git tracks or would add; all files where there is no git."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=root, capture_output=True, text=True, check=False
    )
    if listed.returncode == 0:
        return [root / name for name in listed.stdout.split("\0") if name and (root / name).is_file()]
    return [path for path in root.rglob("*") if path.is_file() and not {".venv", ".git", "runs"} & set(path.relative_to(root).parts)]


def machine_words(text: str) -> list[str]:
    """Paths of a machine and hosts of package registries in a text."""
    return [found[0] for pattern in (MACHINE, HOST) for found in pattern.finditer(text)]


def test_no_file_knows_a_machine():
    found = {}
    for path in repository_files(ROOT):
        data = path.read_bytes()
        if b"\0" not in data[:8000] and (words := machine_words(data.decode("utf-8", errors="replace"))):
            found[str(path.relative_to(ROOT))] = words
    assert found == {}


def test_machine_words_are_found():
    home, host = "/ho" + "me/ann/data", "https://files." + "example.org"
    assert machine_words(f"open('{home}')") == ["/ho" + "me/a"]
    assert machine_words(f"see {host}") == ["https://files." + "e"]
    assert machine_words("py" + "pi.org") == ["py" + "pi.org"]
    rooted, beside = "~/ro" + "ot/x", "../wo" + "rk/x"
    assert machine_words(f"docs/home/page.md {rooted} {beside} https://example.org/home/x") == []
