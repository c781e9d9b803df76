"""A command's options are its action's signature, docstring and the settings it takes; nothing is written here twice."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import docstring_parser
import tyro
from pydantic import BaseModel, ConfigDict, Field, create_model

from smidgen.core import registry
from smidgen.core.errors import UsageError
from smidgen.core.machine import default_preset
from smidgen.core.settings import Frozen, preset, presets, validated
from smidgen.recipes.choice import FIXED, PARTS, USUAL, Choice, chosen, meant, of_kind, recipes

AS_JSON = "as_json"
JSON_HELP = "Print the result as one JSON document, an error as well; progress goes to the standard error."
NOT_WORDS = ("screen", "settings")
"""Parameters of actions that a person does not type."""
PATHS = tuple[Path, ...]
"""How a sequence of paths is typed."""


class Words(BaseModel):
    """What was typed, parsed."""

    model_config = ConfigDict(arbitrary_types_allowed=True)


def description(action: Callable[..., Any]) -> str:
    """The action's docstring without its sections."""
    parsed = docstring_parser.parse(inspect.getdoc(action) or "")
    return "\n\n".join(text for text in (parsed.short_description, parsed.long_description) if text)


def parse(action: Callable[..., Any], prog: str, words: Sequence[str]) -> dict[str, Any]:
    """Keyword arguments for an action from the words of a command line.

    Args:
        action: What to call.
        prog: The command as typed, for its help.
        words: What follows it.

    Raises:
        SystemExit: Help was asked for (0), or a word does not fit (2); both are printed.
        SettingsError: A method or preset is not known.
    """
    overlaid = of_kind(preset(dict(_pairs(words)).get("preset", default_preset())), "pictures")
    fields = parameters(action, overlaid)
    groups = _groups(words, overlaid) if "settings" in inspect.signature(action).parameters else {}
    fields |= {name: (type(one), Field(default=one, description=inspect.getdoc(type(one)))) for name, one in groups.items()}
    model = create_model("Words", __base__=Words, **fields)
    markers = (tyro.conf.PositionalMetavarFromFieldName,)
    parsed = tyro.cli(model, prog=prog, description=description(action), args=list(words), config=markers)
    fields.pop(AS_JSON)  # no matter of the action
    values = {name: getattr(parsed, name) for name in fields}
    for name, (hint, _) in fields.items():
        if typing.get_args(hint)[:1] == (PATHS,):
            values[name] = _some(values[name], name.upper())
    spoken = {name for name, _ in _pairs(words)}
    said = {name: _said(values.pop(name), name, spoken) for name in groups}
    return values | ({"settings": {name: one for name, one in said.items() if one}} if groups else {})


def parameters(action: Callable[..., Any], overlaid: Mapping[str, Any]) -> dict[str, Any]:
    """What can be said to an action, without settings.

    Args:
        action: What is called.
        overlaid: The preset, for the help.

    Returns:
        Name -> type for tyro, and field with help and default.
    """
    hints = typing.get_type_hints(action)
    help = {one.arg_name: one.description or "" for one in docstring_parser.parse(inspect.getdoc(action) or "").params}
    fields = {}
    for name, parameter in inspect.signature(action).parameters.items():
        if name in NOT_WORDS:
            continue
        hint, text = _typed(hints[name]), Field(description=help.get(name, ""))
        named = parameter.kind is inspect.Parameter.KEYWORD_ONLY
        if hint == PATHS:
            hint = Annotated[hint, tyro.conf.arg(metavar=_several(name), help_behavior_hint="(required)")]
        if parameter.default is None:
            shown = tyro.conf.arg(metavar=_kind(hint) if named else None, help_behavior_hint=_possible(name, overlaid))
            hint = Annotated[hint, shown]
        if hint is bool:
            hint = tyro.conf.FlagCreatePairsOff[bool]
        if not named:
            hint = Annotated[hint, tyro.conf.Positional]
        if parameter.default is not inspect.Parameter.empty:
            text = Field(default=parameter.default, description=help.get(name, ""))
        fields[name] = (hint, text)
    flag = Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(name="json")]  # pydantic's models have something called json
    return fields | {AS_JSON: (flag, Field(default=False, description=JSON_HELP))}


def _typed(hint: Any) -> Any:
    """What can be typed of what Python takes: a path for a dataset, several paths for a sequence of them."""
    options = typing.get_args(hint)
    if not _is_union(hint) or Path not in options:
        return hint
    if any(typing.get_origin(option) is Sequence for option in options):
        return PATHS
    return Path | None if type(None) in options else Path


def _some(paths: Sequence[Path], where: str) -> Path | Sequence[Path]:
    """One path (which may be a folder), or several.

    Raises:
        UsageError: There is none.
    """
    if not paths:
        raise UsageError(f"{where} is missing: name a folder, a file, or several files")
    return paths[0] if len(paths) == 1 else paths


def _kind(hint: Any) -> str:
    """How an option that may be left out is shown: without the None that says so in Python."""
    said = next(option for option in typing.get_args(hint) if option is not type(None))
    origin, inner = typing.get_origin(said), typing.get_args(said)
    if origin is typing.Literal:
        return "{" + ",".join(map(str, inner)) + "}"
    return _several(inner[0].__name__) if origin is tuple else said.__name__.upper()


def _several(word: str) -> str:
    return f"{word.upper()} [{word.upper()} ...]"


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _possible(name: str, overlaid: Mapping[str, Any]) -> str:
    """What can be said for an option, where there is a list of it, and what is taken where nothing is said."""
    listed = "" if name == "preset" else ", ".join(known(name))
    choice = Choice(**{place: overlaid[place] for place in Choice.model_fields if place in overlaid})
    usual = choice.model_dump() | {"preset": default_preset()}
    value = usual.get(name, "")
    default = f"default: {value if isinstance(value, str) else '+'.join(value)}" if value else ""
    return f"({'; '.join(filter(None, (listed, default)))})" if listed or default else ""


def known(name: str) -> tuple[str, ...]:
    """The words that there are for an option; none: anything can be said."""
    rows = registry.methods()
    lists = {
        "recipe": (*recipes(), *(row.name for row in rows if row.stage == "semi")),
        "until": dict.fromkeys(row.stage for row in rows),
        "preset": presets(),
    }
    lists |= {kind: registry.parts(kind) for kind in PARTS}
    return tuple(lists.get(name, [row.name for row in rows if row.stage == name]))


def _groups(words: Sequence[str], values: Mapping[str, Any]) -> dict[str, Frozen]:
    """Settings to offer: of the methods that are named or would run, and of those whose settings are spoken of."""
    spoken = dict(_pairs(words))
    usual = {**values, **USUAL.get(spoken.get("recipe", ""), {})}
    named = {name: spoken.get(name, usual.get(name)) for name in Choice.model_fields}
    places = {name: value for name, value in named.items() if value is not None}
    recipe, places = meant(spoken.get("recipe", "tags"), places)
    classes = dict(FIXED) | chosen(validated(Choice, places, "recipe"), recipe if recipe in recipes() else "tags")
    prefixes = {word.split(".")[0] for word in spoken if "." in word}
    for row in registry.methods():
        if row.name in prefixes:
            classes.setdefault(row.name, registry.settings_of(row))
    for kind in PARTS:
        for name in prefixes.intersection(registry.parts(kind)):
            classes.setdefault(name, registry.part_settings(kind, name))
    return {name: validated(kind, values.get(name, {}), name) for name, kind in classes.items()}


def _pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    """`--name value` and `--name=value`, wherever they stand."""
    pairs = []
    for word, following in zip(words, [*words[1:], ""], strict=False):
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            pairs.append((name.replace("-", "_"), value or following))
    return pairs


def _said(values: Frozen, group: str, spoken: Collection[str]) -> dict[str, Any]:
    """The settings of a group that were typed, be it with their usual value: a preset may say something else for such data."""
    return {name: value for name, value in values.model_dump(mode="json").items() if {f"{group}.{name}", f"{group}.no_{name}"} & {*spoken}}
