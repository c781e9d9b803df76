"""Scripts with which a shell completes commands, options and the names of methods; tyro writes them from the same options as the help."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union

import tyro
from pydantic import Field, create_model

import smidgen
from smidgen.cli import options
from smidgen.core.errors import UsageError
from smidgen.core.machine import default_preset
from smidgen.core.settings import Frozen, preset, validated
from smidgen.recipes.choice import all_settings

HOW = {
    "bash": "~/.local/share/bash-completion/completions/smidgen",
    "zsh": "a file named _smidgen in a folder of $fpath",
    "fish": "~/.config/fish/completions/smidgen.fish",
}
"""The shells, and where each looks for a script."""


def script(shell: str) -> str:
    """The script that completes `smidgen` in a shell.

    Args:
        shell: One of `HOW`.

    Raises:
        UsageError: No such shell.
    """
    if shell not in HOW:
        known = "; ".join(f"smidgen --completion {name} > {place}" for name, place in HOW.items())
        raise UsageError(f"--completion {shell}: expected {', '.join(HOW)}: {known}")
    written = io.StringIO()
    commands: Any = Union[tuple(Annotated[_model(name), tyro.conf.subcommand(name, prefix_name=False)] for name in smidgen.ACTIONS)]  # noqa: UP007
    with contextlib.redirect_stdout(written), contextlib.suppress(SystemExit):
        tyro.cli(commands, prog="smidgen", args=["--tyro-print-completion", shell])
    return written.getvalue()


def _model(command: str) -> Any:
    """All that can be said to a command: its options, and the settings of every method and part."""
    action = getattr(importlib.import_module(f"smidgen.actions.{command}"), command)
    overlaid = preset(default_preset())
    fields: dict[str, Any] = {name: _listed(name, field, overlaid) for name, field in options.parameters(action, overlaid).items()}
    if "settings" in inspect.signature(action).parameters:
        fields |= {name: (type(one), Field(default=one)) for name, one in _all_settings(overlaid).items()}
    return create_model(f"Words{command}", __base__=options.Words, **fields)


def _listed(name: str, field: tuple[Any, Any], overlaid: Mapping[str, Any]) -> tuple[Any, Any]:
    """An option with the names that there are for it as its values."""
    hint, text = field
    known = tuple(options.known(name))
    if not known or text.default is not None:
        return field
    inner = typing.get_args(hint)
    return Annotated[(Literal[known] | None, *inner[1:])], text


def _all_settings(overlaid: Mapping[str, Any]) -> dict[str, Frozen]:
    return {name: validated(kind, overlaid.get(name, {}), name) for name, kind in all_settings().items()}
