"""The list of methods and parts is the folder: read with `ast`, importing nothing.

Name and stage are the path, one line and source the module docstring's first line, needs the signature, product the return annotation,
settings the class of the same name in the `settings.py` beside. Adding one = adding its files.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from smidgen.core.errors import NeedError, SettingsError
from smidgen.core.settings import Frozen

PACKAGE = Path(__file__).parents[1]
STAGES = ("classify", "localize", "refine", "label", "check", "segment", "semi", "predict", "pretrain", "synthesize", "annotate")
"""In the order in which a user meets them."""
PARTS = {"head": "parts/networks/heads", "loss": "parts/losses"}
"""Named parts: kind -> folder."""
GIVEN = 3
"""Every method's first parameters: run, settings, data."""


@dataclass(frozen=True)
class Method:
    """One method, as its module's text tells it.

    Args:
        stage: Folder.
        name: Module and function.
        line: First line of the module's docstring: the idea and its source.
        needs: What it wants from the recipe, by name.
        optional: Those of `needs` that have a default.
        product: What it returns.
        module: Import path.
        function: Name of the function within the module.
    """

    stage: str
    name: str
    line: str
    needs: tuple[str, ...]
    optional: tuple[str, ...]
    product: str
    module: str
    function: str


def camel(name: str) -> str:
    """weak_to_strong -> WeakToStrong: the settings class of a method."""
    return "".join(part.capitalize() for part in name.split("_"))


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for a word that is not known: '; did you mean …?' or the list of what there is."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(known) or 'none'}"


def _read(path: Path, stage: str, name: str, module: str) -> Method | None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    function = next((node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name), None)
    if function is None:
        return None
    parameters = [*function.args.args[GIVEN:], *function.args.kwonlyargs]
    defaults = len(function.args.defaults)
    positional = function.args.args[GIVEN:]
    optional = {a.arg for a in positional[len(positional) - defaults :]} if defaults else set()
    optional |= {a.arg for a, d in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True) if d is not None}
    return Method(
        stage=stage,
        name=name,
        line=(ast.get_docstring(tree) or "").split("\n")[0],
        needs=tuple(a.arg for a in parameters),
        optional=tuple(a.arg for a in parameters if a.arg in optional),
        product=ast.unparse(function.returns).strip("'\"") if function.returns else "",
        module=module,
        function=name,
    )


@lru_cache
def methods() -> tuple[Method, ...]:
    """All methods that smidgen ships, by stage and name."""
    paths = ((stage, path) for stage in STAGES for path in sorted((PACKAGE / "methods" / stage).glob("*.py")))
    rows = (_read(path, stage, path.stem, f"smidgen.methods.{stage}.{path.stem}") for stage, path in paths)
    return tuple(row for row in rows if row)


def method(stage: str, name: str) -> Method:
    """One method; `module:function` names a user's own.

    Raises:
        SettingsError: There is no such method (with the nearest known one).
    """
    if ":" in name:
        return _users_own(stage, name)
    row = next((row for row in methods() if (row.stage, row.name) == (stage, name)), None)
    if row is None:
        raise SettingsError(f"{stage}: no method '{name}': {nearest(name, (m.name for m in methods() if m.stage == stage))}")
    return row


def _users_own(stage: str, name: str) -> Method:
    module, _, function = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        spec = importlib.util.find_spec(module) if module else None
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        raise SettingsError(f"{stage}: no module '{module}' for '{name}': name it MODULE:FUNCTION and start in the folder where MODULE is")
    row = _read(Path(spec.origin), stage, function, module)
    if row is None:
        raise SettingsError(f"{stage}: {spec.origin} has no function '{function}'")
    return row


def handed_over(row: Method, have: Mapping[str, Any]) -> tuple[str, ...]:
    """The needs of a method that a recipe can hand over.

    Raises:
        NeedError: One that has no default is not there.
    """
    missing = [need for need in row.needs if need not in have and need not in row.optional]
    if missing:
        raise NeedError(f"{row.stage} {row.name} needs {', '.join(missing)}; this recipe has {', '.join(sorted(have)) or 'nothing yet'}")
    return tuple(need for need in row.needs if need in have)


def find(row: Method) -> Callable[..., Any]:
    """Import a method's function."""
    return getattr(importlib.import_module(row.module), row.function)


def settings_of(row: Method) -> type[Frozen]:
    """The settings class of a method: in `settings.py` beside it, or in a user's own module.

    Raises:
        SettingsError: There is none.
    """
    home = row.module if not row.module.startswith("smidgen.") else f"{row.module.rpartition('.')[0]}.settings"
    kind = getattr(importlib.import_module(home), camel(row.function), None)
    if kind is None:
        raise SettingsError(f"{row.stage} {row.name}: {home} has no class {camel(row.function)} with its settings: add one, of base Frozen")
    return kind


def parts(kind: Literal["head", "loss"]) -> tuple[str, ...]:
    """Names of the heads or losses: modules that define a function or class of their own name."""
    folder = PACKAGE / PARTS[kind]
    return tuple(path.stem for path in sorted(folder.glob("*.py")) if _defines(path, path.stem, camel(path.stem)))


def _defines(path: Path, *names: str) -> bool:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in names for node in tree.body)


def part_settings(kind: Literal["head", "loss"], name: str) -> type[Frozen]:
    """The settings class of a head or loss.

    Raises:
        SettingsError: There is no such part (with the nearest known one).
    """
    if name not in parts(kind):
        raise SettingsError(f"{kind}: no {kind} '{name}': {nearest(name, parts(kind))}")
    return getattr(importlib.import_module(f"smidgen.{PARTS[kind].replace('/', '.')}.settings"), camel(name))


def part_line(kind: Literal["head", "loss"], name: str) -> str:
    """First line of a part's docstring."""
    tree = ast.parse((PACKAGE / PARTS[kind] / f"{name}.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").split("\n")[0]
