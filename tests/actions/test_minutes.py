"""`--minutes`: stages are measured by what they do, cut to fit, and the plan is kept so that KEYs stay."""

from __future__ import annotations

import importlib
import json
import sys
from types import SimpleNamespace

import pytest
import torch
import yaml
from lightning_fabric import Fabric

import smidgen
from smidgen.actions import minutes, rehearsing
from smidgen.actions.choose import Chosen
from smidgen.actions.minutes import Budget
from smidgen.actions.rehearsing import STEPS, Rehearsal, few
from smidgen.actions.train import Job
from smidgen.core.errors import SettingsError
from smidgen.core.run import Given
from smidgen.recipes.budget import StageCost, fit_into
from smidgen.recipes.choice import resolve

METHODS = '''"""Two methods that take a known time (nobody, never)."""
from typing import Annotated

import numpy as np
import torch
from torch import nn

from smidgen.core.fit import Stream
from smidgen.core.settings import Frozen, Length

clock = [0.0]

class Climb(Frozen):
    """Settings."""
    steps: Annotated[int, Length(least=2)] = 10

class Learn(Frozen):
    """Settings."""
    epochs: Annotated[float, Length(least=1, rounds=True, least_steps=30)] = 6.0

def climb(run, settings, data):
    def one(sample) -> np.ndarray:
        clock[0] += 0.5 + 0.25 * settings.steps
        return np.zeros(1)
    clock[0] += 7
    return run.map("climb", one, data.tagged)

class Line:
    def __init__(self, data, settings):
        self.networks = nn.ModuleDict({"line": nn.Linear(1, 1)})
        self.optimizers = {"all": torch.optim.SGD(self.networks.parameters(), 0.1)}
        self.streams = {"all": Stream(sorted(data.labeled), 2, lambda id: {"x": torch.ones(1)})}
        self.steps = int(settings.epochs * len(data.labeled) / 2)
    def terms(self, batch, turn, at):
        clock[0] += 11.0 if at.n == 0 else 3.0
        return {"x": self.networks["line"](batch["all"]["x"]).mean()}

def learn(run, settings, data, maps):
    clock[0] += 2
    run.fit("line", Line(data, settings))
    return maps
'''


@pytest.fixture
def timed(tmp_path, monkeypatch):
    """The module of methods; what they do moves the only clock that a rehearsal looks at."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "timed_methods.py").write_text(METHODS)
    sys.modules.pop("timed_methods", None)
    importlib.invalidate_caches()
    module = importlib.import_module("timed_methods")
    monkeypatch.setattr(rehearsing, "time", SimpleNamespace(perf_counter=lambda: module.clock[0]))
    yield module
    sys.modules.pop("timed_methods", None)


@pytest.fixture
def rehearsal(tmp_path, timed):
    """A rehearsal with 8 of 80 images: all tagged, half of them labeled."""
    torch.set_num_threads(1)
    run = Rehearsal(tmp_path / "run", Fabric(accelerator="cpu", devices=1))
    counts = {"labeled": 4, "tagged": 8, "train": 8, "all": 10}
    run.start(SimpleNamespace(words={"settings": {}}), None, {"few": counts, "full": {name: 10 * n for name, n in counts.items()}})
    return run


def few_images():
    samples = {f"p{i}": f"p{i}" for i in range(8)}
    labeled = {id: id for id in list(samples)[:4]}
    return SimpleNamespace(key="few", tagged=samples, labeled=labeled)


def test_items_are_measured_at_both_lengths_and_counted_up(rehearsal):
    rehearsal.stage("localize", "timed_methods:climb", few_images())
    (cost,) = rehearsal.costs
    assert (cost.setting, cost.value, cost.least) == ("steps", 10, 2)
    assert cost.seconds == pytest.approx(7 + 80 * (0.5 + 0.25 * 10))
    assert cost.seconds_least == pytest.approx(7 + 80 * (0.5 + 0.25 * 2))


def test_steps_of_a_training_are_few_and_counted_up_with_the_images(rehearsal, timed):
    rehearsal.stage("refine", "timed_methods:learn", few_images(), maps=Given({}, "maps"))
    (cost,) = rehearsal.costs
    assert timed.clock[0] == pytest.approx(2 + 11 + 3 * (STEPS - 1))
    # 6 epochs of 40 labeled images in batches of 2 are 120 steps; the first one's 8 s of starting up come once.
    assert cost.seconds == pytest.approx(2 + 8 + 120 * 3)
    # The least are 30 steps, which are 1.5 epochs and more than one.
    assert cost.least == 1.5
    assert cost.seconds_least == pytest.approx(2 + 8 + 30 * 3)


def test_a_length_that_a_person_said_stays(rehearsal):
    rehearsal.words = {"climb": {"steps": 10}}
    rehearsal.stage("localize", "timed_methods:climb", few_images())
    (cost,) = rehearsal.costs
    assert cost.setting == ""
    assert cost.seconds == cost.seconds_least


def test_the_few_images_stand_for_all(folder):
    data = smidgen.Dataset.open(folder)
    chosen = few(data)
    train = [data.samples[id] for id in chosen if data.samples[id].split == "train"]
    assert len(train) == rehearsing.IMAGES
    assert {tag for one in train for tag in one.tags} == {1, 2}
    assert sum(data.samples[id].split == "val" for id in chosen) == round(3 * 8 / 9)


def test_a_rare_label_is_among_them(folder):
    for path in sorted((folder / "masks").iterdir())[1:]:
        path.unlink()
    chosen = few(smidgen.Dataset.open(folder))
    assert "p00" in chosen


TABLE = (
    StageCost("segment", "supervised", "steps", 8, 2, 80.0, 20.0),
    StageCost("predict", "windows", "", 0, 0, 1.0, 1.0),
)


class Words(smidgen.Silent):
    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


def test_a_run_is_cut_as_measured_and_the_same_command_keeps_its_plan(folder, tmp_path, quick, monkeypatch):
    settings = {"encoder": quick["encoder"], "supervised": {name: v for name, v in quick["supervised"].items() if name != "steps"}}
    words = {"out": tmp_path / "run", "preset": "small", "minutes": 1.0, "settings": settings}
    measured = []
    monkeypatch.setattr(rehearsing, "rehearse", lambda *given: measured.append(given) or TABLE)
    screen = Words()
    run = smidgen.train(folder, screen=screen, **words)
    told = yaml.safe_load((run.folder / "run.yaml").read_text())
    # 57 s are free, of which looking took some; a step is 10 s.
    assert told["supervised"]["steps"] in (4, 5)
    assert any(f"segment 8 → {told['supervised']['steps']} steps" in line for line in screen.said)
    steps = next(run.folder.glob("stages/segment-*/01-train/finished")).read_text()
    assert int(steps) == told["supervised"]["steps"]
    smidgen.train(folder, **words)
    assert len(measured) == 1
    assert len(list(run.folder.glob("stages/segment-*"))) == 1
    smidgen.train(folder, **(words | {"minutes": None, "settings": {**settings, "supervised": quick["supervised"]}}))
    smidgen.again(run.folder)
    smidgen.train(folder, **words)  # another command in between does not lose the plan
    assert len(measured) == 1


def test_measured_for_real_it_fits_or_says_what_would(folder, tmp_path, quick):
    few = {"encoder": quick["encoder"], "supervised": quick["supervised"]}
    run = smidgen.train(folder, out=tmp_path / "run", preset="small", minutes=20.0, settings=few)
    (plan,) = yaml.safe_load((run.folder / "run.yaml").read_text())["minutes"].values()
    assert plan["said"] == "nothing had to be shortened"
    assert set(plan["seconds"]) == {"segment supervised", "predict windows"}
    assert not (run.folder / rehearsing.FOLDER).exists()
    assert json.loads((run.folder / "run.json").read_text())["classes"] == ["background", "square", "disc"]
    with pytest.raises(SettingsError, match=r"--minutes 0\.01: too short for anything useful.*say --minutes 1"):
        smidgen.train(folder, out=tmp_path / "run", preset="small", minutes=0.01, settings=few)
    with pytest.raises(SettingsError, match="above 0"):
        smidgen.train(folder, out=tmp_path / "none", minutes=-1.0)


class Slow:
    """Takes a Run's place; a stage takes as many seconds as the clock is told."""

    def __init__(self, clock, seconds, methods):
        self.clock, self.seconds, self.settings, self.ran = clock, dict(seconds), dict(methods), []

    def stage(self, stage, method, data, /, **have):
        self.clock[0] += self.seconds[stage]
        self.ran.append((stage, method, self.settings[method].model_dump()))
        return stage

    def later(self, stage, method, data, /):
        return stage


def test_what_is_left_is_cut_to_the_time_that_is_left(folder, tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(minutes, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    resolved = resolve("tags", "small", {"gap": {"epochs": 10}, "advcam": {"steps": 8}})
    costs = (
        StageCost("classify", "gap", "epochs", 10.0, 2, 60.0, 12.0),
        StageCost("localize", "advcam", "steps", 8, 3, 60.0, 30.0),
        StageCost("segment", "supervised", "epochs", 12.0, 2, 120.0, 20.0),
    )
    words = {"minutes": 6.0, "until": None, "settings": {}}
    data = smidgen.Dataset.open(folder)
    job = Job(tmp_path, data, data, Chosen("tags", ""), resolved, words)
    screen, changed = Words(), []
    plan = fit_into(6.0, costs, 0.0)
    budget = Budget(job, SimpleNamespace(broadcast=lambda value: value), screen, clock[0], plan, costs)
    run = Slow(clock, {"classify": 120.0, "localize": 50.0, "segment": 100.0}, budget.job.resolved.methods)
    recipe = budget.of(run, lambda: changed.append(budget.job))
    assert plan.settings == {}
    recipe.stage("classify", "gap", None)
    assert run.ran[0][2]["epochs"] == 10
    recipe.stage("localize", "advcam", None)
    # 222 of 342 s are left, and everything takes twice as long: 60 % of both lengths.
    assert run.ran[1][2]["steps"] in (4, 5)
    recipe.stage("segment", "supervised", None)
    assert run.ran[2][2]["epochs"] < 12
    assert "200 % of what was measured" in screen.said[0]
    assert budget.job.resolved.methods["gap"].epochs == 10
    (kept,) = changed[-1].plans.values()
    assert kept["settings"]["supervised"]["epochs"] == run.ran[2][2]["epochs"]
