"""Labels -> recipe: what `train` runs when nobody says, and why."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Literal

from smidgen.core.errors import DataError, SettingsError
from smidgen.data.dataset import Dataset
from smidgen.data.splits import group_of
from smidgen.recipes.choice import Kind

Use = Literal["tags", "masks", "sparse"]
Dims = Literal[2, 3]
ENOUGH_CASES = 8
"""With more labeled volumes, or patients, than this, learning from unlabeled ones gained nothing that could be measured on heart scans
(docs/guides/few_masks.md)."""
ANISOTROPIC = 4.0
"""Volumes whose slices lie so many times as far apart as their pixels are seen slice by slice."""
ALMOST_ALL = 0.9
"""Share of train that must have masks for the recipe `masks` to be the plain choice (ARCHITECTURE, section 3)."""

SPARSE = "labels are sparse: only their pixels teach here; --recipe weak_to_strong spreads them to what an averaged network is sure of"


@dataclass(frozen=True)
class Chosen:
    """A recipe with its reason.

    Args:
        recipe: Its name.
        why: One sentence.
        notes: What a user should know: labels that are not used, tags that can't teach.
    """

    recipe: str
    why: str
    notes: tuple[str, ...] = ()


def view(data: Dataset, dims: Dims | None = None) -> tuple[Dataset, Kind]:
    """What a network sees of a dataset: pictures as they are, volumes whole or slice by slice.

    Args:
        data: Of pictures or volumes.
        dims: 2 or 3; None: volumes are whole unless their slices lie far apart (`ANISOTROPIC`).

    Raises:
        SettingsError: Pictures have no third dimension.
    """
    if data.dims == 2:
        if dims == 3:
            raise SettingsError(f"--dims 3: {data.name} holds pictures: leave it out")
        return data, "pictures"
    if (dims or usual_dims(data)) == 3:
        return data, "volumes"
    return data.slices(), "slices"


def kind_of(data: Dataset) -> Kind:
    """What a network sees of a dataset unless somebody says."""
    return "pictures" if data.dims == 2 else "volumes" if usual_dims(data) == 3 else "slices"


def usual_dims(data: Dataset) -> Dims:
    """Whether volumes are seen whole (3) or slice by slice (2): as most of those in train are whose spacing is known, or that are flat."""
    if data.train and statistics.median(one.size[0] for one in data.train.values()) == 1:
        return 2
    ratios = [one.spacing_mm[0] / max(one.spacing_mm[1:]) for one in data.train.values() if one.spacing_mm is not None]
    return 2 if ratios and statistics.median(ratios) >= ANISOTROPIC else 3


def choose(data: Dataset, use: Use | None = None) -> Chosen:
    """The recipe for the labels that may be used.

    Args:
        data: Cut to the supervision that is used (`Dataset.using`).
        use: That supervision; None: all there is.

    Raises:
        DataError: There is nothing to learn from.
    """
    train, labeled, tagged = len(data.train), len(data.labeled), len(data.tagged)
    things, folder = ("volumes", "volumes/") if data.dims == 3 else ("images", "images/")
    if train == 0:
        raise DataError(f"{data.name}: no training {things}: put some into {folder}, or correct split.csv")
    if data.dims == 3:
        return _of_volumes(data, labeled, train)
    if labeled == 0 and tagged == 0:
        raise DataError(
            f"{data.name}: {train} training images, none with tags or masks: add tags.csv (filename,tags) or masks/ for some of them"
        )
    if labeled >= ALMOST_ALL * train:
        return _all_labeled(data, labeled, train)
    if tagged >= ALMOST_ALL * train:
        if labeled:
            return Chosen("mixed", f"{tagged} of {train} training images have tags, {labeled} have masks", tag_notes(data))
        others = "masks are not used" if use == "tags" else "none has a mask"
        return Chosen("tags", f"{tagged} of {train} training images have tags, {others}", tag_notes(data))
    if labeled == 0:
        return Chosen("tags", f"{tagged} of {train} training images have tags, none has a mask", tag_notes(data))
    return _with_unlabeled(data, labeled, train)


def _of_volumes(data: Dataset, labeled: int, train: int) -> Chosen:
    """The same for volumes, which tags teach nothing: classifiers look at pictures."""
    if labeled == 0:
        what = f"{train} training volumes, none with a mask that may be used"
        raise DataError(f"{data.name}: {what}: add labels/ for some of them; tags teach pictures only")
    found = _all_labeled(data, labeled, train) if labeled >= ALMOST_ALL * train else _with_unlabeled(data, labeled, train)
    notes = ("the tags of volumes are not used: they teach networks of pictures only",) if data.tagged else ()
    return Chosen(found.recipe, found.why, (*found.notes, *notes))


def _all_labeled(data: Dataset, labeled: int, train: int) -> Chosen:
    things, kind, notes = "volumes" if data.dims == 3 else "images", "masks", ()
    if all(sample.sparse for sample in data.labeled.values()):
        kind, notes = "sparse masks", (SPARSE,)
    return Chosen("masks", f"{labeled} of {train} training {things} have {kind}", notes)


def _with_unlabeled(data: Dataset, labeled: int, train: int) -> Chosen:
    """Whether to learn from images without masks, too."""
    what = "volumes" if data.dims == 3 else "images"
    why = f"{labeled} of {train} training {what} have masks"
    if train - labeled < labeled:
        note = f"the {train - labeled} training {what} without a mask are not used: fewer than those with one, they would teach little"
        return Chosen("masks", why, (f"{note}; --recipe semi uses them",))
    cases = len({group_of(sample) for sample in data.labeled.values()})
    if what == "volumes" and cases > ENOUGH_CASES:
        note = (
            f"the {train - labeled} training volumes without a mask are not used: with {cases} labeled cases they bought nothing measurable"
        )
        return Chosen("masks", why, (f"{note} on data like these; --recipe semi uses them",))
    return Chosen("semi", f"{why}; the others teach without")


def tag_notes(data: Dataset) -> tuple[str, ...]:
    """What can't be learned from these tags: a class that every image has, or none."""
    tags = [set(sample.tags or ()) for sample in data.tagged.values()]
    names = {i: data.classes.names[i] for i in data.classes.foreground}
    counts = {name: sum(i in one for one in tags) for i, name in names.items()}
    always = [name for name, count in counts.items() if count == len(tags)]
    never = [name for name, count in counts.items() if count == 0]
    notes = []
    if always:
        notes.append(f"every tagged image has {', '.join(always)}: without images known to lack it, tags can't tell where it is: add some")
    if never:
        notes.append(f"no training image is tagged {', '.join(never)}: it will never be predicted")
    return tuple(notes)
