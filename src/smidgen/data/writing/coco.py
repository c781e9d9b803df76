"""Writes COCO JSON: objects as compressed run lengths, so that masks keep every pixel, holes included.

What COCO has no place for (unlabeled pixels, tags, which images nobody has labeled) is kept under a key of its own, which other tools pass
over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8, UInt16

from smidgen.data.assembling import OURS
from smidgen.data.dataset import Dataset
from smidgen.data.labels import NO_INSTANCE_16
from smidgen.data.rle import encode
from smidgen.data.writing.pictures import classes_of_instances, counted, place, splits_written
from smidgen.products.sample import IGNORED, Sample

NOT_AN_OBJECT = {"instance": False}
"""Said of regions that belong to no object: all pixels of a class, for example."""


class CocoWriter:
    """See `pictures.Writer`."""

    def __init__(self, root: Path, data: Dataset, symlink: bool):
        self.root, self.data, self.symlink = root, data, symlink
        self.lost: list[str] = []
        names, usual = data.classes.names, max([-1, *data.ids.values()]) + 1
        self._ids = {value: data.ids.get(names[value], usual + value if data.ids else value) for value in range(len(names))}
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._splits: dict[int, str] = {}
        self._unlabeled = 0

    @property
    def images(self) -> int:
        """How many images are written."""
        return len(self._images)

    def add(self, sample: Sample) -> None:
        """Write one image, and keep its annotations."""
        label, instances = sample.label(), sample.instances()
        entries, ours = self._drawn(sample, label, instances)
        path = place(sample, self.root / "images" / sample.id, self.symlink)
        number = len(self._images) + 1
        height, width = sample.size
        name = path.relative_to(self.root / "images").as_posix()
        self._images.append({"id": number, "file_name": name, "height": height, "width": width, OURS: ours})
        self._splits[number] = sample.split
        self._unlabeled += "unlabeled" in ours
        for entry in entries:
            self._annotations.append({"id": len(self._annotations) + 1, "image_id": number} | entry)

    def _drawn(
        self, sample: Sample, label: UInt8[np.ndarray, "h w"] | None, instances: UInt16[np.ndarray, "h w"] | None
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Annotations of one image, and what else has to be known of it."""
        ours: dict[str, Any] = {"labeled": label is not None, "instances": instances is not None}
        if sample.tags is not None:
            ours["tags"] = [self._ids[value] for value in sample.tags]
        if sample.group is not None:
            ours["group"] = sample.group
        background = self.data.classes.background
        ground = IGNORED if background is None else background
        drawn = np.full(sample.size, ground, np.uint8)
        entries = [] if instances is None else self._objects(sample, label, instances, drawn)
        if instances is not None and (crowd := instances == NO_INSTANCE_16).any():
            ours["no_instance"] = encode(crowd)
        if label is not None:
            entries += self._rest(label, drawn, ground)
            for key, value in (("cleared", ground), ("unlabeled", IGNORED)):
                if (wrong := (label == value) & (drawn != value)).any():
                    ours[key] = encode(wrong)
        return entries, ours

    def _objects(
        self, sample: Sample, label: UInt8[np.ndarray, "h w"] | None, instances: UInt16[np.ndarray, "h w"], drawn: UInt8[np.ndarray, "h w"]
    ) -> list[dict[str, Any]]:
        """One annotation per instance, drawn as a reader will."""
        entries = []
        for number, value in classes_of_instances(self.data, sample.id, instances, label).items():
            entries.append(self._entry(instances == number, value))
            drawn[instances == number] = value
        return entries

    def _rest(self, label: UInt8[np.ndarray, "h w"], drawn: UInt8[np.ndarray, "h w"], ground: int) -> list[dict[str, Any]]:
        """One annotation per class for the pixels that no object explains."""
        entries = []
        for value in np.setdiff1d(np.unique(label), (IGNORED, ground)):
            rest = (label == value) & (drawn != value)
            if rest.any():
                entries.append(self._entry(rest, int(value)) | {OURS: NOT_AN_OBJECT})
                drawn[rest] = value
        return entries

    def _entry(self, covered: Bool[np.ndarray, "h w"], value: int) -> dict[str, Any]:
        rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
        y, x = int(rows[0]), int(columns[0])
        return {
            "category_id": self._ids[value],
            "segmentation": {"size": list(covered.shape), "counts": encode(covered)},
            "area": int(covered.sum()),
            "bbox": [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1],
            "iscrowd": 0,
        }

    def finish(self) -> None:
        """Write annotations/instances.json, or one file for each split that was written down."""
        folder = self.root / "annotations"
        folder.mkdir()
        if splits_written(self.data):
            for split in dict.fromkeys(self._splits.values()):
                self._write(folder / f"instances_{split}.json", [number for number, own in self._splits.items() if own == split])
        else:
            self._write(folder / "instances.json", list(self._splits))
        if self._unlabeled:
            self.lost.append(f"{counted(self._unlabeled, 'unlabeled pixels')}: kept for smidgen; other tools take them for background")

    def _write(self, path: Path, numbers: Iterable[int]) -> None:
        chosen, classes = frozenset(numbers), self.data.classes
        categories = [
            {"id": self._ids[value], "name": classes.names[value], "supercategory": ""} for value in range(len(classes))
            if value != classes.background
        ]  # fmt: skip
        background = None if classes.background is None else classes.names[classes.background]
        content = {
            "info": {"description": self.data.name},
            "licenses": [],
            OURS: {"background": background},
            "images": [one for one in self._images if one["id"] in chosen],
            "annotations": [one for one in self._annotations if one["image_id"] in chosen],
            "categories": categories,
        }
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
