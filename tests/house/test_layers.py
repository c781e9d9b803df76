"""Imports point down, and methods do not know each other: import-linter's contracts hold, and can be broken."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[2]
CONFIGURED = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
ROOMS = ("actions", "cli", "core", "data", "methods", "methods/localize", "methods/refine", "parts", "products", "recipes", "report")


@pytest.fixture(autouse=True)
def loggers_as_they_were():
    """import-linter sets up logging and thereby silences all loggers that there are, for the tests that follow, too."""
    known = {one: one.disabled for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)}
    yield
    for one, disabled in known.items():
        one.disabled = disabled


@pytest.fixture
def holds(tmp_path, monkeypatch, request):
    """Whether smidgen's contracts hold for a toy package in which one module (a path below the package) imports another."""
    toy = f"toy_{abs(hash(request.node.nodeid))}"
    monkeypatch.syspath_prepend(tmp_path)
    section = CONFIGURED[CONFIGURED.index("[tool.importlinter]") : CONFIGURED.index("[tool.pytest")]
    config = tmp_path / "pyproject.toml"
    config.write_text(section.replace("smidgen", toy), encoding="utf-8")
    for room in ("", *ROOMS):
        (tmp_path / toy / room).mkdir()
        (tmp_path / toy / room / "__init__.py").touch()

    def judge(module: str, wanted: str) -> bool:
        (tmp_path / toy / f"{wanted}.py").touch()
        (tmp_path / toy / f"{module}.py").write_text(f"def late():\n    import {toy}.{wanted.replace('/', '.')}\n", encoding="utf-8")
        return lint_imports(config_filename=str(config), no_cache=True, no_logo=True) == 0

    return judge


def test_layers_hold():
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True, no_logo=True) == 0


@pytest.mark.parametrize(
    ("module", "wanted"),
    [
        ("cli/main", "actions/train"),
        ("methods/refine/walk", "methods/refine/settings"),
        ("methods/refine/walk", "parts/walk"),
        ("report/page", "core/run"),
    ],
)
def test_imports_may_point_down(holds, module, wanted):
    assert holds(module, wanted)


@pytest.mark.parametrize(
    ("module", "wanted"),
    [
        ("core/run", "products/sample"),
        ("actions/train", "cli/main"),
        ("report/page", "methods/refine/walk"),
        ("methods/refine/walk", "report/page"),
        ("methods/refine/walk", "methods/refine/crf"),
        ("methods/refine/walk", "methods/localize/cam"),
        ("methods/refine/walk", "methods/localize/settings"),
        ("utils", "core/run"),
    ],
)
def test_imports_may_not_point_elsewhere(holds, module, wanted):
    assert not holds(module, wanted)
