"""A command's options are its action's signature, docstring and the settings it takes; nothing is written here twice."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import docstring_parser
import tyro
from pydantic import BaseModel, ConfigDict, Field, create_model

from smidgen.core import registry
from smidgen.core.machine import default_preset
from smidgen.core.settings import Frozen, Machine, preset, validated
from smidgen.parts.networks.settings import Encoder
from smidgen.recipes.choice import Choice, chosen, split

NOT_WORDS = ("screen", "settings")
"""Parameters of actions that a person does not type."""
FIXED: Mapping[str, type[Frozen]] = {"encoder": Encoder, "machine": Machine}


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
        SettingsError: A method is not known.
    """
    fields = _parameters(action)
    groups = _groups(words) if "settings" in inspect.signature(action).parameters else {}
    fields |= {name: (type(one), Field(default=one, description=f"Settings of {name}.")) for name, one in groups.items()}
    model = create_model("Words", __base__=Words, **fields)
    markers = (tyro.conf.FlagCreatePairsOff, tyro.conf.PositionalMetavarFromFieldName)
    parsed = tyro.cli(model, prog=prog, description=description(action), args=list(words), config=markers)
    values = {name: getattr(parsed, name) for name in fields}
    said = {name: _difference(values.pop(name), one) for name, one in groups.items()}
    return values | ({"settings": {name: one for name, one in said.items() if one}} if groups else {})


def _parameters(action: Callable[..., Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(action)
    help = {one.arg_name: one.description or "" for one in docstring_parser.parse(inspect.getdoc(action) or "").params}
    fields = {}
    for name, parameter in inspect.signature(action).parameters.items():
        if name in NOT_WORDS:
            continue
        required = parameter.default is inspect.Parameter.empty
        hint = _typed(hints[name])
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            hint = Annotated[hint, tyro.conf.Positional]
        fields[name] = (
            hint,
            Field(description=help.get(name, "")) if required else Field(default=parameter.default, description=help.get(name, "")),
        )
    return fields


def _typed(hint: Any) -> Any:
    """What can be typed of what Python takes: a path for a dataset, several paths for a sequence of them."""
    options = typing.get_args(hint) if type(hint) in (typing.Union, type(int | str)) else (hint,)
    if Path not in options:
        return hint
    return Path | None if type(None) in options else Path


def _groups(words: Sequence[str]) -> dict[str, Frozen]:
    """Settings to offer: of the methods that are named or would run, and of those whose settings are spoken of."""
    spoken = dict(_pairs(words))
    values = preset(spoken.get("preset", default_preset()))
    named = {name: spoken.get(name, values.get(name)) for name in Choice.model_fields}
    places = {name: split(value) if name == "refine" else value for name, value in named.items() if value is not None}
    classes = dict(FIXED) | chosen(validated(Choice, places, "recipe"), "tags")
    prefixes = {word.split(".")[0] for word in spoken if "." in word}
    for row in registry.methods():
        if row.name in prefixes:
            classes.setdefault(row.name, registry.settings_of(row))
    return {name: validated(kind, values.get(name, {}), name) for name, kind in classes.items()}


def _pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    """`--name value` and `--name=value`, wherever they stand."""
    pairs = []
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            pairs.append((name.replace("-", "_"), value or following))
    return pairs


def _difference(said: Frozen, default: Frozen) -> dict[str, Any]:
    return {name: value for name, value in said.model_dump(mode="json").items() if value != default.model_dump(mode="json")[name]}
