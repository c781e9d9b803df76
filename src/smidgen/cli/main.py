"""Turns words into a call of an action; knows no command, option or default of its own."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import smidgen
from smidgen.core import registry
from smidgen.core.conventions import INTERRUPTED
from smidgen.core.errors import SmidgenError, UsageError
from smidgen.core.processes import speaks

ACTIONS = Path(__file__).parents[1] / "actions"
DEFAULT_HELP = ("-h", "--help", "help")
JSON = "--json"
ON_STDERR = "SMIDGEN_PROGRESS_ON_STDERR"
"""Tells the copies of a command that its standard output is kept for one JSON document."""
STOPPED = "stopped"
"""What is said after Ctrl-C, unless the action's module says more, under this name in capitals: whether the same command goes on."""


def commands() -> tuple[str, ...]:
    """Names of the commands: the actions."""
    return smidgen.ACTIONS


def entry() -> None:
    """The program `smidgen`."""
    code = main(sys.argv[1:])
    signal.signal(signal.SIGINT, lambda *_: os._exit(code))  # all is written and said: Ctrl-C while Python tidies up only hastens it
    sys.exit(code)


def main(words: Sequence[str]) -> int:
    """Run one command.

    Args:
        words: What was typed after `smidgen`.

    Returns:
        0 done, 1 the work failed, 2 wrong words or data, 130 interrupted.
    """
    as_json = JSON in words and bool(words) and words[0] in commands() and not set(DEFAULT_HELP[:2]).intersection(words)
    try:
        return _answered(words, as_json)
    except BrokenPipeError:  # who read along has seen enough, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (SmidgenError, KeyboardInterrupt, SystemExit, OSError) as error:
        code, text = _failed(error, words)
        if text:
            sys.stderr.write(f"smidgen: {text}\n")
        if as_json and code and speaks():
            from smidgen.cli.document import failure

            sys.stdout.write(failure(error, code, text))
        return code


def _answered(words: Sequence[str], as_json: bool) -> int:
    if not words or words[0] in DEFAULT_HELP:
        return _overview()
    if words[0] in ("--version", "-V"):
        sys.stdout.write(f"smidgen {smidgen.__version__}\n")
        return 0
    if words[0] == "--completion":
        from smidgen.cli.completion import script

        sys.stdout.write(script(words[1] if len(words) > 1 else ""))
        return 0
    return _command(words[0], list(words[1:]), as_json)


def _failed(error: BaseException, words: Sequence[str]) -> tuple[int, str]:
    """Exit code and words for what ended a command.

    Raises:
        OSError: Of which it can't be told what it was about.
    """
    if isinstance(error, SmidgenError):
        return error.exit_code, str(error)
    if isinstance(error, KeyboardInterrupt):
        module = sys.modules.get(f"smidgen.actions.{words[0]}") if words else None
        return INTERRUPTED, getattr(module, "STOPPED", STOPPED)
    if isinstance(error, SystemExit):
        return int(error.code or 0), ""  # who raised it has said why
    assert isinstance(error, OSError)
    if error.filename is None:
        raise error
    return 1, f"{error.filename}: {error.strerror}: check the path, its permissions and the space on its disk"


def _command(name: str, words: list[str], as_json: bool) -> int:
    if name not in commands():
        raise UsageError(f"smidgen {name}: no such command: {registry.nearest(name, commands())}")
    from smidgen.cli.options import parse

    action: Callable[..., Any] = getattr(importlib.import_module(f"smidgen.actions.{name}"), name)
    values = parse(action, f"smidgen {name}", words)
    from rich.console import Console

    from smidgen.core.terminal import Terminal

    with _progress_on_stderr() if as_json else nullcontext():
        console = Console(highlight=False, stderr=ON_STDERR in os.environ)
        if "screen" in inspect.signature(action).parameters:
            values["screen"] = Terminal(console)
        result = action(**values)
    if not speaks():
        return 0
    if as_json:
        from smidgen.cli.document import document

        sys.stdout.write(document(result))
    else:
        from smidgen.cli.show import show

        show(result, console)
    return getattr(result, "exit_code", 0)


@contextmanager
def _progress_on_stderr() -> Iterator[None]:
    before = os.environ.get(ON_STDERR)
    os.environ[ON_STDERR] = "1"
    try:
        yield
    finally:
        os.environ.pop(ON_STDERR)
        if before is not None:
            os.environ[ON_STDERR] = before


def _overview() -> int:
    lines = [f"smidgen {smidgen.__version__}: a smidgen of labels in, a segmentation model out", "", "usage: smidgen COMMAND …", ""]
    lines += [f"  {name:10}{_first_line(name)}" for name in commands()]
    lines += ["", "smidgen COMMAND --help tells more. Start with: smidgen demo"]
    lines += ["smidgen --completion bash (zsh, fish) prints a script that completes commands, methods and settings", ""]
    sys.stdout.write("\n".join(lines))
    return 0


def _first_line(name: str) -> str:
    tree = ast.parse((ACTIONS / f"{name}.py").read_text(encoding="utf-8"))
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    return (ast.get_docstring(function) or "").split("\n")[0]
