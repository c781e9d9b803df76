"""The contract of every method, head and loss that there is: a later one is covered without a line here (see toy_stages).

Settings survive Python, YAML and words; the source is named; what a method makes depends on nothing but its inputs, however often it is
stopped; what a learner logs is what it minimizes, and each of its turns moves its own parameters.
"""

from __future__ import annotations

import hashlib
import math
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import yaml
from toy_runs import Watched, contents, logged
from toy_stages import Stops, insist, play

import documentation
from smidgen.actions.train import train
from smidgen.cli.options import parse
from smidgen.core import registry
from smidgen.core.errors import SettingsError
from smidgen.core.run import COST, Run
from smidgen.core.settings import NO_PRESET, Frozen, presets, validated
from smidgen.parts.losses.sums import LossFactory
from smidgen.parts.networks.factories import HeadFactory
from smidgen.recipes.choice import FIXED, Choice, chosen, recipes, resolve

METHODS = registry.methods()
HEADS, LOSSES = registry.parts("head"), registry.parts("loss")
CASES = [(row, optional) for row in METHODS for optional in ((True, False) if row.optional else (True,))]

every_method = pytest.mark.parametrize("row", METHODS, ids=lambda row: row.name)


def _case(row: registry.Method, optional: bool) -> Any:
    """One method with or without its optional needs; where that is a warm start only, the one without is left to all tests."""
    if optional:
        return pytest.param(row, optional, id=row.name)
    marks = [pytest.mark.slow] if tuple(row.optional) == ("warm_from",) else []
    return pytest.param(row, optional, id=f"{row.name} without {' '.join(row.optional)}", marks=marks)


every_case = pytest.mark.parametrize(("row", "optional"), [_case(*case) for case in CASES])


# ---------------------------------------------------------------- settings


@dataclass(frozen=True)
class Group:
    """Settings by the name under which they are spoken of, and the words that bring them in."""

    name: str
    kind: type[Frozen]
    words: tuple[str, ...] = ()


GROUPS = [
    *(Group(row.name, registry.settings_of(row)) for row in METHODS),
    *(Group(name, registry.part_settings("head", name), ("--head", name)) for name in HEADS),
    *(Group(name, registry.part_settings("loss", name), ("--loss", name)) for name in LOSSES),
    *(Group(name, kind) for name, kind in FIXED.items()),
]
UNUSED = [group for group in GROUPS if group.name not in {*chosen(Choice(), "masks"), *FIXED}]
every_group = pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)


def others(value: Any, hint: Any) -> Iterator[Any]:
    """Values that a setting could have instead."""
    if typing.get_origin(hint) is Literal:
        yield from (one for one in typing.get_args(hint) if one != value)
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, value + 32)
    elif isinstance(value, float):
        yield from (value + 0.25, value / 2)
    elif isinstance(value, str):
        yield f"{value}x"
    elif value == ():
        yield from ((0.5, 2.0), ("width=8", "widest=16"), (16, 24), (True, False))
    elif isinstance(value, tuple):
        yield from zip(*(tuple(others(one, None)) for one in value), strict=True)
        yield value[:-1]


def changed(group: Group) -> Frozen:
    """Settings of which none has its default."""
    settings = group.kind()
    for name, field in group.kind.model_fields.items():
        for value in others(getattr(settings, name), field.annotation):
            try:
                settings = validated(group.kind, settings.model_dump() | {name: value}, group.name)
                break
            except SettingsError:
                continue
        else:
            pytest.fail(f"{group.name}.{name}: teach `others` a second value for it")
    return settings


def spoken(group: Group, settings: Frozen) -> list[str]:
    """The words that say these settings."""
    words = []
    for name, value in settings:
        word = f"{group.name}.{name}".replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{word}" if value else f"--{group.name}.no-{name}".replace("_", "-"))
        else:
            words += [f"--{word}", *map(str, value if isinstance(value, tuple) else [value])]
    return words


@every_group
def test_settings_survive_python_yaml_words_python(group):
    settings = changed(group)
    assert all(getattr(settings, name) != field.default for name, field in group.kind.model_fields.items())
    written = yaml.safe_load(yaml.safe_dump(settings.model_dump(mode="json")))
    read = validated(group.kind, written, group.name)
    assert read == settings
    words = ["DATA", "--preset", NO_PRESET, *group.words, *spoken(group, read)]
    said = parse(train, "smidgen train", words)["settings"][group.name]
    assert validated(group.kind, said, group.name) == settings


@every_group
def test_unknown_settings_are_refused_with_the_nearest_known_one(group, capsys):
    field = max(group.kind.model_fields, key=len)
    with pytest.raises(SettingsError, match=rf"{group.name}\.{field}x: no such setting: did you mean '{field}'"):
        validated(group.kind, {f"{field}x": 1}, group.name)
    word = f"--{group.name}.{field}".replace("_", "-")
    with pytest.raises(SystemExit) as caught:
        parse(train, "smidgen train", ["DATA", *group.words, f"{word}x", "1"])
    assert caught.value.code == 2
    assert word in capsys.readouterr().err.replace(f"{word}x", "")


@pytest.mark.parametrize("group", UNUSED, ids=lambda group: group.name)
def test_settings_that_a_recipe_does_not_use_are_an_error_that_says_so(group):
    words = ["DATA", "--preset", NO_PRESET, *spoken(group, changed(group))]
    with pytest.raises(SettingsError, match=rf"{group.name}: this recipe \(masks\) (does not use|has no place for) it"):
        resolve("masks", NO_PRESET, parse(train, "smidgen train", words)["settings"])


@every_group
def test_every_setting_is_explained(group):
    assert documentation.undocumented_settings(group.kind) == []


@pytest.mark.parametrize("preset", presets())
@pytest.mark.parametrize("recipe", recipes())
def test_run_yaml_says_all_that_a_recipe_ran_with(recipe, preset):
    resolved = resolve(recipe, preset, {"seed": 7, "encoder": {"stride": 16}, "head": HEADS[0], "loss": "+".join(LOSSES)})
    words = yaml.safe_load(resolved.to_yaml())
    assert (words.pop("recipe"), words.pop("preset")) == (recipe, preset)
    again = resolve(recipe, NO_PRESET, words)
    left_alone = {name for name in Choice.model_fields if name not in words}
    assert again.choice.model_dump(exclude=left_alone) == resolved.choice.model_dump(exclude=left_alone)
    assert (again.methods, again.encoder, again.machine, again.seed) == (resolved.methods, resolved.encoder, resolved.machine, 7)


# ---------------------------------------------------------------- sources


@every_method
def test_module_and_page_name_the_source(row):
    text = (documentation.ROOT / "src" / f"{row.module.replace('.', '/')}.py").read_text(encoding="utf-8")
    assert documentation.PAPER.search(row.line), f"{row.module}: the first line of its docstring names no (Authors, Venue Year)"
    assert documentation.undocumented_methods([row], documentation.ROOT / "docs" / "methods", {row.module: text}) == []


# ---------------------------------------------------------------- what methods make


@dataclass(frozen=True)
class Undisturbed:
    """A method that was let alone."""

    folder: Path
    key: str
    learners: list[tuple[Path, Watched]]


Ask = Callable[[registry.Method, bool], Undisturbed]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Ask:
    """Each method on the toy of its stage, once for all tests, with its learners watched."""
    known: dict[tuple[str, str, bool], Undisturbed] = {}
    fit = Run.fit

    def ask(row: registry.Method, optional: bool) -> Undisturbed:
        learners: list[tuple[Path, Watched]] = []

        def watched_fit(run: Run, name: str, learner: Any) -> Any:
            watched = Watched(learner)
            fit(run, name, watched)
            learners.append((run.folder / f"{run._steps[name]:02}-{name}", watched))
            return learner

        if (row.stage, row.name, optional) not in known:
            folder = tmp_path_factory.mktemp(row.name)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Run, "fit", watched_fit)
                product = play(row, optional, folder)
            known[row.stage, row.name, optional] = Undisturbed(folder, product.key, learners)
        return known[row.stage, row.name, optional]

    return ask


def files(folder: Path) -> dict[str, str]:
    """Hash of every file but the one that holds seconds."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != COST)
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def results(folder: Path) -> dict[str, Any]:
    """Every value, every network and every row of a log."""
    return contents(folder) | {str(path.relative_to(folder)): logged(path) for path in sorted(folder.rglob("log.csv"))}


@every_case
def test_run_twice_it_makes_the_same_files(row, optional, undisturbed, tmp_path):
    first = undisturbed(row, optional)
    assert play(row, optional, tmp_path).key == first.key
    assert files(tmp_path) == files(first.folder)
    assert any(name.endswith((".npz", ".pt")) for name in files(tmp_path))


@every_case
def test_stopped_in_every_map_it_ends_as_undisturbed(row, optional, undisturbed, tmp_path):
    screen = Stops("images", after=1)
    insist(row, optional, tmp_path, screen)
    first = undisturbed(row, optional)
    assert len(screen.stopped) == len({path.parent for path in first.folder.rglob("*.npz")})
    assert results(tmp_path) == results(first.folder)


@every_case
def test_resumed_at_step_3_it_ends_as_straight_through(row, optional, undisturbed, tmp_path):
    screen = Stops("steps", after=3)
    insist(row, optional, tmp_path, screen)
    first = undisturbed(row, optional)
    assert len(screen.stopped) == len(first.learners)
    assert results(tmp_path) == results(first.folder)


@every_case
def test_what_is_minimized_is_finite_and_logged(row, optional, undisturbed):
    for folder, watched in undisturbed(row, optional).learners:
        told = watched.told()
        assert told
        assert all(math.isfinite(float(value)) for value in told.values())
        assert logged(folder / "log.csv") == told


@every_case
def test_each_turn_moves_its_own_parameters(row, optional, undisturbed):
    for _, watched in undisturbed(row, optional).learners:
        for turn, own in watched.own().items():
            assert watched.moved[turn]
            assert watched.moved[turn] <= own


# ---------------------------------------------------------------- heads and losses

CHANNELS, STRIDES = (4, 8, 16, 24, 32), (2, 4, 8, 16, 32)


@pytest.mark.parametrize("name", HEADS)
def test_a_head_answers_at_its_stride_with_finite_gradients(name):
    torch.manual_seed(0)
    head, size = HeadFactory(name)(CHANNELS, STRIDES, 3).train(), (32, 64)
    levels = [torch.randn(2, c, size[0] // s, size[1] // s, requires_grad=True) for c, s in zip(CHANNELS, STRIDES, strict=True)]
    found = head(levels, size)
    assert found.logits.shape == (2, 3, size[0] // head.stride, size[1] // head.stride)
    assert all(aux.logits.shape[:2] == (2, 3) and aux.weight > 0 for aux in found.aux)
    (found.logits.square().mean() + sum(aux.logits.square().mean() for aux in found.aux)).backward()
    gradients = [parameter.grad for parameter in head.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    reached = [level.grad for level in levels if level.grad is not None]  # a head may read the finest level alone
    assert all(gradient.isfinite().all() for gradient in reached)
    assert any(gradient.any() for gradient in reached)


@pytest.mark.parametrize("confident", [True, False], ids=["with confidence", "without"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_gives_one_finite_value_per_image(name, confident):
    torch.manual_seed(0)
    logits = torch.randn(3, 4, 8, 8, requires_grad=True)
    label = torch.randint(0, 4, (3, 32, 32))
    label[0, :16], label[2] = 255, 255
    values = LossFactory(name)(logits, label, torch.rand(3, 32, 32) if confident else None, 0.5)
    assert values.shape == (3,)
    assert values.isfinite().all()
    assert values[2] == 0
    values.sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad[0].any()
    assert logits.grad[1].any()
    assert not logits.grad[2].any()


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_lower_for_a_better_answer(name):
    label = torch.randint(0, 4, (2, 8, 8), generator=torch.Generator().manual_seed(0))
    right = torch.nn.functional.one_hot(label, 4).permute(0, 3, 1, 2).float()
    loss = LossFactory(name)
    assert (loss(6 * right, label) < loss(0 * right, label)).all()
    assert (loss(0 * right, label) < loss(-6 * right, label)).all()
