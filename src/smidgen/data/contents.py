"""Contents: everything that a Dataset knows, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from smidgen.core.conventions import ValueRange
from smidgen.core.errors import Problem
from smidgen.data.digests import Digests
from smidgen.products.sample import Classes, Sample


@dataclass(frozen=True)
class Contents:
    """What was found in a folder, or given as arrays.

    Args:
        samples: Id -> sample, in order of id.
        classes: Names of the label values.
        name: Name of the folder.
        folder: Where it lies; None for arrays in memory.
        problems: What is wrong, as far as headers and tables tell.
        notes: What label values, folders and pixel formats were taken to mean.
        value_range: Values of images with more than 8 bits that became 0 and 1, of all channels or of each.
        split_drawn: The split was drawn, nobody wrote it down.
        instance_classes: Image id -> instance id -> label value, from instances.csv.
        ids: Class name -> its number in the format that the data came from, where that is another than its label value.
        mask_values: What mask files hold for each class, where that is another number than its label value.
        digests: Fingerprints computed so far; shared by all views of the dataset.
    """

    samples: Mapping[str, Sample]
    classes: Classes
    name: str
    folder: Path | None = None
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    value_range: ValueRange = (0.0, 1.0)
    split_drawn: bool = False
    instance_classes: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    ids: Mapping[str, int] = field(default_factory=dict)
    mask_values: tuple[int, ...] = ()
    digests: Digests = field(default_factory=Digests)
