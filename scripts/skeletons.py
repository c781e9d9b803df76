"""Writes the files of a new method, head or loss: module, settings, test, page, link; they pass every check as they are.

`make method STAGE=refine NAME=smooth`, `make part KIND=head NAME=star`. The texts are in `templates/`.
"""

from __future__ import annotations

import argparse
import keyword
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template

from smidgen.core.registry import PARTS, STAGES, camel, nearest

ROOT = Path(__file__).parents[1]
TEXTS = ROOT / "scripts" / "templates"
OTHERS = "anything"
"""Text for the stages that have none of their own."""
PARTS_LINE = "- Heads and losses that are papers: "
"""Begins the line of docs/index.md that links to the pages of parts."""
METHODS_LINE = "- The methods, in the order in which a recipe runs them: "
"""Begins the one for methods, which goes on over several lines."""
NEW_SETTINGS = """
\"\"\"Settings of the methods of this stage. Torch-free.\"\"\"

from __future__ import annotations

from smidgen.core.settings import Frozen
"""


class Refused(Exception):
    """What was asked for cannot be written; the text says why and what to do."""


@dataclass(frozen=True)
class Asked:
    """A method or part that is to be.

    Args:
        name: Of its module.
        stage: Of a method; "" for a part.
        kind: Of a part; "" for a method.
    """

    name: str
    stage: str = ""
    kind: str = ""

    @property
    def folder(self) -> str:
        """Of its module, below src/smidgen."""
        return PARTS[self.kind] if self.kind else f"methods/{self.stage}"

    def texts(self) -> dict[str, str]:
        """Module, settings, test and page, filled in."""
        path = TEXTS / f"{self.kind or self.stage}.txt"
        text = (path if path.exists() else TEXTS / f"{OTHERS}.txt").read_text(encoding="utf-8")
        page = (TEXTS / "page.txt").read_text(encoding="utf-8")
        parts = dict(re.findall(r"^==== (\w+)\n(.*?)(?=^==== |\Z)", text, re.MULTILINE | re.DOTALL)) | {"page": page}
        place = f"Part* {self.kind}" if self.kind else f"Stage* {self.stage}"
        see = f"smidgen train DATA --{self.kind} {self.name} --help" if self.kind else f"smidgen methods {self.name}"
        words = {"name": self.name, "Name": camel(self.name), "stage": self.stage, "see": see, "place": place.replace("*", "", 1)}
        return {what: Template(one).substitute(words) for what, one in parts.items()}


def known(root: Path) -> Iterator[tuple[str, str]]:
    """Folder and name of the methods and parts there are."""
    folders = [*(f"methods/{stage}" for stage in STAGES), *PARTS.values()]
    for folder in folders:
        yield from ((folder, path.stem) for path in sorted((root / "src" / "smidgen" / folder).glob("[!_]*.py")))


def checked(asked: Asked, root: Path) -> Asked:
    """The same, if it can be written.

    Raises:
        Refused: No such stage or kind, no fit name, or one that is taken.
    """
    choices, given, word = (PARTS, asked.kind, "KIND") if not asked.stage else (STAGES, asked.stage, "STAGE")
    if given not in choices:
        raise Refused(f"{word}={given}: {nearest(given, choices)}")
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", asked.name) or keyword.iskeyword(asked.name) or asked.name == "settings":
        raise Refused(f"NAME={asked.name}: expected small letters, digits and single _, beginning with a letter: smooth_maps")
    taken = [folder for folder, name in known(root) if name == asked.name]
    if taken:
        raise Refused(f"NAME={asked.name}: src/smidgen/{taken[0]} has one of this name: choose another")
    return asked


def write(asked: Asked, root: Path = ROOT) -> list[Path]:
    """Write all files; returns them.

    Raises:
        Refused: It cannot be done; nothing was written.
    """
    checked(asked, root)
    texts, folder = asked.texts(), root / "src" / "smidgen" / asked.folder
    tests = root / "tests" / asked.folder
    test = tests / f"test_{asked.name}.py"
    if any(root.glob(f"tests/**/{test.name}")):  # names of tests are unique in the whole tree
        test = tests / f"test_{asked.name}_{asked.kind or asked.stage}.py"
    page, index = root / "docs" / "methods" / f"{asked.name}.md", root / "docs" / "index.md"
    if page.exists():
        raise Refused(f"NAME={asked.name}: {page.relative_to(root)} is there already: choose another name")
    linked = with_link(index.read_text(encoding="utf-8"), asked, [name for place, name in known(root) if place == asked.folder])
    for one in (folder, tests):
        one.mkdir(parents=True, exist_ok=True)
    settings = folder / "settings.py"
    before = settings.read_text(encoding="utf-8") if settings.exists() else NEW_SETTINGS.lstrip()
    found = {
        folder / f"{asked.name}.py": texts["module"],
        settings: f"{before.rstrip()}\n\n\n{texts['settings']}",
        test: texts["test"],
        page: texts["page"],
        index: linked,
    }
    if not (folder / "__init__.py").exists():
        found[folder / "__init__.py"] = ""
    for path, text in found.items():
        path.write_text(text, encoding="utf-8")
    return list(found)


def with_link(index: str, asked: Asked, neighbors: list[str]) -> str:
    """The index with a link to the new page: behind that of the last method of its stage, or at the end of its list.

    Args:
        index: Text of docs/index.md.
        asked: What is new.
        neighbors: Names of what is in its folder.

    Raises:
        Refused: The index has no such list.
    """
    link = f"[{asked.name}](methods/{asked.name}.md)"
    links = [f"[{name}](methods/{name}.md)" for name in neighbors]
    after = max((index.find(one) + len(one) for one in links if one in index), default=-1)
    if after >= 0:
        return f"{index[:after]}, {link}{index[after:]}"
    begins = PARTS_LINE if asked.kind else METHODS_LINE
    if begins not in index:
        raise Refused(f"docs/index.md: found no line that begins with '{begins}': add one")
    start = index.index(begins) + len(begins)
    end = start + re.search(r"(?=\n- |\n\n|\Z)", index[start:]).start()  # pyright: ignore[reportOptionalMemberAccess] (the end always matches)
    ahead = "; " if index[start:end].strip() else ""
    return f"{index[:end]}{ahead}{asked.kind or asked.stage} {link}{index[end:]}"


def main(arguments: list[str]) -> int:
    """Write, and say what to do next."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("method", "part"))
    parser.add_argument("place", help="stage of a method, kind of a part")
    parser.add_argument("name")
    said = parser.parse_args(arguments)
    method = said.what == "method"
    try:
        paths = write(Asked(said.name, stage=said.place if method else "", kind="" if method else said.place))
    except Refused as error:
        print(error, file=sys.stderr)
        return 2
    python = [str(path) for path in paths if path.suffix == ".py"]
    for rest in (["check", "--fix", "--quiet"], ["format", "--quiet"]):
        subprocess.run([sys.executable, "-m", "ruff", *rest, *python], cwd=ROOT, check=False)
    print("\n".join(str(path.relative_to(ROOT)) for path in paths))
    print("write the test first: a number worked out by hand, a property, a toy problem; then `make check test`")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
