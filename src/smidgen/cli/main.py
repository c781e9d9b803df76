"""Turns words into a call of an action; knows no command, option or default of its own."""

from __future__ import annotations

import ast
import importlib
import inspect
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import smidgen
from smidgen.core import registry
from smidgen.core.conventions import INTERRUPTED
from smidgen.core.errors import SmidgenError, UsageError
from smidgen.core.processes import is_copy

ACTIONS = Path(__file__).parents[1] / "actions"
DEFAULT_HELP = ("-h", "--help", "help")


def commands() -> tuple[str, ...]:
    """Names of the commands: the actions."""
    return smidgen.ACTIONS


def entry() -> None:
    """The program `smidgen`."""
    sys.exit(main(sys.argv[1:]))


def main(words: Sequence[str]) -> int:
    """Run one command.

    Args:
        words: What was typed after `smidgen`.

    Returns:
        0 done, 1 the work failed, 2 wrong words or data, 130 interrupted.
    """
    try:
        if not words or words[0] in DEFAULT_HELP:
            return _overview()
        if words[0] in ("--version", "-V"):
            sys.stdout.write(f"smidgen {smidgen.__version__}\n")
            return 0
        return _command(words[0], list(words[1:]))
    except SmidgenError as error:
        _complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        _complain("stopped; the same command goes on where it stopped")
        return INTERRUPTED
    except BrokenPipeError:  # who read along has seen enough, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is None:
            raise
        _complain(f"{error.filename}: {error.strerror}: check the path, its permissions and the space on its disk")
        return 1
    except SystemExit as leaving:
        return int(leaving.code or 0)


def _command(name: str, words: list[str]) -> int:
    if name not in commands():
        raise UsageError(f"smidgen {name}: no such command: {registry.nearest(name, commands())}")
    from smidgen.cli.options import parse

    action: Callable[..., Any] = getattr(importlib.import_module(f"smidgen.actions.{name}"), name)
    values = parse(action, f"smidgen {name}", words)
    from rich.console import Console

    from smidgen.cli.screen import Terminal
    from smidgen.cli.show import show

    logging.getLogger("smidgen").addHandler(logging.NullHandler())
    console = Console(highlight=False)
    if "screen" in inspect.signature(action).parameters:
        values["screen"] = Terminal(console)
    result = action(**values)
    if not is_copy():
        show(result, console)
    return 0


def _overview() -> int:
    lines = [f"smidgen {smidgen.__version__}: a smidgen of labels in, a segmentation model out", "", "usage: smidgen COMMAND …", ""]
    lines += [f"  {name:10}{_first_line(name)}" for name in commands()]
    lines += ["", "smidgen COMMAND --help tells more. Start with: smidgen demo", ""]
    sys.stdout.write("\n".join(lines))
    return 0


def _first_line(name: str) -> str:
    tree = ast.parse((ACTIONS / f"{name}.py").read_text(encoding="utf-8"))
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    return (ast.get_docstring(function) or "").split("\n")[0]


def _complain(text: str) -> None:
    sys.stderr.write(f"smidgen: {text}\n")
