"""Run lengths as COCO stores masks: counts of background and object in turn, down the columns (not along the rows).

The compressed form writes each count as a number in base 32, least part first, with an offset of 48 so that it is text; from the fourth
count on, only the difference to the count before the last is written.

Source: Lin et al., Microsoft COCO, ECCV 2014; the form is that of its public API, which the tests compare with.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int64

from smidgen.data.broken import Broken

OFFSET = 48
DIGIT, SIGN, MORE = 0x1F, 0x10, 0x20
"""In each character: five bits of the number, the highest of them its sign in the last character, and whether another one follows."""
LONGEST = 12
"""Characters of one count: more than any 64-bit number needs."""
REMEDY = "write the annotation again with a COCO tool"


def decode(counts: str | Sequence[int], size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """The mask that run lengths describe.

    Args:
        counts: Compressed text, or the counts themselves; the first one is background.
        size: Height and width.

    Raises:
        Broken: No such text, or counts that do not add up to the size.
    """
    runs = _parsed(counts) if isinstance(counts, str) else np.asarray(counts, np.int64).reshape(-1)
    height, width = size
    if (runs < 0).any() or (runs > height * width).any() or int(runs.sum()) != height * width:
        raise Broken(f"the counts of the RLE do not add up to {width}x{height} pixels", REMEDY)
    values = np.zeros(len(runs), np.bool_)
    values[1::2] = True
    return np.repeat(values, runs).reshape(width, height).T


def encode(mask: Bool[np.ndarray, "h w"]) -> str:
    """Compressed run lengths of a mask."""
    flat = np.asarray(mask, np.bool_).T.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    # The first count is background, be it none.
    edges = [[0, 0] if flat.size and flat[0] else [0], changes, [flat.size]]
    runs = np.diff(np.concatenate([np.asarray(part, np.int64) for part in edges]))
    rest = runs.copy()
    rest[3:] -= runs[1:-2]
    characters = np.zeros((len(runs), LONGEST), np.uint8)
    open_ = np.ones(len(runs), np.bool_)
    for i in range(LONGEST):
        digit = rest & DIGIT
        rest = rest >> 5
        more = np.where(digit & SIGN, rest != -1, rest != 0)
        characters[open_, i] = (digit + more * MORE + OFFSET)[open_]
        open_ &= more
        if not open_.any():
            break
    return characters[characters > 0].tobytes().decode("ascii")


def _parsed(text: str) -> Int64[np.ndarray, " n"]:
    """The counts that a compressed text holds."""
    try:
        codes = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - OFFSET
    except UnicodeEncodeError as error:
        raise Broken("the text of the RLE holds strange characters", REMEDY) from error
    if codes.size == 0 or codes.min() < 0 or codes.max() >= 2 * MORE or codes[-1] & MORE:
        raise Broken("the text of the RLE is not whole", REMEDY)
    last = np.flatnonzero((codes & MORE) == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    lengths = last - first + 1
    if lengths.max() > LONGEST:
        raise Broken("the text of the RLE holds impossible counts", REMEDY)
    places = np.arange(len(codes)) - np.repeat(first, lengths)
    values = np.add.reduceat((codes & DIGIT) << (5 * places), first)
    values -= np.where(codes[last] & SIGN, np.int64(1) << (5 * lengths), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values
