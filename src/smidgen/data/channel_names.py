"""Names of files that hold one channel each, as nnU-Net writes them: CASE_0000.nii.gz, CASE_0001.nii.gz."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

CHANNEL = re.compile(r"(.+)_(\d{4})$")
"""A case and the number of its channel."""

Named = TypeVar("Named")


def case_and_channel(name: str) -> tuple[str, int] | None:
    """What a file's name without its suffix tells; None where it does not end in the number of a channel."""
    match = CHANNEL.match(name)
    return (match[1], int(match[2])) if match else None


def by_case(files: Mapping[str, Named]) -> dict[str, dict[int, Named]]:
    """Case -> channel -> file; a name without channel is the only one of its case.

    Args:
        files: By name without suffix.
    """
    cases: dict[str, dict[int, Named]] = {}
    for name, file in files.items():
        case, channel = case_and_channel(name) or (name, 0)
        cases.setdefault(case, {})[channel] = file
    return cases


def are_complete(channels: Iterable[int], number: int) -> bool:
    """The channels 0000, 0001 … of an image with so many, each once."""
    return sorted(channels) == list(range(number))


def written(channels: Iterable[int]) -> list[str]:
    """Numbers of channels as they stand in names, in order."""
    return [f"{channel:04}" for channel in sorted(channels)]
