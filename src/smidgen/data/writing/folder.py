"""Writes a dataset as a folder in smidgen's own form: everything that is known has a place there."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from smidgen.data.dataset import Dataset
from smidgen.data.naming import BACKGROUND
from smidgen.data.writing.pictures import classes_of_instances, place, save, save_indices, splits_written
from smidgen.data.writing.volumes import frame_of, place_volume, save_label, spacing_rule
from smidgen.products.colors import PALETTE
from smidgen.products.sample import Sample

GROUPS = "groups.csv"


class FolderWriter:
    """See `pictures.Writer`."""

    def __init__(self, root: Path, data: Dataset, symlink: bool):
        self.root, self.data, self.symlink = root, data, symlink
        self.lost: list[str] = []
        self._files: dict[str, str] = {}
        self._instances: list[tuple[Any, ...]] = []

    @property
    def images(self) -> int:
        """How many images are written."""
        return len(self._files)

    def add(self, sample: Sample) -> None:
        """Write images/, masks/ and instances/ of one image."""
        if len(sample.size) == 3:
            self._add_volume(sample)
            return
        label, instances = sample.label(), sample.instances()
        classes = {} if instances is None else classes_of_instances(self.data, sample.id, instances, label)
        path = place(sample, self.root / "images" / sample.id, self.symlink)
        file = self._files[sample.id] = path.relative_to(self.root / "images").as_posix()
        if label is not None:
            save_indices(self.root / "masks" / f"{sample.id}.png", label, PALETTE)
        if instances is not None:
            save(instances.astype(np.uint16), self.root / "instances" / sample.id)
            names = self.data.classes.names
            self._instances += [(file, i, value, names[value], int((instances == i).sum())) for i, value in classes.items()]

    def _add_volume(self, sample: Sample) -> None:
        """Write volumes/ and labels/ of one case."""
        label = sample.label()
        path = place_volume(sample, self.root / "volumes" / sample.id, self.symlink)
        self._files[sample.id] = path.relative_to(self.root / "volumes").as_posix()
        if label is not None:
            save_label(self.root / "labels" / f"{sample.id}{frame_of(sample).suffix}", label, sample)

    def finish(self) -> None:
        """Write classes.txt, tags.csv, split.csv, instances.csv, groups and dataset.yaml, as far as there is something to say."""
        data, written = self.data, [self.data.samples[id] for id in self._files]
        names = data.classes.names
        (self.root / "classes.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        tagged = [sample for sample in written if sample.tags is not None]
        if tagged:
            self._write_tags(tagged)
        if splits_written(data):
            self._table("split.csv", ("filename", "split"), ((self._files[one.id], one.split) for one in written))
        if self._instances:
            self._table("instances.csv", ("filename", "instance_id", "class_id", "class_name", "area_px"), self._instances)
        grouped = [(self._files[one.id], one.group) for one in written if one.group is not None]
        if grouped:
            self._table(GROUPS, ("filename", "group"), grouped)
        entries = self._entries() | ({"groups": f"{GROUPS}:group"} if grouped else {})
        if entries:
            text = yaml.safe_dump(entries, allow_unicode=True, sort_keys=False)
            (self.root / "dataset.yaml").write_text(text, encoding="utf-8")

    def _entries(self) -> dict[str, Any]:
        """What classes.txt can't say."""
        classes, entries = self.data.classes, {}
        if classes.background is None:
            entries["background"] = "none"
        elif BACKGROUND not in classes.names[0].casefold():
            entries["background"] = 0
        rule = spacing_rule(list(self.data.samples.values())) if self.data.dims == 3 else None
        entries |= {"spacing": rule} if rule else {}
        return entries | ({"ids": dict(self.data.ids)} if self.data.ids else {})

    def _write_tags(self, tagged: Sequence[Sample]) -> None:
        """One column with names joined by ;, or a column for each class where a name has a ; itself."""
        names, values = self.data.classes.names, self.data.classes.foreground
        if any(";" in name for name in names):
            rows = ((self._files[one.id], *(int(value in (one.tags or ())) for value in values)) for one in tagged)
            self._table("tags.csv", ("filename", *(names[value] for value in values)), rows)
            return
        joined = ((self._files[one.id], ";".join(names[value] for value in one.tags or ())) for one in tagged)
        self._table("tags.csv", ("filename", "tags"), joined)

    def _table(self, name: str, heading: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
        with (self.root / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([heading, *rows])
