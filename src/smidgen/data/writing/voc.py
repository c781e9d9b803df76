"""Writes a folder in the form of PASCAL VOC, VOCdevkit/VOC2012, with a labelmap.txt that names the classes."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
from jaxtyping import UInt8, UInt16

from smidgen.core.errors import DataError, Problem
from smidgen.data.dataset import Dataset
from smidgen.data.labels import NO_INSTANCE_16
from smidgen.data.voc import IMAGES, LABELMAP, MASKS, OBJECTS, VOID
from smidgen.data.voc_tables import voc_color
from smidgen.data.writing.pictures import classes_of_instances, counted, place, save, save_indices, splits_written
from smidgen.products.sample import IGNORED, Sample

ROOT = Path("VOCdevkit/VOC2012")
COLORS = np.array([voc_color(value) for value in range(256)], np.uint8)
NOT_IN_NAMES = frozenset('/\\:*?"<>|')
"""Characters that names of files can't have everywhere."""


class VocWriter:
    """See `pictures.Writer`."""

    def __init__(self, root: Path, data: Dataset, symlink: bool):
        self.root, self.data, self.symlink = root / ROOT, data, symlink
        self.lost: list[str] = []
        # Where every pixel belongs to a class, VOC's value 0, the background, stays unused.
        self._shift = 0 if data.classes.background == 0 else 1
        self._written: list[str] = []
        self._formats = self._grouped = self._reclassed = self._bare = 0
        void = [name for name in data.classes.names if name.casefold() in VOID]
        if void:
            raise DataError([Problem("classes", f"{void[0]} means unlabeled pixels in {LABELMAP}", "rename the class")])

    @property
    def images(self) -> int:
        """How many images are written."""
        return len(self._written)

    def add(self, sample: Sample) -> None:
        """Write JPEGImages, SegmentationClass, SegmentationObject and Annotations of one image."""
        label, instances = sample.label(), sample.instances()
        classes = {} if instances is None else classes_of_instances(self.data, sample.id, instances, label)
        path = place(sample, self.root / IMAGES / sample.id, self.symlink)
        self._written.append(sample.id)
        self._formats += path.suffix != ".jpg"
        self._grouped += sample.group is not None
        if label is not None:
            shifted = np.where(label == IGNORED, IGNORED, label + self._shift).astype(np.uint8)
            save_indices(self.root / MASKS / f"{sample.id}.png", shifted, COLORS)
        if instances is not None:
            self._write_objects(sample, instances)
            self._write_boxes(sample, path, instances, classes)
            self._bare += label is None
            self._reclassed += label is not None and classes != self._majorities(sample, instances, label)

    def _majorities(self, sample: Sample, instances: UInt16[np.ndarray, "h w"], label: UInt8[np.ndarray, "h w"]) -> dict[int, int]:
        """What a reader makes of the objects, who has the mask only."""
        try:
            return classes_of_instances(self.data, sample.id, instances, label, table=False)
        except DataError:
            return {}

    def _write_objects(self, sample: Sample, instances: UInt16[np.ndarray, "h w"]) -> None:
        """8 bits with VOC's colors, or 16 bits of gray where there are too many objects for that."""
        none = instances == NO_INSTANCE_16
        if int(np.where(none, 0, instances).max(initial=0)) >= IGNORED:
            save(instances.astype(np.uint16), self.root / OBJECTS / sample.id)
            return
        save_indices(self.root / OBJECTS / f"{sample.id}.png", np.where(none, IGNORED, instances).astype(np.uint8), COLORS)

    def _write_boxes(self, sample: Sample, path: Path, instances: UInt16[np.ndarray, "h w"], classes: dict[int, int]) -> None:
        tree = ET.Element("annotation")
        ET.SubElement(tree, "folder").text = ROOT.name
        ET.SubElement(tree, "filename").text = path.name
        size = ET.SubElement(tree, "size")
        for name, number in (("width", sample.size[1]), ("height", sample.size[0]), ("depth", sample.channels)):
            ET.SubElement(size, name).text = str(number)
        ET.SubElement(tree, "segmented").text = "1"
        for number, value in classes.items():
            one = ET.SubElement(tree, "object")
            ET.SubElement(one, "name").text = self.data.classes.names[value]
            for name, text in (("pose", "Unspecified"), ("truncated", "0"), ("difficult", "0")):
                ET.SubElement(one, name).text = text
            rows, columns = np.nonzero(instances == number)
            box = ET.SubElement(one, "bndbox")
            # VOC counts pixels from 1, and the last one belongs to the box.
            corners = (("xmin", columns.min()), ("ymin", rows.min()), ("xmax", columns.max()), ("ymax", rows.max()))
            for name, place_ in corners:
                ET.SubElement(box, name).text = str(int(place_) + 1)
        ET.indent(tree)
        target = self.root / "Annotations" / f"{sample.id}.xml"
        target.parent.mkdir(parents=True, exist_ok=True)
        ET.ElementTree(tree).write(target, encoding="utf-8")

    def finish(self) -> None:
        """Write labelmap.txt and ImageSets, and say what has no place."""
        names, samples = self.data.classes.names, self.data.samples
        self.root.mkdir(parents=True, exist_ok=True)
        lines = [f"{name}:{','.join(map(str, voc_color(value + self._shift)))}::\n" for value, name in enumerate(names)]
        (self.root / LABELMAP).write_text("# label:color_rgb:parts:actions\n" + "".join(lines), encoding="utf-8")
        parts = {"trainval": [id for id in self._written if samples[id].split != "test"]}
        if splits_written(self.data):
            parts |= {part: [id for id in self._written if samples[id].split == part] for part in ("train", "val", "test")}
        for part, ids in parts.items():
            self._list("Segmentation", part, ids)
        tagged = [id for id in self._written if samples[id].tags is not None]
        if tagged:
            self._write_tags(tagged)
        self._say()

    def _write_tags(self, tagged: list[str]) -> None:
        """ImageSets/Main: for each class, which images hold it (1) and which do not (-1)."""
        names = self.data.classes.names
        for value in self.data.classes.foreground:
            if NOT_IN_NAMES & set(names[value]) or names[value].startswith("."):
                self.lost.append(f"tags {names[value]}: VOC writes a file for each class, and no file can be called so")
                continue
            lines = [f"{id} {1 if value in (self.data.samples[id].tags or ()) else -1:2d}" for id in tagged]
            self._list("Main", f"{names[value]}_trainval", lines)

    def _list(self, kind: str, name: str, lines: list[str]) -> None:
        path = self.root / "ImageSets" / kind / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def _say(self) -> None:
        for number, what in (
            (self._grouped, "groups"),
            (self._bare, "classes of the objects (there is no mask to tell them)"),
            (self._reclassed, "classes of objects that differ from the mask below them"),
        ):
            if number:
                self.lost.append(f"{counted(number, what)}: VOC has no place for them")
        if self._formats:
            kept = "they are kept as they are, but readers that expect .jpg files, such as torchvision's, do not find them"
            self.lost.append(f"{self._formats} images are no .jpg files: {kept}")
        if self.data.ids:
            self.lost.append("numbers of the classes in the format they came from: VOC has its own")
