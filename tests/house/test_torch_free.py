"""What must start fast imports no torch: the command line, the settings, the lists, the data."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUFF = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
HEAVY = RUFF["flake8-tidy-imports"]["banned-module-level-imports"]
MAY_IMPORT_TORCH = [pattern for pattern, rules in RUFF["per-file-ignores"].items() if pattern.startswith("src/") and "TID253" in rules]
FREE_ALL_THE_SAME = ("src/smidgen/**/settings.py", "src/smidgen/parts/losses/expression.py")

WATCH = """
import importlib, json, sys
modules, heavy = json.loads(sys.argv[1]), json.loads(sys.argv[2])
for module in modules:
    importlib.import_module(module)
    found = [name for name in heavy if name in sys.modules]
    if found:
        print(json.dumps([module, found]))
        break
else:
    print("null")
"""
"""Import modules one by one and name the first that brought something heavy in."""


def torch_free_modules() -> list[str]:
    files = set((ROOT / "src" / "smidgen").rglob("*.py"))
    for pattern in MAY_IMPORT_TORCH:
        files -= set(ROOT.glob(pattern))
    for pattern in FREE_ALL_THE_SAME:
        files |= set(ROOT.glob(pattern))
    dotted = [file.relative_to(ROOT / "src").with_suffix("").as_posix().replace("/", ".") for file in files if file.name != "__main__.py"]
    return sorted(name.removesuffix(".__init__") for name in dotted)


def first_heavy(modules: list[str], heavy: list[str]) -> list | None:
    done = subprocess.run(
        [sys.executable, "-c", WATCH, json.dumps(modules), json.dumps(heavy)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_list_holds_what_a_user_waits_for():
    modules = set(torch_free_modules())
    assert {"smidgen", "smidgen.core.registry", "smidgen.core.settings", "smidgen.data.dataset", "smidgen.cli.main"} <= modules
    assert {"smidgen.methods.localize.settings", "smidgen.parts.networks.settings"} <= modules
    assert not {"smidgen.core.fit", "smidgen.methods.localize.cam"} & modules


def test_what_must_start_fast_imports_no_torch():
    assert first_heavy(torch_free_modules(), HEAVY) is None


def test_a_heavy_import_is_noticed():
    assert first_heavy(["json", "sqlite3", "csv"], ["sqlite3"]) == ["sqlite3", ["sqlite3"]]
