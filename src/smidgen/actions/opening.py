"""What every command that learns does first: open the data, check all of it, say what was found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from smidgen.core.errors import DataError, Problem
from smidgen.core.screen import Screen
from smidgen.data.checks import Facts, examine, judge
from smidgen.data.dataset import Dataset
from smidgen.data.formats import Unannotated


def open_data(
    data: str | Path | Dataset, label_folder: str | None = None, val: float = 0.2, seed: int = 0, unannotated: Unannotated = "unlabeled"
) -> Dataset:
    """The dataset in a folder, or the one given.

    Raises:
        DataError: There is no such folder, or nothing in it.
    """
    if isinstance(data, Dataset):
        return data
    return Dataset.open(Path(data), label_folder=label_folder, val=val, seed=seed, unannotated=unannotated)


def checked(data: Dataset, cache: Path | None, skip_broken: bool, screen: Screen) -> tuple[Dataset, Facts]:
    """The dataset with every file decoded once, and what that told; what is broken stops the work or is left out.

    Args:
        data: What to check.
        cache: Remembers what was decoded, by path, size and time.
        skip_broken: Leave out the images that have a problem.
        screen: Hears of each file, and of what was left out.

    Raises:
        DataError: All problems at once, each with file and remedy.
    """
    readers = ("read_image", "read_label", "read_instances")
    files = sum(getattr(sample, reader) is not None for sample in data.samples.values() for reader in readers)
    with screen.step("check", files, 0, "files") as bar:
        facts = examine(data, cache, lambda done, of: bar.advance())
    problems = judge(data, facts)
    refuse(problems, skip_broken)
    broken = {id for problem in problems for id in problem.ids}
    for problem in problems:
        screen.say(f"left out  {problem}")
    return data.without(broken) if broken else data, facts


def refuse(problems: Sequence[Problem], skip_broken: bool) -> None:
    """Stop where there are problems, unless all of them concern single images, which may be left out.

    Raises:
        DataError: All of them at once.
    """
    if any(not (skip_broken and problem.ids) for problem in problems):
        raise DataError(problems)
