"""The list of methods and parts is read from the folders, importing nothing."""

from __future__ import annotations

import sys

import pytest

from smidgen.core import registry
from smidgen.core.errors import NeedError, SettingsError
from smidgen.core.settings import Frozen

WALK = '''"""Walk (Doe et al., CVPR 2031): wanders.

More.
"""
import not_installed

def walk(run, settings: "Walk", data, heatmaps: "Results", encoder, saliency=None, *, prior, width=3) -> "Results[Heatmaps]":
    pass
'''

OWN = '''"""Mine."""
from smidgen.core.settings import Frozen

class Blur(Frozen):
    width: int = 3

def blur(run, settings, data, labels) -> "X":
    return 7
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    files = {
        "methods/refine/walk.py": WALK,
        "methods/refine/settings.py": "class Walk: pass\n",
        "methods/localize/cam.py": '"""Cam."""\ndef cam(run, settings, data): pass\n',
        "parts/networks/heads/fcn.py": '"""Plain head."""\nclass Fcn: pass\n',
        "parts/networks/heads/settings.py": "",
        "parts/losses/sums.py": "def parse(): pass\n",
        "parts/losses/ce.py": "def ce(): pass\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(registry, "PACKAGE", tmp_path)
    registry.methods.cache_clear()
    yield
    registry.methods.cache_clear()


def test_methods_are_read_from_their_text(package):
    assert [(row.stage, row.name) for row in registry.methods()] == [("localize", "cam"), ("refine", "walk")]
    row = registry.method("refine", "walk")
    assert row.line == "Walk (Doe et al., CVPR 2031): wanders."
    assert row.needs == ("heatmaps", "encoder", "saliency", "prior", "width")
    assert row.optional == ("saliency", "width")
    assert row.product == "Results[Heatmaps]"
    assert row.module == "smidgen.methods.refine.walk"


def test_parts_are_modules_that_define_their_name(package):
    assert (registry.parts("head"), registry.parts("loss")) == (("fcn",), ("ce",))
    assert registry.part_line("head", "fcn") == "Plain head."


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (lambda: registry.method("refine", "wlak"), "did you mean 'walk'"),
        (lambda: registry.method("refine", "xyz"), "there are: walk"),
        (lambda: registry.method("refine", "cam"), "there are: walk"),
        (lambda: registry.method("semi", "dtc"), "there are: none"),
        (lambda: registry.part_settings("head", "fnc"), "did you mean 'fcn'"),
        (lambda: registry.method("refine", "no_such_module:blur"), "no module 'no_such_module'"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(package, ask, answer):
    with pytest.raises(SettingsError, match=answer):
        ask()


def test_needs_are_handed_over_by_name(package):
    row = registry.method("refine", "walk")
    have = {"heatmaps": 1, "encoder": 2, "prior": 3, "width": 4, "labels": 5}
    assert registry.handed_over(row, have) == ("heatmaps", "encoder", "prior", "width")
    with pytest.raises(NeedError, match="refine walk needs encoder, prior; this recipe has heatmaps"):
        registry.handed_over(row, {"heatmaps": 1})


def test_a_users_own_method(tmp_path, monkeypatch):
    (tmp_path / "users_own.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    row = registry.method("refine", "users_own:blur")
    assert (row.name, row.line, row.needs, row.product) == ("blur", "Mine.", ("labels",), "X")
    assert "users_own" not in sys.modules
    assert registry.find(row)(None, None, None, None) == 7
    assert issubclass(registry.settings_of(row), Frozen)
    with pytest.raises(SettingsError, match="has no function 'blurr'"):
        registry.method("refine", "users_own:blurr")
    monkeypatch.delattr(sys.modules["users_own"], "Blur")
    with pytest.raises(SettingsError, match="users_own has no class Blur with its settings"):
        registry.settings_of(row)
    del sys.modules["users_own"]
