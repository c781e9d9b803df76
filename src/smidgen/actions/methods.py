"""`smidgen methods`: what there is, with its paper; with a name, its settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from smidgen.core import registry
from smidgen.core.errors import SettingsError
from smidgen.core.settings import Frozen


@dataclass(frozen=True)
class Setting:
    """One setting of a method: name, default, kind, and meaning with unit and source."""

    name: str
    default: Any
    kind: str
    help: str


@dataclass(frozen=True)
class Listed:
    """One method or part: stage (or kind of part), name, idea in one line with its source, settings."""

    stage: str
    name: str
    line: str
    settings: tuple[Setting, ...]


def methods(name: str | None = None) -> tuple[Listed, ...]:
    """List the methods, heads and losses.

    Args:
        name: Only this one, with its settings.

    Returns:
        One row each, by stage.

    Raises:
        SettingsError: There is none of this name.
    """
    rows = [Listed(row.stage, row.name, row.line, _settings(registry.settings_of(row)) if name else ()) for row in registry.methods()]
    for kind in ("head", "loss"):
        rows += [
            Listed(kind, part, registry.part_line(kind, part), _settings(registry.part_settings(kind, part)))
            for part in registry.parts(kind)
        ]
    if name is None:
        return tuple(rows)
    found = tuple(row for row in rows if row.name == name)
    if not found:
        raise SettingsError(f"methods: nothing is called '{name}': {registry.nearest(name, (row.name for row in rows))}")
    return found


def _settings(kind: type[Frozen]) -> tuple[Setting, ...]:
    return tuple(
        Setting(name, field.default, str(field.annotation).removeprefix("<class '").removesuffix("'>"), field.description or "")
        for name, field in kind.model_fields.items()
    )
