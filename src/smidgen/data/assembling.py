"""What all foreign formats have in common once files are listed and labels are understood: samples out of headers, tags and splits."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from smidgen.core.errors import DataError, Problem
from smidgen.data.arrays import SPARSE
from smidgen.data.contents import Contents
from smidgen.data.folder import MASKS_SEEN, Found, headers_of, pixel_formats
from smidgen.data.images import Broken, Header, ImageFile
from smidgen.data.layout import Listing
from smidgen.data.mapped import ChannelFiles
from smidgen.data.ranges import ranged
from smidgen.data.splits import draw, shuffled
from smidgen.products.sample import IGNORED, Classes, Sample

OURS = "smidgen"
"""Key under which `smidgen convert` keeps what a JSON format has no place for; other tools pass over it."""
MOST_CLASSES = 255

Maker = Callable[[str, Header], Any]
"""Id and header of an image -> the reader of its label, or None."""


@dataclass(frozen=True)
class Drawing:
    """How a split is drawn, and floats are scaled; as in `Dataset.open`.

    Args:
        val: Share of the groups that are scored, where no split is written down.
        seed: Of the drawn split.
        value_range: Values of images with more than 8 bits that become 0 and 1; None: taken from the images.
    """

    val: float | int = 0.2
    seed: int = 0
    value_range: tuple[float | int, float | int] | None = None


@dataclass
class Parts:
    """What a format's reader found.

    Args:
        found: Folder, problems, notes.
        listing: The image files.
        classes: Names of the label values.
        label: Makes the reader of an image's label.
        instances: Makes the reader of an image's instance map.
        tags: Image id -> label values; () = known to hold none.
        split: Image id -> split, missing = train; None: nobody wrote it down.
        tests: Images that are test whatever the split says, and in no draw.
        groups: Image id -> group.
        instance_classes: Image id -> instance id -> label value.
        ids: Class name -> its number in the format.
        mask_values: What mask files hold for each class, where that is another number than its label value.
        channels: Image id -> one file per channel, where there are several.
    """

    found: Found
    listing: Listing
    classes: Classes
    label: Maker
    instances: Maker = lambda id, head: None
    tags: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    split: Mapping[str, str] | None = None
    tests: frozenset[str] = frozenset()
    groups: Mapping[str, str] = field(default_factory=dict)
    instance_classes: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    ids: Mapping[str, int] = field(default_factory=dict)
    mask_values: tuple[int, ...] = ()
    channels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def assemble(parts: Parts, drawing: Drawing) -> Contents:
    """The contents of a dataset; broken image files are among its problems.

    Raises:
        DataError: There is no image, or there are too many classes.
    """
    found, listing = parts.found, parts.listing
    if len(parts.classes) > MOST_CLASSES:
        what = f"{len(parts.classes)} classes, at most {MOST_CLASSES} are possible ({IGNORED} means unlabeled)"
        raise DataError([*found.problems, Problem(found.folder.name, what, "join or remove classes")])
    if not listing.files:
        raise DataError(found.problems or [Problem(found.folder.name, "no images found", "copy the images to where the format has them")])
    headers = {id: _with_channels(head, parts.channels.get(id, ())) for id, head in headers_of(found, listing).items()}
    channels = pixel_formats(found, listing, headers)
    samples: dict[str, Sample] = {}
    for id, head in sorted(headers.items()):
        several = parts.channels.get(id, ())
        single = ImageFile(listing.files[id], head.mode, channels)
        samples[id] = Sample(
            id,
            ChannelFiles(several, head.mode, channels) if len(several) > 1 else single,
            head.size,
            channels,
            tags=parts.tags.get(id),
            read_label=parts.label(id, head),
            read_instances=parts.instances(id, head),
            group=parts.groups.get(id),
            path=listing.files[id],
        )
    samples, drawn = _split(_sparse(found, samples), parts, drawing)
    samples, scale = ranged(samples, headers, drawing.value_range, found.notes)
    return Contents(
        samples,
        parts.classes,
        found.folder.resolve().name,
        found.folder,
        tuple(found.problems),
        tuple(found.notes),
        scale,
        drawn,
        {id: classes for id, classes in parts.instance_classes.items() if id in samples},
        ids=dict(parts.ids),
        mask_values=parts.mask_values,
    )


def _with_channels(head: Header, files: tuple[str, ...]) -> Header:
    return replace(head, channels=len(files), mode=f"{len(files)} x {head.mode}") if len(files) > 1 else head


def _split(samples: dict[str, Sample], parts: Parts, drawing: Drawing) -> tuple[dict[str, Sample], bool]:
    open_ = {id: sample for id, sample in samples.items() if id not in parts.tests}
    written = parts.split if parts.split is not None else draw(open_, drawing.val, drawing.seed)
    split = {**written, **dict.fromkeys(parts.tests, "test")}
    return {id: replace(sample, split=split.get(id, "train")) for id, sample in samples.items()}, parts.split is None


def _sparse(found: Found, samples: dict[str, Sample]) -> dict[str, Sample]:
    """Labels count as sparse when half of them have few labeled pixels, as in a folder."""
    shares = []
    for id in shuffled((id for id, sample in samples.items() if sample.read_label is not None), "masks")[:MASKS_SEEN]:
        try:
            label = samples[id].read_label.read()  # pyright: ignore (our own reader, there is one)
        except Broken:
            continue  # verification names it
        shares.append(1 - float(np.mean(label == IGNORED)))
    if not shares or statistics.median(shares) >= SPARSE:
        return samples
    share = 100 * statistics.median(shares)
    found.notes.append(f"sparse labels (half of {len(shares)} looked at have less than {share:.2g} % of their pixels labeled)")
    return {id: replace(sample, sparse=sample.read_label is not None) for id, sample in samples.items()}
