"""What `make method` and `make part` write passes every check as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import skeletons
from skeletons import Asked, Refused, checked, with_link, write
from smidgen.core.registry import PARTS, STAGES

ROOT = Path(__file__).parents[2]
WRITTEN = {
    "refine": "smooth_maps",
    "label": "firm",
    "localize": "glance",
    "segment": "plain",
    "semi": "halves",
    "predict": "once",
    "check": "twice",
}
NEW_PARTS = {"head": "star", "loss": "missing"}


def copied(to: Path) -> Path:
    """The tree without what is made in it."""
    for name in ("src", "tests", "docs", "scripts", "benchmarks"):
        shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__", "results", "*.egg-info"))
    for name in ("pyproject.toml", "Makefile", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "constraints.txt", "LICENSE"):
        shutil.copy(ROOT / name, to / name)
    return to


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        (Asked("smooth", stage="refin"), "did you mean 'refine'"),
        (Asked("smooth", kind="heads"), "did you mean 'head'"),
        (Asked("Smooth", stage="refine"), "small letters"),
        (Asked("class", stage="refine"), "small letters"),
        (Asked("settings", stage="refine"), "small letters"),
        (Asked("ocr", stage="refine"), "parts/networks/heads has one of this name"),
        (Asked("walk", kind="loss"), "methods/refine has one of this name"),
    ],
)
def test_what_cannot_be_is_refused(asked, complaint):
    with pytest.raises(Refused, match=complaint):
        checked(asked, ROOT)


@pytest.mark.parametrize("asked", [*(Asked("new_one", stage=stage) for stage in STAGES), *(Asked("new_one", kind=kind) for kind in PARTS)])
def test_every_stage_and_kind_has_texts_that_name_it(asked):
    texts = asked.texts()
    assert set(texts) == {"module", "settings", "test", "page"}
    assert "$" not in "".join(texts.values())
    assert "new_one" in texts["module"].lower() or "NewOne" in texts["module"]
    assert "class NewOne(Frozen)" in texts["settings"]


def test_links_stand_behind_their_neighbors():
    index = f"# x\n\n{skeletons.METHODS_LINE}label [a](methods/a.md), [b](methods/b.md);\n  predict [w](methods/w.md)\n- more\n"
    assert "[b](methods/b.md), [c](methods/c.md);" in with_link(index, Asked("c", stage="label"), ["a", "b"])
    assert "predict [w](methods/w.md); semi [c](methods/c.md)\n- more" in with_link(index, Asked("c", stage="semi"), [])
    with pytest.raises(Refused, match="Heads and losses"):
        with_link(index, Asked("c", kind="head"), [])


@pytest.mark.slow
def test_what_is_written_passes_all_checks(tmp_path):
    root = copied(tmp_path / "tree")
    asked = [*(Asked(name, stage=stage) for stage, name in WRITTEN.items()), *(Asked(name, kind=kind) for kind, name in NEW_PARTS.items())]
    for one in asked:
        done = subprocess.run(
            [sys.executable, "scripts/skeletons.py", *("part" if one.kind else "method", one.kind or one.stage, one.name)],
            cwd=root,
            check=False,
        )
        assert done.returncode == 0
    environment = os.environ | {"PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1"}
    python = [str(path) for name in (*WRITTEN.values(), *NEW_PARTS.values()) for path in root.glob(f"**/*{name}*.py")]
    python += [str(path) for path in root.glob("src/smidgen/**/settings.py")]
    names = " or ".join(f"[{one.name}" for one in asked)
    tests = [path for path in python if "/tests/" in path]
    for command in (
        ("ruff", "format", "--check", *python),
        ("ruff", "check", *python),
        ("basedpyright", "--pythonpath", sys.executable, *(path for path in python if "/src/" in path)),
        ("importlinter.cli",),
        ("scripts/documentation.py", "--check"),
        ("pytest", "-q", "-p", "no:cacheprovider", *tests),
        (
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "tests/contract/test_methods.py",
            "tests/parts/networks/heads/test_heads.py",
            "-k",
            names,
        ),
        (
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "tests/house/test_limits.py",
            "tests/house/test_torch_free.py",
            "tests/house/test_layers.py",
        ),
    ):
        started = [sys.executable, *([] if command[0].endswith(".py") else ["-m"]), *command]
        done = subprocess.run(started, cwd=root, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command[0]}:\n{done.stdout}\n{done.stderr}"


def test_nothing_is_written_where_something_is_refused(tmp_path):
    (tmp_path / "docs" / "methods").mkdir(parents=True)
    (tmp_path / "docs" / "methods" / "fresh.md").touch()
    (tmp_path / "docs" / "index.md").write_text("# x\n", encoding="utf-8")
    with pytest.raises(Refused, match="is there already"):
        write(Asked("fresh", stage="refine"), tmp_path)
    with pytest.raises(Refused, match="found no line"):
        write(Asked("other", stage="refine"), tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["fresh.md", "index.md"]
