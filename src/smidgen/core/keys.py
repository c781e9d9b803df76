"""KEYs: what a result depends on, as one short hash.

A changed function must be noticed wherever it stands, so a KEY holds the source (as `ast`, without docstrings and comments) of the method's
module and of every smidgen module it imports, however deep. `core` is left out: it decides how work is done, not what comes out; a change
there that changes numbers raises `ROUND`. Modules of settings are left out as well: their values stand in the KEY themselves, so a
setting that something else gained does not make all results stale.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from smidgen.core.registry import PACKAGE

ROUND = 1
"""Raised when a change in `core` changes numbers."""
LENGTH = 10
"""Hexadecimal digits of a KEY."""


def key(*what: Any) -> str:
    """A short hash of plain values (and whatever prints itself fully)."""
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:LENGTH]


@lru_cache
def source(module: str) -> str:
    """Hash of a module's code and of all smidgen modules it imports, `core` and modules of settings excepted."""
    pending, seen = [module], {}
    while pending:
        name = pending.pop()
        path = _path(name)
        if name in seen or path is None:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        pending += _imports(tree)
        seen[name] = ast.dump(_without_docstrings(tree))
    return key(ROUND, sorted(seen.items()))


def _path(module: str) -> Path | None:
    if module.startswith("smidgen."):
        stem = PACKAGE.joinpath(*module.split(".")[1:])
        return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.exists()), None)
    spec = importlib.util.find_spec(module)
    return Path(spec.origin) if spec and spec.origin else None


def _imports(tree: ast.Module) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("smidgen"):
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.startswith("smidgen.")]
    return [name for name in found if name != "smidgen" and not name.startswith("smidgen.core") and not name.endswith(".settings")]


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [item for item in body if not (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant))]  # pyright: ignore
    return tree
