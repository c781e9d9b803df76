"""The house's limits: modules, functions, names, empty packages, and no one above the methods who knows one by name."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from pathlib import Path

from smidgen.core import registry

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "smidgen"
MODULE_LINES = 400
FUNCTION_LINES = 60
DRAWERS = {"common", "helper", "helpers", "misc", "tools", "util", "utils"}
BLIND = ("core", "recipes", "actions", "cli")
"""Rooms that find methods through the registry, never by name."""


def too_long(text: str) -> list[str]:
    """A module that is too long, and its functions that are: a docstring is help and does not count there."""
    found = ["module"] if len(text.splitlines()) > MODULE_LINES else []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            help_lines = len(ast.get_source_segment(text, node.body[0]).splitlines()) if ast.get_docstring(node) else 0
            if node.end_lineno - node.lineno + 1 - help_lines > FUNCTION_LINES:
                found.append(node.name)
    return found


def drawers(paths: Collection[Path]) -> list[Path]:
    """Modules and packages whose name does not say what is in them."""
    return [path for path in paths if DRAWERS & {part.lower().strip("_") for part in (*path.parent.parts, path.stem)}]


def names_a_method(text: str, methods: Collection[str]) -> list[int]:
    """Lines that compare something with a method's name, or a `method` with any word."""
    return sorted({line for line, left, word in _comparisons(ast.parse(text)) if word in methods or left == "method"})


def _comparisons(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """Line, last part of the compared name, and each word that it is compared with."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(isinstance(op, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for op in node.ops):
            sides = [node.left, *node.comparators]
        elif isinstance(node, ast.Match):
            sides = [node.subject, *(v.value for case in node.cases for v in ast.walk(case.pattern) if isinstance(v, ast.MatchValue))]
        else:
            continue
        left = next(
            (side.attr if isinstance(side, ast.Attribute) else side.id for side in sides if isinstance(side, ast.Attribute | ast.Name)), ""
        )
        for side in sides:
            group = side.elts if isinstance(side, ast.Tuple | ast.List | ast.Set) else [side]
            yield from ((node.lineno, left, one.value) for one in group if isinstance(one, ast.Constant) and isinstance(one.value, str))


def test_modules_and_functions_are_short():
    found = {str(path.relative_to(ROOT)): too_long(path.read_text(encoding="utf-8")) for path in SOURCE.rglob("*.py")}
    assert {path: names for path, names in found.items() if names} == {}


def test_too_long_ones_are_found():
    body = "    x = 1\n" * FUNCTION_LINES
    assert too_long("def fits():\n    'Help.'\n" + body.removesuffix("    x = 1\n") + "def long():\n" + body) == ["long"]
    assert too_long("x = 1\n" * MODULE_LINES) == []
    assert too_long("x = 1\n" * (MODULE_LINES + 1)) == ["module"]


def test_names_say_what_is_inside():
    assert drawers([path.relative_to(ROOT) for path in SOURCE.rglob("*.py")]) == []


def test_drawers_are_found():
    shut = [Path("parts/utils/walk.py"), Path("core/helpers.py"), Path("core/_misc.py")]
    assert drawers([*shut, Path("parts/walk.py"), Path("core/futility.py")]) == shut


def test_packages_import_nothing():
    full = [path for path in SOURCE.rglob("__init__.py") if path.parent != SOURCE and path.read_text(encoding="utf-8").strip()]
    assert full == []


def test_nobody_above_knows_a_method_by_name():
    methods = {row.name for row in registry.methods()} | {*registry.parts("head"), *registry.parts("loss")}
    files = [path for room in BLIND for path in (SOURCE / room).rglob("*.py")]
    found = {str(path.relative_to(ROOT)): names_a_method(path.read_text(encoding="utf-8"), methods) for path in files}
    assert {path: lines for path, lines in found.items() if lines} == {}


def test_a_method_known_by_name_is_found():
    text = (
        "if choice.localize == 'advcam':\n    pass\n"  # 1
        "if 'cam' in names:\n    pass\n"  # 3
        "if method != 'mine':\n    pass\n"  # 5
        "if kind in ('cam', 'other'):\n    pass\n"  # 7
        "if split == 'train' and __name__ == '__main__':\n    pass\n"
        "match stage:\n    case 'cam' | 'other':\n        pass\n"  # 11
    )
    assert names_a_method(text, {"cam", "advcam"}) == [1, 3, 5, 7, 11]
