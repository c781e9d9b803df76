"""`smidgen methods`: what there is, with its paper; with a name, its settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from smidgen.core import registry
from smidgen.core.errors import SettingsError
from smidgen.core.machine import default_preset
from smidgen.core.settings import Frozen, validated
from smidgen.recipes.choice import KINDS, checked_preset, of_kind


@dataclass(frozen=True)
class Setting:
    """One setting of a method.

    Args:
        name: Its name.
        default: The paper's value.
        preset: Its value in the preset.
        kind: Its type.
        help: What it means, with unit and source.
    """

    name: str
    default: Any
    preset: Any
    kind: str
    help: str


@dataclass(frozen=True)
class Listed:
    """One method or part.

    Args:
        stage: Stage, or kind of part.
        name: Its name.
        line: Its idea in one line, with its source.
        settings: Where one was asked for.
        preset: Name of the preset that `settings` speak of.
        unlike: For slices and volumes, the settings of which the preset has other values there.
    """

    stage: str
    name: str
    line: str
    settings: tuple[Setting, ...]
    preset: str = ""
    unlike: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def methods(name: str | None = None, *, preset: str | None = None) -> tuple[Listed, ...]:
    """List the methods, heads and losses.

    Args:
        name: Only this one, with its settings.
        preset: Whose values to show beside the paper's: small, base, large, demo, or a YAML file of your own.

    Returns:
        One row each, by stage.

    Raises:
        SettingsError: There is no such method, or no such preset.
    """
    classes = {(row.stage, row.name, row.line): registry.settings_of(row) for row in registry.methods()}
    for kind in ("head", "loss"):
        classes |= {(kind, part, registry.part_line(kind, part)): registry.part_settings(kind, part) for part in registry.parts(kind)}
    if name is None:
        return tuple(Listed(*about, ()) for about in classes)
    found = {about: kind for about, kind in classes.items() if about[1] == name}
    if not found:
        raise SettingsError(f"methods: nothing is called '{name}': {registry.nearest(name, (about[1] for about in classes))}")
    of = preset or default_preset()
    values = checked_preset(of)
    return tuple(_listed(about, kind, of, values) for about, kind in found.items())


def _listed(about: tuple[str, str, str], kind: type[Frozen], of: str, values: Mapping[str, Any]) -> Listed:
    name = about[1]
    usual = validated(kind, values.get(name, {}), name)
    unlike = {}
    for what in KINDS:
        there = validated(kind, of_kind(values, what).get(name, {}), name)
        if differing := {one: getattr(there, one) for one in kind.model_fields if getattr(there, one) != getattr(usual, one)}:
            unlike[what] = differing
    return Listed(*about, tuple(_settings(kind, usual)), of, unlike)


def _settings(kind: type[Frozen], usual: Frozen) -> Iterator[Setting]:
    for name, one in kind.model_fields.items():
        type_ = str(one.annotation).removeprefix("<class '").removesuffix("'>")
        yield Setting(name, one.default, getattr(usual, name), type_, one.description or "")
