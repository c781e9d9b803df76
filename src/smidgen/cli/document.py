"""What an action gives back, as one JSON document; nothing here knows an action."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.core.errors import DataError, SmidgenError

FIGURES = "figures"
"""A result that has more than its fields to tell, or less, has a property of this name: words to plain values."""


def document(result: Any) -> str:
    """A result as text: one JSON document.

    Args:
        result: A dataclass (its `figures`, else its fields), or a sequence of them.
    """
    return json.dumps(plain(result), ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def failure(error: BaseException, code: int, text: str = "") -> str:
    """An error as text: one JSON document with its kind, its words and the exit code.

    Args:
        error: What was raised.
        code: The exit code.
        text: Its words, where the error has none.
    """
    told: dict[str, Any] = {"kind": type(error).__name__, "message": text or str(error), "exit_code": code}
    if isinstance(error, DataError):
        told["problems"] = [plain(problem) for problem in error.problems]
    elif not isinstance(error, SmidgenError):
        told["kind"] = "Stopped" if isinstance(error, KeyboardInterrupt) else "UsageError" if code == 2 else told["kind"]
    return document({"error": told})


def plain(value: Any) -> Any:
    """Plain values for JSON: paths and numpy's numbers as what they are, what is not a finite number as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        told = getattr(value, FIGURES, None)
        return plain({one.name: getattr(value, one.name) for one in dataclasses.fields(value)} if told is None else told)
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, str | bool | int) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    return str(value)
