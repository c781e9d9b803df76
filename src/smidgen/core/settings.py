"""Settings: one frozen model per method or part; words, YAML and presets are the same names.

Defaults are the paper's and stand in the method's settings class only. A preset overlays measured choices; words overlay the preset.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from smidgen.core.errors import SettingsError

PRESETS = Path(__file__).parents[1] / "presets"
NO_PRESET = "paper"
"""The preset that overlays nothing."""


class Frozen(BaseModel):
    """Base of all settings: immutable, unknown keys refused, the docstring behind a field is its help."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


S = TypeVar("S", bound=Frozen)


class Machine(Frozen):
    """What the work runs on. No result depends on it but for the precision, so only that enters a KEY."""

    devices: int = 1
    """Processes on this machine, one a GPU (or a share of the cores)."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Kind of device; auto = GPU where there is one."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Number format of training and climbing."""
    workers: int = 0
    """Further processes that prepare samples; 0 = the training process does it."""
    threads: int = 0
    """Threads per process; 0 = what OMP_NUM_THREADS says, else all cores, shared by the processes."""


def overlay(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with what `over` says; groups are merged, everything else is replaced."""
    merged = dict(base)
    for name, value in over.items():
        below = merged.get(name)
        merged[name] = overlay(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return merged


def presets() -> tuple[str, ...]:
    """Names of all presets."""
    return (NO_PRESET, *sorted(path.stem for path in PRESETS.glob("*.yaml")))


@lru_cache
def _read(name: str) -> dict[str, Any]:
    return yaml.safe_load((PRESETS / f"{name}.yaml").read_text(encoding="utf-8")) or {}


def preset(name: str) -> dict[str, Any]:
    """What a preset says; it may build on another (`builds_on: NAME`).

    Raises:
        SettingsError: There is no such preset.
    """
    if name == NO_PRESET:
        return {}
    if name not in presets():
        raise SettingsError(f"--preset {name}: no such preset: {_nearest(name, presets())}")
    values = dict(_read(name))
    below = values.pop("builds_on", None)
    return overlay(preset(below), values) if below else values


def validated(kind: type[S], values: Mapping[str, Any], where: str) -> S:
    """An instance of `kind`.

    Args:
        kind: Settings class.
        values: Field -> value; fields that are not there get their defaults.
        where: What the fields belong to, for messages: `advcam`.

    Raises:
        SettingsError: An unknown field (with the nearest known one) or an impossible value.
    """
    for name in values:
        if name not in kind.model_fields:
            raise SettingsError(f"{where}.{name}: no such setting: {_nearest(name, kind.model_fields)}")
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join([where, *map(str, first["loc"])])
        raise SettingsError(f"{place}: {first['msg']}; got {first['input']!r}") from error


def _nearest(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, sorted(known), n=1)
    return f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(sorted(known))}"
