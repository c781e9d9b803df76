"""What is wrong with a file, in words that a message can be made of."""

from __future__ import annotations

import errno

from PIL import Image

from smidgen.core.errors import DataError, Problem

EMPTY, COPY_AGAIN = "empty file (0 bytes)", "copy it again from its source, or remove it"
REMEDIES = {
    errno.EACCES: "give yourself the right to read it, or move it away",
    errno.EPERM: "give yourself the right to read it, or move it away",
    errno.ELOOP: "the link points at itself: make it anew, or remove it",
}
"""What to do about what the system says; COPY_AGAIN for all else."""


class Broken(Exception):
    """A file that can't be used: what is wrong and what to do about it, without the file's name."""

    def __init__(self, what: str, remedy: str):
        super().__init__(f"{what}: {remedy}")
        self.what, self.remedy = what, remedy

    def error(self, path: str) -> DataError:
        """The same for the user, with the file's name."""
        return DataError([Problem(path, self.what, self.remedy)])


def unread(error: BaseException) -> tuple[str, str]:
    """What to say, and what to do, where the system or a decoder could not read a file."""
    if isinstance(error, OSError) and error.strerror:
        return f"can't be read ({error.strerror})", REMEDIES.get(error.errno or 0, COPY_AGAIN)
    if isinstance(error, Image.DecompressionBombError):
        return f"too many pixels ({first_line(error)})", "cut it into tiles, or remove it"
    return f"can't be read ({first_line(error)})", COPY_AGAIN


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its name."""
    return (str(error).splitlines() or [type(error).__name__])[0]
