"""Label files: what their values mean, and class indices (255 = unlabeled) or instance ids out of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Integer, Shaped, UInt8, UInt16

from smidgen.data.images import Broken, stored_values
from smidgen.products.sample import IGNORED

LOSSY = frozenset({".jpg", ".jpeg", ".webp"})
"""Suffixes of formats that do not keep values exactly."""
COLOR = 1 << 24
"""Added to packed colors, so that they are never mistaken for class ids."""
NO_INSTANCE_16 = 65535
MIDDLE = 128
END_WIDTH = 64
"""Values nearer than this to 0 or to 255 count as blurred by lossy compression."""
END_SHARE = 0.9
"""Share of pixels near the ends from which a file speaks for thresholding."""
PICTURE_SHARE = 0.75
"""A file with a smaller share is no mask."""
SHOWN = 4
ROWS = 4096
"""Rows that are counted together."""

Meaning = Literal["ids", "two values", "threshold", "listed"]
"""ids: class indices. two values: 0 is the background, the other one the only class. threshold: the same, split at mid-gray. listed: each
value is written down."""


@dataclass(frozen=True)
class Values:
    """What one kind of label files holds, and what it is taken to mean.

    Args:
        meaning: How values become class indices.
        foreground: The value of the only class, where the meaning is "two values".
        table: Stored value and class index (255 = unlabeled), where the meaning is "listed".
    """

    meaning: Meaning = "ids"
    foreground: int = 255
    table: tuple[tuple[int, int], ...] = ()

    @property
    def told(self) -> tuple[Any, ...]:
        """All that decides what is made of a file's bytes."""
        return (self.meaning, self.foreground, *(number for pair in self.table for number in pair))


@dataclass(frozen=True)
class LabelFile:
    """Reads one label file.

    Args:
        path: The file.
        size: Height and width of its image.
        classes: Number of classes, background included.
        values: What the file's values mean.
    """

    path: str
    size: tuple[int, int]
    classes: int
    values: Values = field(default_factory=Values)

    @property
    def meaning(self) -> tuple[Any, ...]:
        """All that decides what is made of the file's bytes."""
        return ("label", *self.size, self.classes, *self.values.told)

    def __call__(self) -> UInt8[np.ndarray, "h w"]:
        """Class indices, 255 = unlabeled.

        Raises:
            DataError: The file is broken, has another size than its image, or holds values that are no class.
        """
        try:
            return self.read()
        except Broken as broken:
            raise broken.error(self.path) from broken

    def read(self) -> UInt8[np.ndarray, "h w"]:
        """Class indices; raises `Broken`."""
        return indices(packed(stored_values(self.path)), self.size, self.classes, self.values)


@dataclass(frozen=True)
class LabelArray:
    """Hands out a label that is in memory; fields as in `LabelFile`."""

    array: Shaped[np.ndarray, "h w *c"]
    size: tuple[int, int]
    classes: int
    values: Values = field(default_factory=Values)

    @property
    def meaning(self) -> tuple[Any, ...]:
        """All that decides what is made of the array."""
        return ("label", *self.size, self.classes, *self.values.told)

    def __call__(self) -> UInt8[np.ndarray, "h w"]:
        """Class indices, 255 = unlabeled."""
        return self.read()

    def read(self) -> UInt8[np.ndarray, "h w"]:
        """Class indices; raises `Broken`."""
        return indices(packed(self.array), self.size, self.classes, self.values)


@dataclass(frozen=True)
class InstanceFile:
    """Reads one map of instance ids: 0 = none; 8-bit files mark ignored pixels by 255, 16-bit files by 65535.

    Args:
        path: The file.
        size: Height and width of its image.
    """

    path: str
    size: tuple[int, int]

    @property
    def meaning(self) -> tuple[Any, ...]:
        """All that decides what is made of the file's bytes."""
        return ("instances", *self.size)

    def __call__(self) -> UInt16[np.ndarray, "h w"]:
        """Instance ids, 0 = none, 65535 = ignored.

        Raises:
            DataError: The file is broken, or has another size than its image.
        """
        try:
            return self.read()
        except Broken as broken:
            raise broken.error(self.path) from broken

    def read(self) -> UInt16[np.ndarray, "h w"]:
        """Instance ids; raises `Broken`."""
        stored = packed(stored_values(self.path))
        check_size(stored, self.size)
        highest = int(stored.max(initial=0))
        if highest > NO_INSTANCE_16 or int(stored.min(initial=0)) < 0:
            raise Broken(f"holds {shown(highest)}, instance ids go from 0 to 65534", "save ids as a gray 16-bit PNG")
        ids = stored.astype(np.uint16)
        if stored.dtype == np.uint8:
            ids[stored == IGNORED] = NO_INSTANCE_16
        return ids


def color_key(red: int, green: int, blue: int) -> int:
    """A color as `packed` writes it: gray is its value, all else 0x1RRGGBB."""
    return red if red == green == blue else COLOR | red << 16 | green << 8 | blue


def packed(stored: Shaped[np.ndarray, "h w *c"]) -> Integer[np.ndarray, "h w"]:
    """One number per pixel: the stored value; that of three equal channels; else the color as 0x1RRGGBB.

    Raises:
        Broken: The values are no whole numbers, or the channels are neither one nor three.
    """
    if stored.dtype == np.bool_:
        return stored.astype(np.uint8)
    if not np.issubdtype(stored.dtype, np.integer):
        if not np.array_equal(stored, np.rint(stored)):
            raise Broken("holds fractions or NaN, class indices expected", "save class indices as a gray 8-bit PNG")
        stored = stored.astype(np.int64)
    if stored.dtype.itemsize > 4:
        stored = stored.astype(np.int64)  # what does not fit becomes negative, which is no class either
    if stored.ndim == 3 and stored.shape[2] == 1:
        stored = stored[..., 0]
    if stored.ndim == 2:
        return stored
    if stored.ndim != 3:
        raise Broken(f"shape {stored.shape}, (h, w) expected", "give each image one mask of its height and width")
    if stored.shape[2] != 3:
        raise Broken(f"{stored.shape[2]} channels, one expected", "save class indices as a gray 8-bit PNG")
    red, green, blue = (stored[..., i] for i in range(3))
    gray: Bool[np.ndarray, "h w"] = (red == green) & (green == blue)
    if gray.all():
        return np.ascontiguousarray(red)
    wide = stored.astype(np.int64)
    return np.where(gray, wide[..., 0], COLOR | wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2])


def indices(stored: Integer[np.ndarray, "h w"], size: tuple[int, int], classes: int, values: Values) -> UInt8[np.ndarray, "h w"]:
    """Class indices out of stored values.

    Raises:
        Broken: Another size, or values that are no class; they are listed with their pixels.
    """
    check_size(stored, size)
    if values.meaning == "threshold":
        if share_at_ends(histogram(stored)) < PICTURE_SHARE:
            raise Broken("shades of gray or colors, black and white expected as in the other masks", "save a mask, not a picture")
        return (stored >= MIDDLE).astype(np.uint8)
    if values.meaning == "two values":
        on = stored == values.foreground
        strange = ~on & (stored != 0)
        if strange.any():
            allowed = f"the other masks hold only 0 (background) and {shown(values.foreground)} (the class)"
            raise Broken(f"{listed(stored[strange])}; {allowed}", "correct this file")
        return on.astype(np.uint8)
    if values.meaning == "listed":
        return looked_up(stored, dict(values.table), "; `values` says what the others mean")
    strange = ((stored < 0) | (stored >= classes)) & (stored != IGNORED)
    if strange.any():
        colors = bool((stored >= COLOR).any())
        remedy = "save class indices, not colors" if colors else "correct the file, or name all classes in classes.txt"
        raise Broken(f"{listed(stored[strange])}; there are {classes} classes (0 to {classes - 1}), 255 = unlabeled", remedy)
    return stored.astype(np.uint8)


def looked_up(stored: Integer[np.ndarray, "h w"], table: Mapping[int, int], where: str) -> UInt8[np.ndarray, "h w"]:
    """Class indices of stored values.

    Args:
        stored: As `packed` gives them.
        table: Stored value -> class index, 255 = unlabeled.
        where: Where the table stands, to go on with after the values that are not in it.

    Raises:
        Broken: Values that are not in the table; they are listed with their pixels.
    """
    values = np.array(sorted(table), np.int64)
    places = np.minimum(np.searchsorted(values, stored), len(values) - 1)
    strange = values[places] != stored
    if strange.any():
        raise Broken(f"{listed(stored[strange])}{where}", "correct the file, or add what is missing there")
    return np.array([table[int(value)] for value in values], np.uint8)[places]


def check_size(stored: Shaped[np.ndarray, "h w *c"], size: tuple[int, int]) -> None:
    """Raises `Broken` where a label has not the size of its image."""
    height, width = stored.shape[:2]
    if (height, width) != size:
        raise Broken(*size_mismatch((height, width), size))


def size_mismatch(found: tuple[int, int], size: tuple[int, int]) -> tuple[str, str]:
    """What is wrong and what to do when a label of the size `found` belongs to an image of another size."""
    what = f"{found[1]}x{found[0]} pixels (width x height), its image has {size[1]}x{size[0]}"
    if found == size[::-1]:
        return what, "turn the mask like the image (the image is shown as its EXIF orientation says)"
    return what, "export the mask at the size of the image; it is never resized"


def shown(value: int) -> str:
    """A stored value for people: colors like in web pages."""
    return f"color #{value - COLOR:06x}" if value >= COLOR else str(value)


def listed(strange: Integer[np.ndarray, " n"]) -> str:
    """Values that mean nothing, the most frequent first, with their pixels."""
    values, counts = np.unique(strange, return_counts=True)
    most = np.argsort(-counts, kind="stable")[:SHOWN]
    told = ", ".join(f"{shown(int(values[i]))} in {counts[i]} pixels" for i in most)
    more = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    return f"{len(values)} value{'s' if len(values) > 1 else ''} without a class ({told}{more})"


# ---------------------------------------------------------------- what values mean


def histogram(stored: Integer[np.ndarray, "h *w"]) -> dict[int, int]:
    """Stored value -> pixels."""
    if stored.dtype == np.uint8:
        counts = np.zeros(256, np.int64)
        for start in range(0, max(1, len(stored)), ROWS):  # bincount makes eight bytes of each
            counts += np.bincount(stored[start : start + ROWS].ravel(), minlength=256)
        return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    values, counts = np.unique(stored, return_counts=True)
    return dict(zip(map(int, values), map(int, counts), strict=True))


def values_of(histograms: Sequence[Mapping[int, int]], two_classes: bool) -> Values:
    """What the values of one kind of label files mean: each file has a vote, the majority decides, verification names the others.

    Two values {0, 255} (or black and one color) are background and foreground where there are two classes or none are named; so are values
    blurred around 0 and 255 by lossy compression. All else are class indices.

    Args:
        histograms: Stored value -> pixels, one per file.
        two_classes: There is a background and one class, or nothing is known about classes.
    """
    votes = Counter(vote for vote in map(_vote, histograms) if vote is not None)
    if not two_classes or not votes:
        return Values()
    ids = votes.pop(Values(), 0)
    if not votes or sum(votes.values()) <= ids:
        return Values()
    blurred = Values("threshold")
    return blurred if blurred in votes else max(votes, key=lambda vote: votes[vote])


def _vote(stored: Mapping[int, int]) -> Values | None:
    """What one file of a two-class set seems to mean; None where it fits every meaning, or none."""
    found = set(stored) - {0}
    if 1 in found and found <= {1, IGNORED}:
        return Values()
    if len(found) == 1 and 0 in stored and (255 in found or max(found) >= COLOR):
        return Values("two values", max(found))
    if not found or found <= {IGNORED} or max(found) > 255:
        return None
    return Values("threshold") if max(found) > 255 - END_WIDTH and share_at_ends(stored) >= END_SHARE else None


def share_at_ends(stored: Mapping[int, int]) -> float:
    """Share of a file's pixels whose value lies near 0 or near 255."""
    near = sum(pixels for value, pixels in stored.items() if value < END_WIDTH or 255 - END_WIDTH < value <= 255)
    return near / max(1, sum(stored.values()))


def labeled_share(stored: Mapping[int, int], values: Values) -> float:
    """Share of a file's pixels that are labeled."""
    blanks = {"ids": (IGNORED,), "listed": tuple(value for value, id in values.table if id == IGNORED)}.get(values.meaning, ())
    blank = sum(stored.get(value, 0) for value in blanks)
    return 1 - blank / max(1, sum(stored.values()))
