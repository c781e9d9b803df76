"""What actions give back, as pages for a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.actions import figures
from smidgen.core.codec import write_atomically
from smidgen.data.images import Broken, ImageFile, header
from smidgen.products import pictures
from smidgen.products.masks import read_mask
from smidgen.report.content import arrange

SHEET = "pictures.html"
"""Twelve pictures of a run, beside its report."""
SHOWN = 12


def write_sheet(
    folder: Path, samples: Mapping[str, Any], predictions: Mapping[str, Any], scores: Mapping[str, float], background: Any
) -> None:
    """Keep twelve predictions of a run as a page: the best, the middle, the worst.

    Args:
        folder: RUN.
        samples: Image id -> sample.
        predictions: Image id -> what was predicted, with a `label`.
        scores: Image id -> mIoU, mean Dice or confidence.
        background: Label value that stays uncolored.
    """

    def drawn() -> Iterator[tuple[np.ndarray, str]]:
        for group, ids in arrange(scores, each=SHOWN // 3).items():
            for id in ids:
                picture = pictures.laid_over(samples[id].shown()[0], pictures.flat(predictions[id].label), background)
                yield picture, f"{id}  {100 * scores[id]:.0f} {group}".rstrip()

    page = pictures.gallery("", drawn())
    write_atomically(folder / SHEET, lambda part: part.write_text(page, encoding="utf-8"))


def of_run(folder: Path, scores: Mapping[str, Any]) -> str:
    """A run: its score, its pictures, what to label next, and where the rest is."""
    path, val = folder / SHEET, scores.get("val")
    lines, table = [f"report: {folder / 'report.html'}"], ""
    if asked := figures.label_next(scores):
        lines.insert(0, f"label next, for the model is least sure of them: {', '.join(asked)}")
    if val:
        lines[:0] = _scored(val, "val ")
        table = pictures.table(*figures.class_table(val))
    return pictures.gallery(f"run {folder}", (), lines) + table + (path.read_text(encoding="utf-8") if path.is_file() else "")


def of_evaluation(facts: Mapping[str, Any], path: Path | None) -> str:
    """Figures of an evaluation.

    Args:
        facts: As in `scores.json`.
        path: Where they were written.
    """
    lines = [
        *_scored(facts, ""),
        *(f"left out: {line}" for line in figures.not_scored(facts)),
        *([f"report: {path.with_suffix('.html')}"] if path else []),
    ]
    return pictures.gallery(f"{facts['of']} on {facts['data']}, {facts['split']}", (), lines) + pictures.table(*figures.class_table(facts))


def _scored(facts: Mapping[str, Any], where: str) -> list[str]:
    spread = figures.spread(facts, "miou")
    pooled = f"{where}mIoU {figures.percent(facts['miou'])}{spread}, the mean over {facts['miou_is_mean_of']}"
    return [*(f"{where}{line}" for line in figures.volumes(facts)), pooled, *figures.further(facts)]


def of_masks(folder: Path, masks: Mapping[str, str], confidence: Mapping[str, float], values: Sequence[int] = ()) -> str:
    """Masks that were predicted: the least certain ones over their images.

    Args:
        folder: Where they are.
        masks: Image -> mask.
        confidence: Image -> mean probability of the predicted classes.
        values: What the masks hold for each class; () = its label value.
    """
    unsure = sorted(masks, key=lambda image: (confidence.get(image, 0.0), image))[:SHOWN]
    lines = [f"{len(masks)} masks in {folder}; the least certain first:"] if masks else [f"no masks in {folder}"]
    return pictures.gallery("predicted", _masks(unsure, masks, confidence, values), lines)


def _masks(
    images: Iterable[str], masks: Mapping[str, str], confidence: Mapping[str, float], values: Sequence[int]
) -> Iterator[tuple[np.ndarray, str]]:
    for image in images:
        if not (Path(image).is_file() and Path(masks[image]).is_file()):
            continue  # moved since
        seen = _read(image)
        sure = f"  {100 * confidence[image]:.0f} % sure" if image in confidence else ""
        yield pictures.laid_over(seen, read_mask(Path(masks[image]), values)), f"{Path(image).name}{sure}"


def _read(image: str) -> np.ndarray:
    try:
        return ImageFile(image, channels=header(image).channels).read()
    except Broken:  # its pages are channels, else it would not have been predicted
        return ImageFile(image, channels=header(image, every=True).channels, every=True).read()


def of_comparison(metric: str, arms: Sequence[Mapping[str, Any]], path: Path) -> str:
    """Arms of a comparison, a row each.

    Args:
        metric: What was scored, in words.
        arms: As for `figures.arm_table`.
        path: The page with curves and pictures.
    """
    return pictures.gallery("comparison", (), [f"report: {path}"]) + pictures.table(*figures.arm_table(metric, arms))
