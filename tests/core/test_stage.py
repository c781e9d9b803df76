"""run.stage: needs by signature, a KEY of all that the result depends on, nothing done twice."""

from __future__ import annotations

import importlib
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from lightning_fabric import Fabric

from smidgen.core import keys
from smidgen.core.errors import NeedError, SettingsError
from smidgen.core.run import Given, Reached, Run
from smidgen.core.screen import Silent

METHOD = '''"""Blur (nobody, never): blurs."""
from functools import partial
import numpy as np
from smidgen.core.settings import Frozen

class Blur(Frozen):
    """Settings."""
    width: int = 3

class Same(Frozen):
    """Settings."""

def one(image: np.ndarray, width: int) -> np.ndarray:
    return image * width

def blur(run, settings, data, heatmaps, saliency=None, encoder=None):
    calls.append(saliency)
    return run.map("blur", partial(one, width=settings.width), heatmaps)

def same(run, settings, data, heatmaps):
    return heatmaps

calls = []
'''


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Writes the user's own module and imports it anew; returns it."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(text: str = METHOD):
        (tmp_path / "stage_mine.py").write_text(text)
        sys.modules.pop("stage_mine", None)
        importlib.invalidate_caches()
        keys.source.cache_clear()
        return importlib.import_module("stage_mine")

    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    yield write
    sys.dont_write_bytecode = before
    sys.modules.pop("stage_mine", None)
    keys.source.cache_clear()


DATA = SimpleNamespace(key="data")
HEATMAPS = Given({"a": np.ones(2), "b": np.zeros(2)}, "heatmaps")


@pytest.fixture
def opened(tmp_path):
    def run(**more):
        return Run(tmp_path / "RUN", Fabric(accelerator="cpu", devices=1), **more)

    return run


def ident(run, data=DATA, **have):
    return run.stage("refine", "stage_mine:blur", data, **({"heatmaps": HEATMAPS} | have)).key


def test_needs_are_handed_over_by_name(mine, opened):
    module = mine()
    run = opened(supplies={"encoder": Given({}, "e")})
    product = run.stage("refine", "stage_mine:blur", DATA, heatmaps=HEATMAPS, classifier="not asked for", saliency=Given({}, "s"))
    assert product["a"].tolist() == [3, 3]
    assert module.calls == [{}]
    assert product.key == run.finished[0].key
    assert run.finished[0].folder.name == f"refine-blur-{product.key}"


def test_what_is_missing_or_has_no_key_is_said(mine, opened):
    mine()
    with pytest.raises(NeedError, match="refine blur needs heatmaps; this recipe has labels"):
        opened().stage("refine", "stage_mine:blur", DATA, labels=HEATMAPS)
    with pytest.raises(NeedError, match="saliency has no key"):
        opened().stage("refine", "stage_mine:blur", DATA, heatmaps=HEATMAPS, saliency={})


def test_the_key_holds_what_the_result_depends_on(mine, opened):
    module = mine()
    found = [
        ident(opened()),
        ident(opened(settings={"blur": module.Blur(width=4)})),
        ident(opened(seed=1)),
        ident(opened(), data=SimpleNamespace(key="other")),
        ident(opened(), heatmaps=Given(HEATMAPS, "other")),
        ident(opened(), saliency=Given({}, "s")),
        ident(opened(supplies={"encoder": Given({}, "e")})),
    ]
    mine(METHOD.replace("image * width", "image * width + 0"))
    found.append(ident(opened()))
    assert len(set(found)) == len(found)


def test_the_key_holds_nothing_else(mine, opened):
    module = mine()
    first = ident(opened())
    assert ident(opened(workers=2, log_every=1, settings={"blur": module.Blur(width=3)})) == first
    assert ident(opened(), labels=HEATMAPS) == first
    mine(METHOD.replace("blurs.", "blurs a lot.").replace("calls.append", "# counts\n    calls.append"))
    assert ident(opened()) == first


class Heard(Silent):
    def __init__(self):
        self.stages = []

    def stage(self, stage, method, key, done):
        self.stages.append((method, done))


def test_a_second_call_falls_through(mine, opened):
    mine()
    heard = Heard()
    first = opened(screen=heard)
    ident(first)
    folder = first.finished[0].folder
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    second = opened(screen=heard)
    ident(second)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times
    assert second.finished[0].seconds == first.finished[0].seconds
    assert heard.stages == [("blur", False), ("blur", True)]


def test_what_failed_is_not_finished_and_its_time_counts(mine, opened):
    mine(METHOD.replace("return image * width", "raise ValueError('no')"))
    heard = Heard()
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            ident(opened(screen=heard))
    assert heard.stages == [("blur", False), ("blur", False)]
    costs = [json.loads(path.read_text()) for path in opened().folder.rglob("cost.json")]
    assert [cost["finished"] for cost in costs] == [False]
    assert costs[0]["seconds"] > 0


def test_a_product_that_is_handed_on_keeps_its_makers_key(mine, opened):
    mine()
    run = opened()
    made = run.stage("refine", "stage_mine:blur", DATA, heatmaps=HEATMAPS)
    key = made.key
    handed_on = run.stage("refine", "stage_mine:same", DATA, heatmaps=made)
    assert made.key == key != handed_on.key
    assert handed_on["a"].tolist() == made["a"].tolist()


def test_a_stage_for_later_is_run_when_called_and_its_key_says_what_it_will_use(mine, opened):
    module = mine()
    run = opened()
    later = run.later("refine", "stage_mine:blur", DATA)
    assert run.finished == []
    assert later(heatmaps=HEATMAPS)["a"].tolist() == [3, 3]
    assert [one.method for one in run.finished] == ["blur"]
    others = [
        opened(settings={"blur": module.Blur(width=4)}).later("refine", "stage_mine:blur", DATA),
        opened(seed=1).later("refine", "stage_mine:blur", DATA),
        opened(supplies={"encoder": Given({}, "e")}).later("refine", "stage_mine:blur", DATA),
        run.later("refine", "stage_mine:blur", SimpleNamespace(key="other")),
        run.later("refine", "stage_mine:same", DATA),
    ]
    assert opened().later("refine", "stage_mine:blur", DATA).key == later.key
    assert len({later.key, *(other.key for other in others)}) == 6


def test_until_stops_after_so_many_stages(mine, opened):
    mine()
    run = opened(until=1)
    with pytest.raises(Reached):
        ident(run)
    assert len(run.finished) == 1


def test_an_unknown_method_is_refused(opened):
    with pytest.raises(SettingsError, match="no method 'wlak'"):
        opened().stage("refine", "wlak", DATA)
