"""docs/guides/trouble.md: each row of its tables names tests that exist, or says why there is none."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/guides/trouble.md"
ROW = re.compile(r"^\| ([a-e]\d\d) \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
TEST = re.compile(r"(tests/[\w/]+\.py)::(\w+)")


@cache
def written_in(path: Path) -> frozenset[str]:
    if not path.is_file():
        return frozenset()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"))


def complaints(text: str) -> Iterator[str]:
    """What is wrong with a page's tables."""
    rows = ROW.findall(text)
    ids = [row[0] for row in rows]
    yield from (f"{id}: stands there twice" for id in sorted({id for id in ids if ids.count(id) > 1}))
    for id, _, does, shown in rows:
        named = TEST.findall(shown)
        if not named and not (shown.strip() == "–" and "out of scope: " in does):
            yield f"{id}: names no test, and no reason"
        yield from (f"{id}: there is no {path}::{name}" for path, name in named if name not in written_in(ROOT / path))


def test_every_row_names_tests_that_exist_or_a_reason():
    assert list(complaints(PAGE.read_text(encoding="utf-8"))) == []


def test_all_kinds_are_there():
    kinds = [row[0][0] for row in ROW.findall(PAGE.read_text(encoding="utf-8"))]
    assert {kind: kinds.count(kind) for kind in "abce"} == {"a": 46, "b": 31, "c": 14, "e": 11}


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("| a01 | x | y | tests/house/test_trouble.py::test_all_kinds_are_there |", []),
        ("| a01 | x | y | tests/house/test_trouble.py::test_nothing |", ["a01: there is no tests/house/test_trouble.py::test_nothing"]),
        ("| a01 | x | out of scope: not here yet | – |", []),
        ("| a01 | x | y | – |", ["a01: names no test, and no reason"]),
        ("| a01 | x | out of scope: z | – |\n| a01 | x | out of scope: z | – |", ["a01: stands there twice"]),
    ],
)
def test_rows_that_show_nothing_are_found(row, complaint):
    assert list(complaints(row)) == complaint
