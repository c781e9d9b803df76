"""How climbs went, over all images: whether they gained what they climb for, ran over the whole map, or against the limits of their range.

The limits are guesses of ours (docs/methods/advcam.md); a healthy run stays far from them: on 842 photographs 99.8 % of 1303 climbs rose,
the largest share of places that were on was 78 %, and no value was clipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from smidgen.products.climbs import Signals
from smidgen.report.failures import PERCENT, Note, percent

RISING = 0.95
"""Share of climbs whose logit must rise."""
FLOODED = 0.9
"""Share of places on from which on a climb has run over the map: it speaks for the whole image and for no place."""
CLIPPED = 0.5
"""Share of values at the limits of their range from which on a climb is saturated: it can't go on."""


@dataclass(frozen=True)
class OneClimb:
    """A climb on one class of one image.

    Args:
        id: Id of the image.
        label: Label value of the class.
        first: Mean positive logit before climbing.
        last: The same at the last step.
        on: Share of places that are on at the last step.
        clipped: Share of values that wanted to leave their range.
    """

    id: str
    label: int
    first: float
    last: float
    on: float
    clipped: float

    @property
    def strain(self) -> float:
        """How near it is to failing in any way; from 1 on it has."""
        return max(self.first / self.last if self.last > 0 else np.inf, self.on / FLOODED, self.clipped / CLIPPED)

    @property
    def why(self) -> str:
        """In which ways it failed, in words; "" where it did not."""
        found = {
            "did not rise": self.last <= self.first,
            "ran over the whole map": self.on >= FLOODED,
            "ran against its limits": self.clipped >= CLIPPED,
        }
        return ", ".join(words for words, failed in found.items() if failed)


@dataclass(frozen=True)
class Climbs:
    """All climbs of a run.

    Args:
        images: How many images climbed.
        each: Every climb.
    """

    images: int
    each: tuple[OneClimb, ...]

    def _share(self, failed: Iterable[bool]) -> float:
        return sum(failed) / len(self.each)

    @property
    def rising(self) -> float:
        """Share of climbs whose logit rose."""
        return self._share(one.last > one.first for one in self.each)

    @property
    def flooded(self) -> float:
        """Share that ran over the whole map."""
        return self._share(one.on >= FLOODED for one in self.each)

    @property
    def saturated(self) -> float:
        """Share that ran against the limits of their range."""
        return self._share(one.clipped >= CLIPPED for one in self.each)

    @property
    def healthy(self) -> bool:
        """Whether no failure is more frequent than can be put up with."""
        return self.rising >= RISING and max(self.flooded, self.saturated) <= 1 - RISING

    def median(self, field: str) -> float:
        """Median of a field of `OneClimb` over all climbs."""
        return float(np.median([getattr(one, field) for one in self.each]))

    @property
    def line(self) -> str:
        """All of it in a line, for a log."""
        n, images = len(self.each), f"{self.images} image{'' if self.images == 1 else 's'}"
        counts = [round(n * share) for share in (self.rising, self.flooded, self.saturated)]
        return (
            f"the logit rose in {counts[0]} of {n} climbs ({images}; median {self.median('first'):.1f} to {self.median('last'):.1f}); "
            f"{percent(self.median('on'))} % of places on at the end (median), more than {100 * FLOODED:.0f} % in {counts[1]} climbs; "
            f"{counts[2]} ran against the limits of their range"
        )

    @property
    def note(self) -> Note | None:
        """What to distrust; None where all is well."""
        if self.healthy:
            return None
        shares = f"{percent(1 - self.rising)}{PERCENT} did not rise, {percent(self.flooded)}{PERCENT} ran over the whole map, "
        shares += f"{percent(self.saturated)}{PERCENT} against the limits of their range"
        return Note(
            "warning", f"Some climbs failed ({shares}): fewer `steps`, a smaller `step_size` or more `restraint` keep them in hand."
        )

    def strained(self, most: int = 3) -> tuple[OneClimb, ...]:
        """The climbs nearest to failing, the worst first; one of an image."""
        worst: dict[str, OneClimb] = {}
        for one in sorted(self.each, key=lambda one: (-one.strain, one.id, one.label)):
            worst.setdefault(one.id, one)
        return tuple(worst.values())[:most]

    def record(self) -> Mapping[str, Any]:
        """For a JSON file."""
        failed = [one for one in self.each if one.why]
        return {
            "images": self.images,
            "climbs": len(self.each),
            "share_rising": self.rising,
            "share_on_nearly_everywhere": self.flooded,
            "share_at_limits": self.saturated,
            "median_logit_first": self.median("first"),
            "median_logit_last": self.median("last"),
            "median_share_on": self.median("on"),
            "failed": [{"image": one.id, "class": one.label, "why": one.why} for one in failed],
        }


@dataclass(frozen=True)
class ShownClimb:
    """A climb to show.

    Args:
        climb: Which.
        name: Name of its class.
        image: Values in [0, 1].
        evidence: What it found, in [0, 1].
    """

    climb: OneClimb
    name: str
    image: Float[np.ndarray, "c h w"]
    evidence: Float[np.ndarray, "y x"]


def summed(signals: Iterable[tuple[str, Signals]]) -> Climbs | None:
    """All climbs; None where nothing climbed.

    Args:
        signals: Image id and what is known of its climbs.
    """
    each, images = [], 0
    for id, one in signals:
        images += bool(one.ids)
        columns = zip(one.ids, one.logit_first, one.logit_last, one.on, one.clipped, strict=True)
        each += [OneClimb(id, label, *map(float, numbers)) for label, *numbers in columns]
    return Climbs(images, tuple(each)) if each else None
