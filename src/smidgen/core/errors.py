"""One tree of errors: each says what was expected, what came, from which file or setting, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class SmidgenError(Exception):
    """The work failed; the message ends with the remedy. Exit code 1."""

    exit_code = 1


class TrainingError(SmidgenError):
    """Training can't go on: a loss that is not finite, a worker that died."""


class UsageError(SmidgenError):
    """Wrong words or data: nothing was started. Exit code 2."""

    exit_code = 2


class SettingsError(UsageError):
    """An unknown or impossible setting, method or preset."""


class NeedError(SettingsError):
    """A method needs something that the recipe does not have."""


class WeightsError(UsageError):
    """Initial weights can't be found or do not fit the network."""


class LockedError(UsageError):
    """Another command works on this run folder."""


class WriteError(UsageError):
    """A file can't be written: the disk is full, or the folder may not be written to. What was written before stays whole."""


class ShapeError(UsageError):
    """An array has not the shape or range that was expected."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with the data.

    Args:
        where: File (relative to the data folder) or setting.
        what: What was expected and what came.
        remedy: What to do about it, in the imperative.
        ids: Ids of the images it concerns; they are left out by `--skip-broken`. Empty: not skippable.
    """

    where: str
    what: str
    remedy: str
    ids: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.where}: {self.what}: {self.remedy}"


class DataError(UsageError):
    """Everything that was found wrong with the data, listed at once."""

    def __init__(self, problems: Sequence[Problem] | str, shown: int = 20):
        self.problems = (Problem("data", problems, ""),) if isinstance(problems, str) else tuple(problems)
        lines = [str(problem) for problem in self.problems[:shown]]
        if len(self.problems) > shown:
            lines.append(f"… and {len(self.problems) - shown} more")
        super().__init__(problems if isinstance(problems, str) else "\n".join(lines))
