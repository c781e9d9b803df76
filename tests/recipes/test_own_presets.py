"""A user's own YAML file as preset: it builds on another, and is checked as closely as words are."""

from __future__ import annotations

import os

import pytest
import yaml

from smidgen.actions.methods import methods
from smidgen.actions.train import preset_said, train
from smidgen.cli.options import parse
from smidgen.core.errors import SettingsError
from smidgen.core.settings import preset
from smidgen.recipes.choice import resolve


@pytest.fixture
def own(tmp_path):
    def write(text: str, name: str = "my.yaml") -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


def test_it_says_only_what_differs(own):
    path = own("builds_on: small\nadvcam: {steps: 5}\nlocalize: cam\n")
    mine, small = resolve("tags", path, {}), resolve("tags", "small", {})
    assert mine.choice.localize == "cam"
    assert mine.methods["gap"] == small.methods["gap"]
    assert mine.preset == path
    assert resolve("tags", path, {"localize": "advcam"}).methods["advcam"].steps == 5
    assert resolve("tags", path, {"localize": "advcam", "advcam": {"steps": 6}}).methods["advcam"].steps == 6
    values = yaml.safe_load(mine.to_yaml())
    assert resolve(values.pop("recipe"), values.pop("preset"), values) == mine


def test_it_may_build_on_a_file_beside_it_or_on_nothing(own):
    own("builds_on: small\ngap: {epochs: 3}\n", "lab.yaml")
    path = own("builds_on: lab.yaml\ngap: {batch: 4}\n")
    gap = resolve("tags", path, {}).methods["gap"]
    assert (gap.epochs, gap.batch, gap.crop) == (3, 4, preset("small")["gap"]["crop"])
    assert resolve("tags", own("seed: 4\n", "plain.yml"), {}).methods["gap"] == resolve("tags", "paper", {}).methods["gap"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("advcam: {stepz: 5}", r"advcam\.stepz: no such setting: did you mean 'steps'"),
        ("advcm: {steps: 5}", r"advcm: nothing has this name: did you mean 'advcam'"),
        ("advcam: 5", r"advcam: expected settings"),
        ("cam: {threshold: 2}", r"cam\.threshold: .*got 2"),
        ("builds_on: smal", r"no such preset: did you mean 'small'"),
        ("builds_on: my.yaml", r"builds on itself"),
        ("- a\n- b", r"expected names with values"),
        ("a: [", r"no YAML"),
        ("localize: [1, 2]", r"localize"),
    ],
)
def test_what_is_wrong_is_said(own, text, complaint):
    with pytest.raises(SettingsError, match=rf"my\.yaml.*{complaint}|{complaint}"):
        resolve("tags", own(text), {})


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"gone\.yaml: can't be read"):
        resolve("tags", str(tmp_path / "gone.yaml"), {})


def test_words_and_again_find_it_from_anywhere(own, monkeypatch, tmp_path):
    path = own("builds_on: small\nadvcam: {steps: 5}\n")
    monkeypatch.chdir(tmp_path)
    said = parse(train, "smidgen train", ["DATA", "--preset", "my.yaml", "--advcam.batch", "2"])
    assert said["preset"] == "my.yaml"
    assert said["settings"] == {"advcam": {"batch": 2}}
    assert preset_said("my.yaml") == os.path.realpath(path)
    assert preset_said("small") == "small"


def test_methods_shows_its_values_beside_the_papers(own):
    (row,) = methods("advcam", preset=own("builds_on: small\nadvcam: {steps: 5}\n"))
    values = {one.name: (one.default, one.preset) for one in row.settings}
    assert values["steps"] == (27, 5)
    assert values["step_unit"] == ("value", "half-range")
    assert values["momentum"] == (0.0, 0.0)
