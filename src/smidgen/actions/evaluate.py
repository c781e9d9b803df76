"""`smidgen evaluate`: predictions, or masks from anywhere, against the masks there are."""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from smidgen.actions import figures, models
from smidgen.actions.cases import volume_pictures
from smidgen.actions.opening import open_data
from smidgen.actions.scoring import Scored, facts, row, score
from smidgen.core.codec import write_atomically
from smidgen.core.conventions import IGNORED
from smidgen.core.errors import DataError, UsageError
from smidgen.core.machine import versions
from smidgen.core.screen import Screen, watching
from smidgen.data.broken import Broken
from smidgen.data.dataset import Dataset
from smidgen.data.formats import Unannotated, is_coco
from smidgen.data.labels import looked_up
from smidgen.data.layout import without_suffix
from smidgen.data.ranges import read_by
from smidgen.data.volume_files import suffix_of
from smidgen.data.volume_readers import label_values
from smidgen.products.labels import LabelMap
from smidgen.products.masks import read_mask
from smidgen.report.content import Picture, arrange
from smidgen.report.training import TrainingReport, write_report

MASK_SUFFIXES = (".nii.gz", ".nii", ".tif", ".tiff", ".ome.tif", ".ome.zarr", ".zarr")
"""Files, and folders, that masks of volumes are."""
STOPPED = "stopped; nothing was written"
"""What is said after Ctrl-C."""
Split = Literal["train", "val", "test", "all"]


@dataclass(frozen=True)
class Evaluated:
    """What came out.

    Args:
        scored: Confusion over all images and the mIoU of each.
        facts: All figures as plain values, as in `scores.json`.
        path: Where they were written; None where they were not. Beside it is the same as a page with pictures (.html).
    """

    scored: Scored
    facts: Mapping[str, Any]
    path: Path | None

    @property
    def figures(self) -> dict[str, Any]:
        """What `--json` tells."""
        return {**self.facts, "path": self.path}

    def _repr_html_(self) -> str:
        """The figures, for notebooks."""
        from smidgen.actions.shown import of_evaluation

        return of_evaluation(self.facts, self.path)


def evaluate(
    run_or_masks: str | Path,
    data: str | Path | Dataset,
    *,
    split: Split = "val",
    label_folder: str | None = None,
    unannotated: Unannotated | None = None,
    out: str | Path | None = None,
    device: models.Device = "auto",
    screen: Screen | None = None,
) -> Evaluated:
    """Score a run's model, or a folder of masks, against the masks of a dataset.

    One confusion matrix over all images; images without a mask and unlabeled pixels (255) are left out and counted; classes that neither
    side has are excluded and named. Of volumes also Dice, Jaccard, HD95 and ASSD of each structure in each case, of the masks as they are
    and of their largest pieces.

    Args:
        run_or_masks: Run folder, a file that `smidgen export` wrote, or a folder of index masks named as the images or volumes.
        data: Folder with images and masks; in Python also a Dataset.
        split: Which images; where the split was drawn, the one that the run was trained with.
        label_folder: Folder of labels to score against instead of masks/.
        unannotated: What images of a COCO file without any annotation are: not labeled, so left out, or known to hold none, so all
            background. By default what was said when the run was trained; else not labeled.
        out: JSON file for the figures; RUN/evaluation-NAME-SPLIT.json by default, none for masks.
        device: Where the network runs: cpu or gpu; auto = a GPU where there is one.
        screen: Hears of the progress; bars where somebody looks by default, smidgen.Silent() for none.

    Returns:
        The figures.

    Raises:
        UsageError: No model and no masks, other classes, or nothing to compare.
        DataError: What is wrong with the data concerns more than single images: what the values of the masks mean, say.
    """
    source = Path(run_or_masks)
    screen = watching(screen)
    of_run = models.is_run(source)
    opened = _usable(_opened(data, label_folder, unannotated, source if of_run else None), screen)
    wanted = _wanted(opened, split, models.run_folder(source)) if of_run else _of_split(opened, split)
    masks = [id for id, sample in wanted.samples.items() if sample.read_label is not None]
    if not masks:
        if not wanted.samples:
            raise UsageError(f"{opened.name}: there are no images in {split}: choose another --split, such as all")
        what = f"none of its {len(wanted.samples)} images ({split}) has a mask, so there is nothing to compare with"
        raise UsageError(f"{opened.name}: {what}: draw masks, or check --split and --label-folder")
    predictions = _of_model(source, wanted, device) if of_run else _masks(source, wanted)
    with screen.step("score", sum(id in predictions for id in masks), 0, "volumes" if wanted.dims == 3 else "images") as bar:
        scored = score(wanted, predictions, bar)
    if scored is None:
        raise UsageError(f"{source}: no image of {opened.name} ({split}) has both a mask and a prediction: check names and --split")
    found = facts(scored) | {"data": opened.name, "split": split, "of": str(source), **_not_scored(wanted, predictions, scored)}
    beside = source.parent if source.is_file() else source
    path = Path(out) if out is not None else (beside / f"evaluation-{opened.name}-{split}.json" if of_run else None)
    if path is not None:
        write_atomically(path, lambda part: part.write_text(json.dumps(found, indent=1), encoding="utf-8"))
        note = "".join(f"Left out: {line}. " for line in figures.not_scored(found))
        _report(wanted, scored, predictions, f"{split}, {source.name}", note.strip(), path.with_suffix(".html"))
    return Evaluated(scored, found, path)


def _report(data: Dataset, scored: Scored, predictions: Mapping[str, Any], name: str, note: str, path: Path) -> None:
    """The same figures as a page that opens with pictures."""
    rows = (row(name, scored, note),)
    about = {"kind": "evaluation", "environment": versions(), "made": time.strftime("%Y-%m-%d %H:%M")}
    if data.dims == 3:
        cases = tuple(volume_pictures(data, predictions, scored, {}))
        write_report(TrainingReport(data.name, data.classes, volumes=cases, scores=rows, **about), path)
        return

    def picture(id: str, group: str) -> Picture:
        sample = data.samples[id]
        prediction, tags = predictions[id].label, tuple(data.classes.names[i] for i in sample.tags or ())
        return Picture(id, sample.shown()[0], prediction=prediction, truth=sample.label(), tags=tags, score=scored.images[id], group=group)

    pictures = tuple(picture(id, group) for group, ids in arrange(scored.images).items() for id in ids)
    write_report(TrainingReport(data.name, data.classes, pictures=pictures, scores=rows, **about), path)


def _opened(data: str | Path | Dataset, label_folder: str | None, unannotated: Unannotated | None, run: Path | None) -> Dataset:
    """The data; images without annotations are what was said, now or when the run was trained."""
    if unannotated is None and run is not None and not isinstance(data, Dataset) and is_coco(Path(data), label_folder):
        unannotated = models.words_of(run).get("unannotated")
    return open_data(data, label_folder, unannotated=unannotated or "unlabeled")


def _not_scored(data: Dataset, predictions: Collection[str], scored: Scored) -> dict[str, Any]:
    """What is in no figure: images that lack a mask or a prediction, and unlabeled pixels of the others."""
    masks = [id for id, sample in data.samples.items() if sample.read_label is not None]
    left_out = {
        "no_mask": [id for id in data.samples if id not in masks],
        "no_prediction": [id for id in masks if id not in predictions],
        "nothing_labeled": [id for id in masks if id in predictions and id not in scored.images],
    }
    pixels = sum(math.prod(data.samples[id].size) for id in scored.images)
    return {"left_out": left_out, "unlabeled_pixels": pixels - scored.total.pixels}


def _usable(data: Dataset, screen: Screen) -> Dataset:
    """The data, if their masks can be understood; what is wrong with single images is said."""
    if fatal := [problem for problem in data.problems if not problem.ids]:
        raise DataError(fatal)
    for problem in data.problems:
        screen.say(f"problem   {problem}")
    return data


def _of_split(data: Dataset, split: Split) -> Dataset:
    return data if split == "all" else data.only(split)


def _wanted(data: Dataset, split: Split, run: Path) -> Dataset:
    """The images of a split.

    Where nobody wrote it down, it is the one that was drawn for the run: another would score images that it has learned from.
    """
    path = run / "split.csv"
    if split == "all" or not data.split_drawn or not path.is_file():
        return _of_split(data, split)
    with path.open(newline="", encoding="utf-8") as file:
        parts = {row["filename"]: row["split"] for row in csv.DictReader(file)}
    if not parts.keys() <= data.samples.keys():
        return _of_split(data, split)  # other data
    return data.only(ids=[id for id, part in parts.items() if part == split])


class _Lazy(Mapping[str, Any]):
    """Label maps by image id, made when asked for: there is one at a time, however many images there are.

    Args:
        ids: What there is.
        make: Image id -> label value per pixel.
    """

    def __init__(self, ids: Collection[str], make: Callable[[str], np.ndarray]):
        self.ids, self.make = dict.fromkeys(ids), make

    def __getitem__(self, id: str) -> LabelMap:
        if id not in self.ids:
            raise KeyError(id)
        return LabelMap(self.make(id))

    def __contains__(self, id: object) -> bool:
        return id in self.ids

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __len__(self) -> int:
        return len(self.ids)


def _masks(folder: Path, data: Dataset) -> _Lazy:
    """A folder of index masks."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder: name a run folder or a folder of masks")
    if data.dims == 3:
        return _volume_masks(folder, data)
    paths = {id: path for id in data.samples if (path := folder / f"{id}.png").is_file()}
    return _Lazy(paths, lambda id: read_mask(paths[id], data.mask_values))


def _volume_masks(folder: Path, data: Dataset) -> _Lazy:
    """A folder of index masks of volumes, named and lying as these do."""
    known = {without_suffix(path.name): path for path in sorted(folder.iterdir()) if suffix_of(path.name).lower() in MASK_SUFFIXES}
    nested = {id: folder / f"{id}{suffix}" for id in data.samples if "/" in id for suffix in MASK_SUFFIXES}
    paths = {id: known[id] for id in data.samples if id in known} | {id: path for id, path in nested.items() if path.exists()}

    values = data.mask_values or range(len(data.classes))
    table = {IGNORED: IGNORED} | {value: label for label, value in enumerate(values)}

    def read(id: str) -> np.ndarray:
        try:
            found = label_values(str(paths[id]), getattr(data.samples[id].read_image, "frame", None))
            return looked_up(found.reshape(len(found), -1), table, f"; expected {', '.join(map(str, sorted(table)))}").reshape(found.shape)
        except Broken as broken:
            raise broken.error(str(paths[id])) from broken

    return _Lazy(paths, read)


def _of_model(run: Path, data: Dataset, device: models.Device) -> _Lazy:
    """What a model says, image by image."""
    segmenter = models.load(run, device)
    if tuple(segmenter.classes.names) != tuple(data.classes.names):
        raise UsageError(
            f"{run}: the model knows the classes {', '.join(segmenter.classes.names)}, the data {', '.join(data.classes.names)}: "
            "use data with the same classes in the same order"
        )
    takes = segmenter.channels
    if data.channels not in ((takes,) if segmenter.zscored else (1, takes)):  # gray pictures are repeated, channels of volumes are not
        raise UsageError(
            f"{run}: the model was trained on {takes} channel{'s' if takes > 1 else ''}, {data.name} has {data.channels}: convert it"
        )
    restrict, how = models.way(run, segmenter)
    with_masks = {id: sample for id, sample in data.samples.items() if sample.read_label is not None}

    def look(id: str) -> np.ndarray:
        sample = with_masks[id]
        image = read_by(sample, segmenter.value_range).image()
        return segmenter.predict(image, sample.tags if restrict else None, **how).label

    return _Lazy(with_masks, look)
