"""What stored label values mean where somebody says it (`values` in dataset.yaml), and when to ask: 0 may mean "nobody has looked"."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence

from smidgen.core.errors import Problem
from smidgen.data.labels import Values, color_key, shown
from smidgen.data.layout import YAML, nearest, plain, told
from smidgen.products.sample import IGNORED, Classes

UNLABELED = "unlabeled"
"""The name of pixels that nobody labeled."""
MOSTLY = 0.9
"""Share of pixels of value 0 from which on it is said what they are taken for: scribbles cover a few percent."""
DRAWN = re.compile(r"scribble|stroke|point|click", re.IGNORECASE)
"""Names of folders whose labels cover little of an image."""
COLOR_NAME = re.compile(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})")


def stored(written: int | str) -> int | None:
    """A value as dataset.yaml writes it - 3, -1 or "#ff0000" - as `labels.packed` gives it; None where it is none."""
    if isinstance(written, int):
        return written
    if color := COLOR_NAME.fullmatch(written.strip()):
        return color_key(*(int(part, 16) for part in color.groups()))
    return int(written) if re.fullmatch(r"-?\d+", written.strip()) else None


def names_in(values: Mapping[int | str, str]) -> list[str]:
    """The classes that are named there, in the order of writing."""
    return list(dict.fromkeys(name for one in values.values() if (name := plain(one.strip())).casefold() != UNLABELED))


def coded(values: Mapping[int | str, str], classes: Classes, where: str = YAML) -> tuple[Values, list[Problem]]:
    """The meaning of label files whose values are listed.

    Args:
        values: Stored value -> name of a class, or `unlabeled`.
        classes: All classes.
        where: What problems name.

    Returns:
        The meaning, and what can't be understood.
    """
    known = {name.casefold(): i for i, name in enumerate(classes.names)} | {UNLABELED: IGNORED}
    table, problems = {IGNORED: IGNORED}, []
    for written, name in values.items():
        value, id = stored(written), known.get(plain(name.strip()).casefold())
        if value is None:
            problems.append(Problem(where, f"values: {written} is no label value", 'write numbers, or colors like "#ff0000"'))
        elif id is None:
            near = nearest(name, [*classes.names, UNLABELED])
            remedy = f"did you mean {near}?" if near else f"write {UNLABELED}, or one of {told(classes.names)}"
            problems.append(Problem(where, f"values: {name} is no class", remedy))
        else:
            table[value] = id
    return Values("listed", table=tuple(sorted(table.items()))), problems


def say(values: Values, classes: Classes) -> str:
    """The meaning in words: `0 = unlabeled, 1 = object`."""
    names = {**dict(enumerate(classes.names)), IGNORED: UNLABELED}
    return ", ".join(f"{shown(value)} = {names[id]}" for value, id in values.table)


def doubt(folder: str, seen: Sequence[Mapping[int, int]], classes: Classes) -> tuple[str, str, bool]:
    """Whether 0 may mean unlabeled instead of the first class: no pixel is 255, and 0 is almost everywhere.

    Args:
        folder: Name of the labels' folder.
        seen: Stored value -> pixels of each label file looked at, whose values are class indices.
        classes: All classes.

    Returns:
        What is strange ("" = nothing), how to say what is meant, and whether it is too doubtful to go on: a folder of scribbles labels
        every pixel, or each class has a value above 0 of its own.
    """
    found = sorted(set().union(*seen)) if seen else []
    drawn = bool(DRAWN.search(folder))
    share = statistics.median(one.get(0, 0) / max(1, sum(one.values())) for one in seen) if seen else 0.0
    if IGNORED in found or 0 not in found or len(found) < 2 or not (drawn or share >= MOSTLY):
        return "", "", False
    others = ", ".join(f"{shown(value)}: NAME" for value in found[1:5])
    what = f"no pixel is 255 (unlabeled), and {100 * share:.0f} % (median of {len(seen)} files) are 0, taken as {classes.names[0]}"
    remedy = f"if 0 means unlabeled there, write `values: {{0: {UNLABELED}, {others}}}` into {YAML}"
    return what, remedy, drawn or len(found) - 1 == len(classes) > 1


def kept(classes: Classes) -> str:
    """How to write down that values are class indices, as they were taken."""
    return "`values: {" + ", ".join(f"{i}: {name}" for i, name in enumerate(classes.names)) + "}`"
