"""A call as the words of a command line, to type it again."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any


def spoken(
    action: Callable[..., Any], what: Sequence[object], options: Mapping[str, Any], settings: Mapping[str, Any] | None = None
) -> str:
    """The command that does what a call of an action does.

    Args:
        action: Its name is the command; options that have its default are left out.
        what: Arguments that stand first.
        options: Further arguments by name; those that the action does not know are left out.
        settings: Settings by method.
    """
    parameters = inspect.signature(action).parameters.values()
    defaults = {one.name: one.default for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY}
    said = [word for name, value in options.items() if name in defaults and value != defaults[name] for word in _words("", name, value)]
    groups = (settings or {}).items()
    set_ = [word for group, values in groups for name, value in dict(values).items() for word in _words(f"{group}.", name, value)]
    return shlex.join(["smidgen", action.__name__, *map(str, what), *said, *set_])


def _words(group: str, name: str, value: Any) -> Iterator[str]:
    if isinstance(value, bool):
        yield f"--{group}{'' if value else 'no-'}{name}".replace("_", "-")
        return
    yield f"--{group}{name}".replace("_", "-")
    yield from map(str, value if isinstance(value, list | tuple) else [value])
