"""What a report is made of: plain values that whoever ran the work fills in. Everything may be missing; the page shows what there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int64, UInt8

from smidgen.core.errors import Problem
from smidgen.core.settings import Frozen
from smidgen.parts.metrics.bootstrap import Spread
from smidgen.parts.metrics.boundary import Boundary
from smidgen.parts.metrics.cases import Cases
from smidgen.parts.metrics.confusion import Confusion
from smidgen.products.heatmaps import Heatmaps

BY_SCORE = ("best", "median", "worst")
"""Headings of pictures in the order of each image's own mIoU."""
BY_CONFIDENCE = ("surest", "in between", "least sure")
"""Headings of pictures in the order of each image's mean probability, where there is no truth."""


@dataclass(frozen=True)
class Picture:
    """One image with all that was made of it: a row of the page.

    Args:
        id: Id of the image.
        image: Values in [0, 1].
        heatmaps: Evidence per class.
        pseudo: Pseudo-mask, 255 = ignored.
        prediction: What the model says.
        truth: The mask, 255 = unlabeled.
        tags: Names of the classes that are known to be there.
        score: MIoU of this image in [0, 1], where there is a mask.
        confidence: Mean probability of the predicted classes in [0, 1].
        group: Heading under which it is shown (of `BY_SCORE`, `BY_CONFIDENCE`, or any other).
        regions: Object regions per class, of a model that reasons by them.
    """

    id: str
    image: Float[np.ndarray, "c h w"]
    heatmaps: Heatmaps | None = None
    pseudo: UInt8[np.ndarray, "h w"] | None = None
    prediction: UInt8[np.ndarray, "h w"] | None = None
    truth: UInt8[np.ndarray, "h w"] | None = None
    tags: tuple[str, ...] = ()
    score: float | None = None
    confidence: float | None = None
    group: str = ""
    regions: Heatmaps | None = None


@dataclass(frozen=True)
class SplitCounts:
    """How many images of one split have what.

    Args:
        split: "train", "val" or "test".
        images: All of them.
        tags: With known tags.
        masks: With a full mask.
        sparse: With scribbles or points.
        instances: With instances.
        used: Whose dense labels were used for training; None where that is all or none of them.
    """

    split: str
    images: int
    tags: int = 0
    masks: int = 0
    sparse: int = 0
    instances: int = 0
    used: int | None = None


@dataclass(frozen=True)
class DataCard:
    """The data and the labels used.

    Args:
        name: Name of the data set.
        use: Which supervision was used, in words ("tags only", "10 of 842 masks").
        splits: Counts per split.
        class_images: Images that hold each class, by split; the position is the label value, None = unknown.
        meanings: What label values were taken to mean, a sentence each.
        problems: What was found wrong; the images they name were left out.
    """

    name: str = ""
    use: str = ""
    splits: tuple[SplitCounts, ...] = ()
    class_images: Mapping[str, Sequence[int | None]] = field(default_factory=dict)
    meanings: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Setting:
    """A setting that is not the paper's.

    Args:
        name: Its name as typed.
        value: What it was.
        default: The paper's.
    """

    name: str
    value: str
    default: str


def differences(settings: Frozen) -> tuple[Setting, ...]:
    """The settings that differ from their defaults, which are the paper's; those without a default have nothing to differ from."""
    found = []
    for name, about in type(settings).model_fields.items():
        value = getattr(settings, name)
        if about.is_required():
            continue
        default = about.get_default(call_default_factory=True)
        if isinstance(value, Frozen) and isinstance(default, Frozen):
            found.extend(Setting(f"{name}.{inner.name}", inner.value, inner.default) for inner in differences(value))
        elif value != default:
            found.append(Setting(name, str(value), str(default)))
    return tuple(found)


@dataclass(frozen=True)
class StageCard:
    """One stage of the recipe.

    Args:
        stage: Name of the stage.
        method: Name of the method.
        line: What it does and which paper it is from, in a line.
        link: Address of the paper; only http(s) becomes a link.
        settings: Settings that differ from the paper's (`differences`).
        seconds: Time spent, over interruptions; None: unknown.
        peak_mib: Largest memory of the process, MiB; None: unknown.
        note: Anything else worth a line ("tf_efficientnet_lite0, ImageNet weights from …").
    """

    stage: str
    method: str
    line: str = ""
    link: str = ""
    settings: tuple[Setting, ...] = ()
    seconds: int | float | None = None
    peak_mib: int | float | None = None
    note: str = ""


@dataclass(frozen=True)
class Curve:
    """The log of one training.

    Args:
        title: Which ("classify gap").
        rows: (step, term, value) as logged; terms are named "turn/term". The row "rate" (learning rate) is not drawn.
    """

    title: str
    rows: Sequence[tuple[int, str, float]]


@dataclass(frozen=True)
class ScoreRow:
    """One thing that was scored against masks.

    Args:
        name: What ("val, model"; "train, pseudo-masks"; "val, tags known (oracle)").
        confusion: Counts over all its images.
        images: Counts of each image, for what can be told from them (small objects, uncertainty); {} = unknown.
        note: What a reader must know about it.
        borders: Border pixels over all its images; None = not counted.
        sizes: Objects by size (`objects.found_by_size`) over all its images; None = not counted.
        spread: How far the scores would move with other images; None = not known.
        cases: Structures of volumes, case by case; None = these are no volumes with full masks.
        largest: The same where only the largest piece of each predicted structure is kept.
    """

    name: str
    confusion: Confusion
    images: Mapping[str, Int64[np.ndarray, "k k1"]] = field(default_factory=dict)
    note: str = ""
    borders: Boundary | None = None
    sizes: Int64[np.ndarray, "3 4"] | None = None
    spread: Spread | None = None
    cases: Cases | None = None
    largest: Cases | None = None


@dataclass(frozen=True)
class Agreement:
    """How far two stages say the same about the same images; not a score, for both may err together.

    Args:
        between: What is compared ("pseudo-masks and predictions, 842 train images").
        confusion: The first as truth, the second as prediction.
    """

    between: str
    confusion: Confusion


@dataclass(frozen=True)
class Uncertain:
    """An image of which the model is unsure.

    Args:
        id: Id of the image.
        image: Values in [0, 1].
        prediction: What the model says.
        confidence: Mean probability of the predicted classes in [0, 1].
        agreement: Share of the pseudo-mask's pixels that the model predicts alike.
        tags: Names of the classes that are known to be there.
        sure: Probability of the predicted class per pixel, to show where to look.
    """

    id: str
    image: Float[np.ndarray, "c h w"]
    prediction: UInt8[np.ndarray, "h w"] | None = None
    confidence: float | None = None
    agreement: float | None = None
    tags: tuple[str, ...] = ()
    sure: Float[np.ndarray, "h w"] | None = None


def arrange(scores: Mapping[str, float], each: int = 4, groups: tuple[str, str, str] = BY_SCORE) -> dict[str, tuple[str, ...]]:
    """Which images to show: the best, the middle and the worst.

    Args:
        scores: MIoU or confidence of each image; NaN = can't be shown as either.
        each: Images per group.
        groups: Headings; `BY_SCORE`, or `BY_CONFIDENCE` where there is no truth.

    Returns:
        Best first, then around the middle (best first), then worst first; no image twice, fewer per group where there are few images.
    """
    ranked = sorted((id for id, score in scores.items() if not np.isnan(score)), key=lambda id: (-scores[id], id))
    if len(ranked) < len(groups):
        return {"": tuple(ranked)} if ranked else {}
    each = min(each, len(ranked) // len(groups))
    start = (len(ranked) - each) // 2
    return dict(zip(groups, (tuple(ranked[:each]), tuple(ranked[start : start + each]), tuple(ranked[: -each - 1 : -1])), strict=True))


def rows_of(log: Sequence[Mapping[str, Any]]) -> tuple[tuple[int, str, float], ...]:
    """Rows of a training's log (columns step, term, value; as `csv.DictReader` gives them) for a `Curve`."""
    return tuple((int(row["step"]), str(row["term"]), float(row["value"])) for row in log)
