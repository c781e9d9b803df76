"""Names of the classes: where they come from, whether there is a background, and which class a tag means."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from smidgen.core.errors import DataError, Problem
from smidgen.data.coding import names_in
from smidgen.data.layout import YAML, Layout, nearest, plain
from smidgen.data.tables import Tags
from smidgen.products.sample import IGNORED, Classes

CLASSES = "classes.txt"
BACKGROUND = "background"
NOTHING = frozenset({"background", "none"})
"""Tags that say that there is nothing, unless a class is called so."""
EMPTY_FOLDERS = frozenset({"ok", "good", "normal"})
"""Folders of images that are known to hold none of the classes."""


@dataclass(frozen=True)
class Named:
    """The classes, and how sure their label values are.

    Args:
        classes: Names and background.
        declared: The names were written down as such, so an unknown one is an error.
        unsure: Why label values can't be tied to names yet; "" where they can.
        source: Where the names come from.
        problems: What is wrong with them.
    """

    classes: Classes
    declared: bool
    unsure: str
    source: str
    problems: tuple[Problem, ...] = ()


def name_classes(folder: Path, layout: Layout, tags: Tags, instances: Mapping[int, str]) -> Named:
    """The classes of a folder: from dataset.yaml or classes.txt, else from instances.csv, else from the tags.

    Where a list of names has no background line and dataset.yaml is silent, background is class 0 for tags, and label values are unsure.
    """
    written = _written(folder, layout)
    if written is not None:
        names, source, problems = written
        named = _declared(names, source, problems, layout)
        return replace(named, unsure="") if layout.values else named  # each value is named, so nothing is in doubt
    if layout.values:
        return Named(classes_of_values(layout.values, layout.background != "none"), True, "", YAML)
    if instances:
        last = max(instances)
        if last >= IGNORED:
            raise DataError([Problem("instances.csv", f"class_id {last}, at most {IGNORED - 1} is possible", "number the classes from 1")])
        names = [instances.get(i, f"class {i}") for i in range(last + 1)]
        background = None if layout.background == "none" or 0 in instances else 0
        names[0] = instances.get(0, BACKGROUND)
        return Named(Classes(tuple(names), background), True, "", "instances.csv")
    found = [name for name in tags.order if name.casefold() not in NOTHING]
    problems = tuple(spellings(found, tags))
    if layout.background == "none":
        unsure = "the order of the classes is not written down"
        return Named(Classes(tuple(found), None), False, unsure if len(found) > 1 else "", "tags", problems)
    unsure = "which value is which class is not written down" if len(found) > 1 else ""
    return Named(Classes((BACKGROUND, *found), 0), False, unsure, "tags" if found else "", problems)


def _written(folder: Path, layout: Layout) -> tuple[list[str], str, list[Problem]] | None:
    """Names that are written down, without their line ends; None where there are none."""
    if isinstance(layout.classes, tuple):
        return [plain(name.strip()) for name in layout.classes], YAML, []
    source = layout.classes or CLASSES
    path = folder / source
    if not path.is_file():
        if layout.classes:
            remedy = "name a file with one class per line, or list the names"
            raise DataError([Problem(YAML, f"classes: there is no file {source}", remedy)])
        return None
    try:
        names = [plain(line.strip()) for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise DataError([Problem(source, f"not readable as UTF-8 text ({error})", "save it as UTF-8")]) from error
    while names and not names[-1]:
        names.pop()
    empty = [i + 1 for i, name in enumerate(names) if not name]
    what, remedy = "an empty line would be a class without a name", "remove the line, or name the class"
    problems = [Problem(f"{source} line {line}", what, remedy) for line in empty]
    return names, source, problems


def _declared(names: list[str], source: str, problems: list[Problem], layout: Layout) -> Named:
    if not names:
        raise DataError([Problem(source, "no class is named", "write one name per line, the background first")])
    if len(names) >= IGNORED + 1:
        what = f"{len(names)} classes, at most {IGNORED} are possible ({IGNORED} means unlabeled)"
        raise DataError([Problem(source, what, "join classes")])
    problems = [*problems, *_doubled(names, source)]
    if layout.background == "none":
        return Named(Classes(tuple(names), None), True, "", source, tuple(problems))
    if layout.background == 0 or BACKGROUND in names[0].casefold():
        return Named(Classes(tuple(names), 0), True, "", source, tuple(problems))
    unsure = f"no line of {source} is called background, so label value 0 may be the background or {names[0]}"
    return Named(Classes((BACKGROUND, *names), 0), True, unsure, source, tuple(problems))


def classes_of_values(values: Mapping[int | str, str], background: bool) -> Classes:
    """Classes that only `values` names, in the order of writing; the background first.

    Args:
        values: Stored value -> name of a class, or `unlabeled`.
        background: There is one, named or not.
    """
    names = names_in(values)
    nothing = [name for name in names if BACKGROUND in name.casefold()]
    others = [name for name in names if name not in nothing]
    if not background and not nothing:
        return Classes(tuple(others), None)
    return Classes((*(nothing or [BACKGROUND]), *others), 0)


def _doubled(names: Sequence[str], source: str) -> Iterable[Problem]:
    first: dict[str, int] = {}
    for i, name in enumerate(names):
        before = first.setdefault(name.casefold(), i)
        if before != i and name:
            what = f"{name} stands there already, as {names[before]} in line {before + 1}"
            yield Problem(f"{source} line {i + 1}", what, "give each class a name of its own")


def spellings(names: Sequence[str], tags: Tags) -> Iterable[Problem]:
    """One tag in several spellings, where no list of classes says which is right."""
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(name.casefold(), name)
        if other != name:
            ids = tuple(id for id, found in tags.names.items() if name in found)
            where = tags.lines[ids[0]] if ids else "tags.csv line 1"
            yield Problem(where, f"tag {name} is elsewhere written {other}", "write it in one way, or list the names of the classes", ids)


def tie_tags(tags: Tags, named: Named) -> tuple[dict[str, tuple[int, ...]], list[Problem]]:
    """Label values of each image's tags; unknown names are reported with their line and the nearest known name."""
    values = {name: i for i, name in enumerate(named.classes.names)}
    folded = {name.casefold(): name for name in reversed(named.classes.names)}
    background = named.classes.background
    tied, problems = {}, _columns(tags, named, folded)
    wrong = {} if tags.head else tags.lines  # of a column it is said once
    for id, names in tags.names.items():
        found: set[int] = set()
        for name in names:
            if name in values:
                found.add(values[name])
            elif name.casefold() in NOTHING:
                continue
            elif name.casefold() in folded:
                right = folded[name.casefold()]
                found.add(values[right])
                if id in wrong:
                    problems.append(Problem(wrong[id], f"tag {name} is called {right} in {named.source}", f"write {right}", (id,)))
            elif id in wrong:
                problems.append(Problem(wrong[id], f"tag {name} is no class", _remedy(name, values, named.source), (id,)))
        tied[id] = tuple(sorted(found - {background}))
    return tied, problems


def _columns(tags: Tags, named: Named, folded: Mapping[str, str]) -> list[Problem]:
    """Columns of a one-hot table that are called like no class, be they all 0: else a misspelled class would be known to be nowhere."""
    problems = []
    for name in tags.order if tags.head else ():
        if name in named.classes.names or name.casefold() in NOTHING:
            continue
        if right := folded.get(name.casefold()):
            problems.append(Problem(tags.head, f"column {name} is called {right} in {named.source}", f"write {right}"))
        else:
            problems.append(Problem(tags.head, f"column {name} is no class", _remedy(name, named.classes.names, named.source)))
    return problems


def _remedy(name: str, known: Collection[str], source: str) -> str:
    near = nearest(name, known)
    return f"did you mean {near}?" if near else f"correct it, or add it to {source or CLASSES}"


def folder_tags(ids: Iterable[str]) -> Tags:
    """Tags from the first folder of each id; ok, good and normal hold none."""
    names, lines = {}, {}
    for id in ids:
        folder, slash, _ = id.partition("/")
        if slash:
            names[id] = () if folder.casefold() in EMPTY_FOLDERS else (folder,)
            lines[id] = f"folder {folder}/"
    return Tags(names, lines, tuple(sorted({name for found in names.values() for name in found})))
