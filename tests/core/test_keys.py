"""KEYs notice code wherever it stands, and no words about it."""

from __future__ import annotations

import pytest

from smidgen.core import keys

METHOD = '''"""Method."""
from smidgen.parts import walk
from smidgen.core.fit import fit
from smidgen.parts import settings

def method():
    return walk.step()
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes modules of a package that stands in for smidgen; returns the KEY of `smidgen.method`."""
    monkeypatch.setattr(keys, "PACKAGE", tmp_path)
    modules = {
        "method": METHOD,
        "parts/__init__": "",
        "parts/walk": "def step():\n    import smidgen.parts.deep\n    return 1\n",
        "parts/deep": "import smidgen.method\nLIMIT = 1\n",  # a circle
        "parts/other": "X = 1\n",
        "parts/settings": "class Walk: pass\n",
        "core/fit": "def fit(): pass\n",
    }

    def source(**changed: str) -> str:
        for name, text in (modules | {name.replace("__", "/"): text for name, text in changed.items()}).items():
            (tmp_path / f"{name}.py").parent.mkdir(exist_ok=True)
            (tmp_path / f"{name}.py").write_text(text)
        keys.source.cache_clear()
        return keys.source("smidgen.method")

    yield source
    keys.source.cache_clear()


def test_words_and_layout_do_not_matter(package):
    other = METHOD.replace("Method", "Other words").replace("walk\n", "walk  # why\n\n\n")
    other = other.replace("return walk.step()", '"""Says more."""\n    return (walk.step())')
    assert package(method=other) == package()


def test_code_matters_however_deep(package):
    assert (
        len(
            {
                package(),
                package(parts__walk="def step():\n    import smidgen.parts.deep\n    return 2\n"),
                package(parts__deep="LIMIT = 2\n"),
            }
        )
        == 3
    )


def test_what_is_not_imported_and_the_core_do_not_matter(package):
    """Nor do modules of settings: what they are set to stands in every KEY by itself."""
    assert package(parts__settings="class Walk: pass\nclass Other: pass\n") == package()
    assert package(parts__other="X = 2\n") == package(core__fit="def fit(): return 1\n") == package()


def test_a_key_depends_on_all_it_is_told():
    assert keys.key("a", 1) == keys.key("a", 1) != keys.key("a", 2)
    assert keys.key({"a": 1, "b": 2}) == keys.key({"b": 2, "a": 1})
    assert len(keys.key()) == keys.LENGTH
