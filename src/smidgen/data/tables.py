"""Tables beside the images: tags.csv, split.csv, groups and instances.csv, each row tied to an image or reported with its line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smidgen.core.errors import DataError, Problem
from smidgen.data.layout import nearest, plain, told, without_suffix

FILENAME = "filename"
SPLITS = ("train", "val", "test")
YES, NO = frozenset({"1", "1.0", "true", "yes"}), frozenset({"0", "0.0", "false", "no", ""})
JOINT = ";"


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Args:
        line: Its number in the file, from 1.
        id: The image it speaks of.
        cells: Column -> text without surrounding space.
    """

    line: int
    id: str
    cells: dict[str, str]


@dataclass(frozen=True)
class Table:
    """A table whose rows are tied to images; rows without an image are in `problems`."""

    where: str
    columns: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Tags:
    """Tags as written, before they are tied to classes.

    Args:
        names: Image id -> names; () = known to hold none.
        lines: Image id -> where that stands, for messages.
        order: All names: the columns of a one-hot table, else sorted.
        problems: Rows that say nothing clear.
        head: Where the columns of a one-hot table stand; "" = names stand in the rows.
    """

    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    lines: dict[str, str] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    head: str = ""


class Names:
    """Finds the image that a table means: by file name, else by id; slash and backslash are the same, é has one spelling.

    Args:
        ids: File name below the images folder -> id.
        folder: Name of the images folder, which tables may put in front.
    """

    def __init__(self, ids: Mapping[str, str], folder: str = "images"):
        self._ids, self._known, self._front = ids, frozenset(ids.values()), f"{folder}/"

    def find(self, name: str) -> str | None:
        """The id of the image, or None."""
        name = plain(name.strip().replace("\\", "/")).removeprefix("./")
        for spelling in (name, name.removeprefix(self._front)):
            for id in (self._ids.get(spelling), spelling, without_suffix(spelling)):
                if id in self._known:
                    return id
        return None

    def like(self, name: str) -> str | None:
        """The file whose name is most like this one, for messages; None where there are too many to look through."""
        return nearest(name, self._ids) if len(self._ids) <= 2000 else None


def read_table(path: Path, where: str, names: Names, needed: tuple[str, ...] = ()) -> Table:
    """Read a CSV file whose column `filename` ties rows to images.

    Args:
        path: The file.
        where: How messages call it.
        names: Finds the images.
        needed: Columns that must be there besides filename.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        return Table(where, problems=(Problem(where, f"not readable as UTF-8 text ({error})", "save it as CSV, UTF-8"),))
    reader, problems = csv.reader(io.StringIO(text, newline="")), []
    lines = _until_broken(reader, where, problems)
    header = tuple(plain(cell.strip()) for cell in next(lines, []))
    columns = tuple(cell.casefold() if cell.casefold() in (FILENAME, *needed) else cell for cell in header)
    missing = [column for column in (FILENAME, *needed) if column not in columns]
    if missing or len(set(columns)) < len(columns):
        what = f"line 1 has no column {', '.join(missing)}" if missing else "line 1 names a column twice"
        found = f"{what} (found: {', '.join(header) or 'nothing'})"
        return Table(
            where,
            columns,
            problems=(
                *problems,
                Problem(where, found, f"start with `{','.join((FILENAME, *needed))}`"),
            ),
        )
    rows = []
    for cells in lines:
        if not any(cell.strip() for cell in cells):
            continue
        line, place = reader.line_num, f"{where} line {reader.line_num}"
        if len(cells) != len(columns):
            remedy = "correct the line (quote cells that hold a comma)"
            problems.append(Problem(place, f"{len(cells)} cells, {len(columns)} expected", remedy))
            continue
        by_column = {column: plain(cell.strip()) for column, cell in zip(columns, cells, strict=True)}
        id = names.find(by_column[FILENAME])
        if id is None:
            near = names.like(by_column[FILENAME])
            remedy = f"did you mean {near}?" if near else "add the image, or remove the line"
            problems.append(Problem(place, f"there is no image {by_column[FILENAME]}", remedy, (without_suffix(by_column[FILENAME]),)))
            continue
        rows.append(Row(line, id, by_column))
    return Table(where, columns, tuple(rows), tuple(problems))


def _until_broken(reader: Any, where: str, problems: list[Problem]) -> Iterator[list[str]]:
    """The lines, up to one that is none: a quotation mark that never ends, a cell of a book's length."""
    try:
        yield from reader
    except csv.Error as error:
        problems.append(Problem(f"{where} line {reader.line_num}", f"not readable as CSV ({error})", "correct the line: close its quotes"))


def read_tags(path: Path, where: str, names: Names) -> Tags:
    """tags.csv in both forms: `filename,tags` joined by `;`, or a column per tag with 0 and 1."""
    table = read_table(path, where, names)
    joined = len(table.columns) == 2 and table.columns[1].casefold() in ("tags", "tag", "labels", "label")
    strange = {} if joined else _strange(table)
    left_out = {"", FILENAME, *strange}  # a comma at the end of lines makes a column without a name
    tags = Tags(order=() if joined else tuple(column for column in table.columns if column not in left_out))
    problems = [*table.problems, *(_strange_column(where, column, cells) for column, cells in strange.items())]
    for row in table.rows:
        place = f"{where} line {row.line}"
        found, wrong = _joined(row, table.columns[1]) if joined else _one_hot(row, tags.order)
        if wrong:
            problems.append(Problem(place, f"{wrong}, 0 or 1 expected", "correct the line", (row.id,)))
        if row.id in tags.names and tags.names[row.id] != found:
            problems.append(Problem(place, f"{row.id} has other tags than in {tags.lines[row.id]}", "keep one of the two lines", (row.id,)))
            continue
        tags.names[row.id], tags.lines[row.id] = found, place
    order = tuple(sorted({name for found in tags.names.values() for name in found})) if joined else tags.order
    return Tags(tags.names, tags.lines, order, tuple(problems), f"{where} line 1" if FILENAME in table.columns and not joined else "")


def _strange(table: Table) -> dict[str, list[str]]:
    """Columns most of whose cells are neither 0 nor 1, and these cells: something else than a class."""
    cells = {column: [row.cells[column] for row in table.rows] for column in table.columns if column != FILENAME}
    wrong = {column: [cell for cell in some if cell.casefold() not in YES | NO] for column, some in cells.items()}
    return {column: some for column, some in wrong.items() if 2 * len(some) > len(table.rows) > 1}


def _strange_column(where: str, column: str, cells: list[str]) -> Problem:
    remedy = f"remove the column, or write one column `tags` with names joined by {JOINT}"
    return Problem(f"{where} line 1", f"column {column} holds {told(list(dict.fromkeys(cells)))}, 0 or 1 expected", remedy)


def _joined(row: Row, column: str) -> tuple[tuple[str, ...], str]:
    return tuple(dict.fromkeys(name for part in row.cells[column].split(JOINT) if (name := part.strip()))), ""


def _one_hot(row: Row, columns: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    found, wrong = [], ""
    for column in columns:
        cell = row.cells[column]
        if cell.casefold() in YES:
            found.append(column)
        elif cell.casefold() not in NO:
            wrong = f"{column} is {cell}"
    return tuple(found), wrong


def read_split(path: Path, where: str, names: Names) -> tuple[dict[str, str], list[Problem]]:
    """split.csv: image id -> train, val or test."""
    table = read_table(path, where, names, ("split",))
    split: dict[str, str] = {}
    problems = list(table.problems)
    for row in table.rows:
        place, value = f"{where} line {row.line}", row.cells["split"]
        if value not in SPLITS:
            near = nearest(value, SPLITS)
            problems.append(Problem(place, f"split is {value or 'empty'}", f"write {near or 'train, val or test'}", (row.id,)))
        elif split.setdefault(row.id, value) != value:
            problems.append(Problem(place, f"{row.id} is in {split[row.id]} and in {value}", "keep one of the two lines", (row.id,)))
    return split, problems


def read_groups(folder: Path, groups: str, names: Names) -> tuple[dict[str, str], list[Problem]]:
    """Image id -> group, from the FILE:COLUMN of dataset.yaml.

    Raises:
        DataError: There is no such file or column.
    """
    file, _, column = groups.rpartition(":")
    remedy = "write groups: FILE:COLUMN, with a table that has the columns filename and COLUMN"
    if not file or not (folder / file).is_file():
        raise DataError([Problem("dataset.yaml", f"groups: there is no file {file or groups}", remedy)])
    table = read_table(folder / file, file, names)
    if table.columns and column not in table.columns:
        raise DataError([Problem("dataset.yaml", f"groups: {file} has no column {column} (columns: {told(table.columns)})", remedy)])
    return {row.id: row.cells[column] for row in table.rows if row.cells[column]}, list(table.problems)


def read_instances(path: Path, where: str, names: Names) -> tuple[dict[int, str], dict[str, dict[int, int]], list[Problem]]:
    """instances.csv: names of label values; image id -> instance id -> label value."""
    table = read_table(path, where, names, ("instance_id", "class_id"))
    known: dict[int, str] = {}
    classes: dict[str, dict[int, int]] = {}
    problems = list(table.problems)
    for row in table.rows:
        place = f"{where} line {row.line}"
        numbers = (row.cells["instance_id"], row.cells["class_id"])
        if not all(number.isdecimal() for number in numbers):
            problems.append(Problem(place, f"instance_id and class_id are {' and '.join(numbers)}", "write whole numbers", (row.id,)))
            continue
        instance, value = map(int, numbers)
        classes.setdefault(row.id, {})[instance] = value
        name = row.cells.get("class_name", "")
        if name and known.setdefault(value, name) != name:
            problems.append(Problem(place, f"class {value} is called {name}, above {known[value]}", "give each class one name", (row.id,)))
    return known, classes, problems
