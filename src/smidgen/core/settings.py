"""Settings: one frozen model per method or part; words, YAML and presets are the same names.

Defaults are the paper's and stand in the method's settings class only. A preset overlays measured choices; words overlay the preset.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, reduce
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from smidgen.core.errors import SettingsError

PRESETS = Path(__file__).parents[1] / "presets"
NO_PRESET = "paper"
"""The preset that overlays nothing."""
BUILDS_ON = "builds_on"
"""Word of a preset that names the one below it."""
SUFFIXES = (".yaml", ".yml")


class Frozen(BaseModel):
    """Base of all settings: immutable, unknown keys refused, the docstring behind a field is its help."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


S = TypeVar("S", bound=Frozen)


@dataclass(frozen=True)
class Length:
    """Marks the setting that says how long a method works, as metadata of its annotation: `Annotated[float, Length(least=2, rounds=True)]`.

    Args:
        least: Shorter than this the result is of no use; `--minutes` does not go below.
        rounds: It counts passes over the images (epochs); else steps of training, or work on each image.
        overrides: Where it is above 0, it takes the place of the method's other lengths.
        least_steps: So many training steps are the least as well, however few images there are.
    """

    least: float | int
    rounds: bool = False
    overrides: bool = False
    least_steps: int = 0


def length(settings: Frozen) -> tuple[str, Length] | None:
    """Name and mark of the setting that says how long a method works; None: it has none."""
    marked = [(name, one) for name, field in type(settings).model_fields.items() for one in field.metadata if isinstance(one, Length)]
    in_force = [(name, one) for name, one in marked if getattr(settings, name) > 0]
    return next((pair for pair in in_force if pair[1].overrides), in_force[0] if in_force else None)


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
    start_method: Literal["auto", "fork", "forkserver", "spawn"] = "auto"
    """How those are started; auto = fork on Linux (quick), spawn elsewhere (as macOS and Windows do). The numbers do not depend on it."""
    threads: int = 0
    """Threads per process; 0 = what OMP_NUM_THREADS says, else all cores, shared by the processes."""
    checkpoint_seconds: float = 60.0
    """Seconds between two checkpoints of a training: what a kill costs at most."""


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
def _shipped(name: str) -> dict[str, Any]:
    return yaml.safe_load((PRESETS / f"{name}.yaml").read_text(encoding="utf-8")) or {}


def is_file(name: str) -> bool:
    """Whether a preset is a user's own file; it ends in .yaml or .yml."""
    return Path(name).suffix.lower() in SUFFIXES


def _own(path: Path) -> dict[str, Any]:
    """What a user's file says.

    Raises:
        SettingsError: There is none, or it is no YAML with names and values.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--preset {path}: can't be read ({error}): name a YAML file, or one of {', '.join(presets())}") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"--preset {path}: no YAML ({' '.join(str(error).split())}): correct it there") from error
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise SettingsError(f"--preset {path}: expected names with values (advcam: {{steps: 8}}), found something else: correct it there")
    return values


def preset(name: str) -> dict[str, Any]:
    """What a preset says; it may build on another (`builds_on: NAME`).

    Args:
        name: A preset that smidgen ships, or a YAML file of the same form; what it builds on may be a file beside it.

    Raises:
        SettingsError: There is no such preset, or it builds on itself.
    """
    layers: list[dict[str, Any]] = []
    seen: list[str] = []
    while name != NO_PRESET:
        if name in seen:
            raise SettingsError(f"--preset {seen[0]}: {name} builds on itself: correct builds_on")
        seen.append(name)
        if is_file(name):
            values = dict(_own(Path(name)))
        elif name in presets():
            values = dict(_shipped(name))
        else:
            raise SettingsError(f"--preset {name}: no such preset: {_nearest(name, presets())} (a file of your own ends in .yaml)")
        below = str(values.pop(BUILDS_ON, None) or NO_PRESET)
        layers.append(values)
        name = str(Path(name).parent / below) if is_file(name) and is_file(below) else below
    return reduce(overlay, reversed(layers), {})


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
