"""`smidgen evaluate`: predictions, or masks from anywhere, against the masks there are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from smidgen.actions.opening import open_data
from smidgen.actions.scoring import Scored, facts, score
from smidgen.core.codec import write_atomically
from smidgen.core.errors import UsageError
from smidgen.core.screen import Screen, Silent
from smidgen.data.dataset import Dataset
from smidgen.products.labels import LabelMap
from smidgen.products.masks import read_mask

Split = Literal["train", "val", "test", "all"]


@dataclass(frozen=True)
class Evaluated:
    """What came out.

    Args:
        scored: Confusion over all images and the mIoU of each.
        facts: All figures as plain values, as in `scores.json`.
        path: Where they were written; None where they were not.
    """

    scored: Scored
    facts: Mapping[str, Any]
    path: Path | None


def evaluate(
    run_or_masks: str | Path,
    data: str | Path | Dataset,
    *,
    split: Split = "val",
    label_folder: str | None = None,
    out: str | Path | None = None,
    screen: Screen | None = None,
) -> Evaluated:
    """Score a run's model, or a folder of masks, against the masks of a dataset.

    One confusion matrix over all images; pixels with 255 are removed; classes that neither side has are excluded and named.

    Args:
        run_or_masks: Run folder, or a folder of index masks named as the images.
        data: Folder with images and masks; in Python also a Dataset.
        split: Which images.
        label_folder: Folder of labels to score against instead of masks/.
        out: JSON file for the figures; RUN/evaluation-NAME-SPLIT.json by default, none for masks.
        screen: Hears of the progress; silent by default.

    Returns:
        The figures.

    Raises:
        UsageError: No model and no masks, other classes, or nothing to compare.
    """
    source = Path(run_or_masks)
    opened = open_data(data, label_folder)
    wanted = opened if split == "all" else opened.only(split)
    is_run = (source / "model").is_dir() or (source / "model.json").is_file()
    screen = screen or Silent()
    predictions = _predicted(source, wanted, screen) if is_run else _Masks(source, wanted)
    scored = score(wanted, predictions)
    if scored is None:
        raise UsageError(f"{source}: no image of {opened.name} ({split}) has both a mask and a prediction: check names and --split")
    found = facts(scored) | {"data": opened.name, "split": split, "of": str(source)}
    path = Path(out) if out is not None else (source / f"evaluation-{opened.name}-{split}.json" if is_run else None)
    if path is not None:
        write_atomically(path, lambda part: part.write_text(json.dumps(found, indent=1), encoding="utf-8"))
    return Evaluated(scored, found, path)


class _Masks(Mapping[str, LabelMap]):
    """A folder of index masks by image id, read when asked for."""

    def __init__(self, folder: Path, data: Dataset):
        if not folder.is_dir():
            raise UsageError(f"{folder}: no such folder: name a run folder or a folder of masks")
        self.paths = {id: path for id in data.samples if (path := folder / f"{id}.png").is_file()}

    def __getitem__(self, id: str) -> LabelMap:
        return LabelMap(read_mask(self.paths[id]))

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)


def _predicted(source: Path, data: Dataset, screen: Screen) -> Mapping[str, LabelMap]:
    from smidgen.products.segmenter import Segmenter

    segmenter = Segmenter.load(source / "model" if (source / "model").is_dir() else source)
    if tuple(segmenter.classes.names) != tuple(data.classes.names):
        raise UsageError(
            f"{source}: the model knows the classes {', '.join(segmenter.classes.names)}, the data {', '.join(data.classes.names)}: "
            "use data with the same classes in the same order"
        )
    labels = {}
    with_masks = {id: sample for id, sample in data.samples.items() if sample.read_label is not None}
    with screen.step("predict", len(with_masks), 0, "images") as bar:
        for id, sample in with_masks.items():
            labels[id] = LabelMap(segmenter.predict(sample.image()).label)
            bar.advance()
    return labels
