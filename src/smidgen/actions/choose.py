"""Labels -> recipe: what `train` runs when nobody says, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from smidgen.core.errors import DataError
from smidgen.data.dataset import Dataset

Use = Literal["tags", "masks", "sparse"]
ALMOST_ALL = 0.9
"""Share of train that must have masks for the recipe `masks` to be the plain choice (ARCHITECTURE, section 3)."""


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


def choose(data: Dataset, use: Use | None = None) -> Chosen:
    """The recipe for the labels that may be used.

    Args:
        data: Cut to the supervision that is used (`Dataset.using`).
        use: That supervision; None: all there is.

    Raises:
        DataError: There is nothing to learn from.
    """
    train, labeled, tagged = len(data.train), len(data.labeled), len(data.tagged)
    if train == 0:
        raise DataError(f"{data.name}: no training images: put some into images/, or correct split.csv")
    if labeled == 0 and tagged == 0:
        raise DataError(
            f"{data.name}: {train} training images, none with tags or masks: add tags.csv (filename,tags) or masks/ for some of them"
        )
    if labeled >= ALMOST_ALL * train:
        kind = "sparse masks" if all(sample.sparse for sample in data.labeled.values()) else "masks"
        return Chosen("masks", f"{labeled} of {train} training images have {kind}")
    if labeled == 0 or tagged >= ALMOST_ALL * train > 10 * labeled:
        others = f"only {labeled} have masks" if labeled else "masks are not used" if use == "tags" else "none has a mask"
        why = f"{tagged} of {train} training images have tags, {others}"
        return Chosen("tags", why, tag_notes(data))
    left = train - labeled
    note = f"{left} training images without a mask are not used: no recipe that learns from them is here yet"
    return Chosen("masks", f"{labeled} of {train} training images have masks", (note,))


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
