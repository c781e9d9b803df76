"""One file format for all values between stages: npz with a JSON part; nothing is ever unpickled.

A value is a frozen dataclass of arrays and plain values, or one array or plain value by itself.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import re
import types
import typing
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.core.errors import SmidgenError, WriteError

PLAIN = "__plain__"
SUFFIX = ".npz"
LEFT_OVER = ".*.part.*"
"""Names of files that somebody who was killed had begun to write."""
FORBIDDEN = re.compile(r'[<>:"|?*\\%\x00-\x1f]|[. ](?=/|$)')
"""In names on Windows; % so that no two ids become one name. A / parts folders."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The disk, or the user's share of it, is full."""


def write_atomically(path: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` write a temporary file beside `path` and rename it: a file with its final name is a whole one.

    The temporary name carries the process and keeps the suffix, so two processes never meet and numpy appends nothing.

    Raises:
        WriteError: The disk is full, or the place may not be written to; whatever had the name before is still there.
    """
    part = path.with_name(f".{os.getpid()}.part.{path.name}")
    try:
        fill(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())  # else the name may reach the disk before the content (docs/decisions/0029-written-through.md)
        part.replace(path)
    except Exception as error:
        if (reason := _of_the_system(error)) is None:
            raise
        raise unwritable(path, reason) from error
    finally:
        with contextlib.suppress(OSError):  # where the disk fails this may, too; the first error is the one to tell
            part.unlink(missing_ok=True)


def _of_the_system(error: BaseException) -> OSError | None:
    """The system's word behind an error: torch says only `unexpected pos` where the disk is full."""
    behind = error.__cause__ or error.__context__
    return error if isinstance(error, OSError) else _of_the_system(behind) if behind else None


def unwritable(path: Path, error: OSError) -> WriteError:
    """What to say when a file could not be written."""
    remedy = "make room on its disk" if error.errno in FULL else "see that its folder may be written to"
    return WriteError(f"{path}: could not be written ({error.strerror or error}): {remedy}; the same command goes on where it stopped")


def remove_leftovers(path: Path) -> None:
    """Remove what processes left that were killed while they wrote `path`. For a file that only one process writes."""
    for part in path.parent.glob(f".*.part.{path.name}"):
        part.unlink(missing_ok=True)


def remove_leftovers_of(folder: Path, paths: Collection[Path]) -> None:
    """The same for many files below a folder at once."""
    for part in folder.rglob(LEFT_OVER):
        if part.with_name(part.name.partition(".part.")[2]) in paths:
            part.unlink(missing_ok=True)


def remove_leftovers_of_run(folder: Path) -> None:
    """The same for a run that is done, whose lock keeps others out."""
    for part in (*folder.glob(LEFT_OVER), *(folder / "stages").rglob(LEFT_OVER)):
        part.unlink(missing_ok=True)


def portable(id: str) -> str:
    """An image's id as a file name that every system takes, the same for the same id: what some forbid is written as %XX."""
    return FORBIDDEN.sub(lambda found: f"%{ord(found[0]):02X}", id)


def save(value: Any, path: Path) -> None:
    """Write a value; the file appears whole or not at all."""
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)} if dataclasses.is_dataclass(value) else {"value": value}
    arrays: dict[str, Any] = {name: field for name, field in fields.items() if isinstance(field, np.ndarray)}
    plain = json.dumps({name: field for name, field in fields.items() if name not in arrays}, default=_plain)
    arrays[PLAIN] = np.frombuffer(plain.encode(), np.uint8)

    def fill(part: Path) -> None:
        with part.open("wb") as file:
            np.savez_compressed(file, **arrays)

    write_atomically(path, fill)


def load(path: Path, kind: type | None = None) -> Any:
    """Read what `save` wrote: a `kind`, or the bare value if that is None.

    Raises:
        SmidgenError: The file is broken (naming it and the remedy).
    """
    fields = _fields(path)
    return fields["value"] if kind is None else _made(kind, fields)


def load_part(path: Path, kind: type) -> Any:
    """Of what `save` wrote, the fields that `kind` has; the others, which may be large, are not read.

    Raises:
        SmidgenError: The file is broken (naming it and the remedy).
    """
    return _made(kind, _fields(path, {field.name for field in dataclasses.fields(kind)}))


def _fields(path: Path, only: Collection[str] | None = None) -> dict[str, Any]:
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            plain = json.loads(file[PLAIN].tobytes())
            wanted = [name for name in file.files if name != PLAIN and (only is None or name in only)]
            return {name: field for name, field in plain.items() if only is None or name in only} | {name: file[name] for name in wanted}
    except Exception as error:  # a broken file fails in many ways: zip, zlib, struct, JSON, …
        raise SmidgenError(f"{path}: not a readable result ({error}): delete this file and run the same command again") from error


def _made(kind: type, fields: dict[str, Any]) -> Any:
    hints = typing.get_type_hints(kind)
    return kind(**{name: _as_hinted(field, hints.get(name)) for name, field in fields.items()})


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a result holds a {type(value).__name__}: give it arrays and plain values only")


def _as_hinted(value: Any, hint: Any) -> Any:
    """JSON knows no tuples: give them back where the annotation wants them, however deep."""
    if not isinstance(value, list):
        return value
    inner = typing.get_args(hint)
    if hint is tuple or typing.get_origin(hint) is tuple:
        each = inner[:1] * len(value) if inner[1:] == (...,) else inner or (None,) * len(value)
        return tuple(_as_hinted(item, of) for item, of in zip(value, each, strict=True))
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return _as_hinted(value, next((part for part in inner if part is not type(None)), None))
    return [_as_hinted(item, inner[0] if inner else None) for item in value]
