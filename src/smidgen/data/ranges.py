"""What the pixel values of a dataset mean: one range for all its images, measured on those that are trained on; and pixels without data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import UInt8

from smidgen.core.conventions import ValueRange
from smidgen.data.broken import Broken
from smidgen.data.images import Header
from smidgen.data.layout import told
from smidgen.data.scaling import WHOLE_RANGE, value_ranges_of, without_data
from smidgen.data.splits import shuffled
from smidgen.products.sample import IGNORED, Sample

SEEN = 16
"""So many images are decoded to learn the range of their values."""


@dataclass(frozen=True)
class Covered:
    """Reads a label and takes away what lies on pixels without data: nothing can be learned or scored there.

    Args:
        label: The label's reader.
        image: The image's reader.
    """

    label: Any
    image: Any

    @property
    def meaning(self) -> tuple[Any, ...]:
        """All that decides what is made of the file's bytes."""
        return ("covered", *self.label.meaning)

    @property
    def path(self) -> str | None:
        """The label's file."""
        return getattr(self.label, "path", None)

    @property
    def paths(self) -> tuple[str, ...]:
        """The label's files, where there are several."""
        return getattr(self.label, "paths", ())

    @property
    def array(self) -> np.ndarray:
        """The label, where it is in memory."""
        return self.label.array

    @property
    def where(self) -> str:
        """How messages call it."""
        return self.label.where

    def __call__(self) -> UInt8[np.ndarray, "h w"]:
        """Class indices, 255 = unlabeled.

        Raises:
            DataError: The label or its image is broken.
        """
        return self._without(self.label())

    def read(self) -> UInt8[np.ndarray, "h w"]:
        """Class indices; raises `Broken`."""
        return self._without(self.label.read())

    def _without(self, label: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
        try:
            missing = self.image.missing()
        except Broken:
            return label  # verification names the image
        return label if missing is None else np.where(missing, np.uint8(IGNORED), label)


def ranged(
    samples: Mapping[str, Sample],
    headers: Mapping[str, Header],
    given: tuple[float | int, float | int] | None,
    notes: list[str],
) -> tuple[dict[str, Sample], ValueRange]:
    """The samples with readers that know the range of the dataset's values and which pixels have no data.

    The range is measured on images of train; where there are none (a set that is only predicted or scored), on all.

    Args:
        samples: All samples, their splits known.
        headers: Image id -> header.
        given: A range that was given; None: it is measured.
        notes: Gets a line for all that was found out.
    """
    wide = [id for id in samples if headers[id].wide]
    blank = [id for id in samples if _nodata(samples[id].read_image, headers[id]) is not None]
    scale = _scale(samples, headers, wide, None if given is None else (float(given[0]), float(given[1])), notes)
    if blank:
        values = sorted({f"{_nodata(samples[id].read_image, headers[id]):g}" for id in blank})
        notes.append(f"images: {len(blank)} have pixels without data ({told(values)}): filled with the image's mean, unlabeled in masks")
    changed = dict(samples)
    for id in wide:
        changed[id] = replace(changed[id], read_image=replace(changed[id].read_image, value_range=scale))  # pyright: ignore (our own readers)
    for id in blank:
        if changed[id].read_label is not None and hasattr(changed[id].read_image, "missing"):
            changed[id] = replace(changed[id], read_label=Covered(changed[id].read_label, changed[id].read_image))
    return changed, scale


def read_by(sample: Sample, scale: ValueRange) -> Sample:
    """The sample as a network wants it whose training images had this range: what became 0 and 1 then does so now."""
    reader = sample.read_image
    return replace(sample, read_image=replace(reader, value_range=scale)) if hasattr(reader, "value_range") else sample  # pyright: ignore (our own readers)


def _nodata(reader: Any, head: Header) -> float | None:
    said = getattr(reader, "nodata", None)
    return head.nodata if said is None else said


def _scale(
    samples: Mapping[str, Sample], headers: Mapping[str, Header], wide: list[str], given: tuple[float, float] | None, notes: list[str]
) -> ValueRange:
    if not wide:
        return given or WHOLE_RANGE
    learned = [id for id in wide if samples[id].split == "train"] or wide
    channels = max(headers[id].channels for id in wide)
    scale = given or value_ranges_of(_stored(samples[id].read_image for id in shuffled(learned, "floats")[:SEEN]), channels)
    floats = sum(headers[id].floating for id in wide)
    kinds = {"floating-point values": floats, "16 bits": len(wide) - floats}
    how = "as you said" if given else "1st and 99th percentile of training images"
    for kind, count in kinds.items():
        if not count:
            continue
        if scale != WHOLE_RANGE:
            notes.append(f"images: {count} with {kind}: {_told_range(scale)} ({how})")
        elif kind == "16 bits":
            notes.append(f"images: {count} with 16 bits: 0 stays 0, 65535 becomes 1")
        else:
            notes.append(f"images: {count} with {kind}: 0 becomes 0, 1 becomes 1 (as stored)")
    return scale


def _told_range(scale: ValueRange) -> str:
    low, high = scale
    if isinstance(low, tuple) and isinstance(high, tuple):
        each = [f"{a:g} to {b:g}" for a, b in zip(low, high, strict=True)]
        return f"0 to 1 is in each channel {told(each)}"
    return f"{low:g} becomes 0, {high:g} becomes 1"


def _stored(readers: Iterable[Any]) -> Iterable[np.ndarray]:
    """The values of images as stored, without pixels that have no data."""
    for reader in readers:
        try:
            array, nodata = reader.stored()
        except Broken:
            continue  # verification names it
        missing = without_data(array, nodata)
        yield array if missing is None else array[~missing]
