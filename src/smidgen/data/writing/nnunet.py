"""Writes an nnU-Net dataset of 2D images or of volumes: imagesTr, labelsTr, imagesTs, dataset.json."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from smidgen.core.errors import DataError, Problem
from smidgen.data.assembling import OURS
from smidgen.data.dataset import Dataset
from smidgen.data.images import ImageFile, header
from smidgen.data.mapped import ChannelFiles
from smidgen.data.nnunet import IGNORE, JSON, SPLITS, TEST, TRAIN
from smidgen.data.volume_files import suffix_of
from smidgen.data.writing.pictures import bytes_of, counted, fits_png, save_indices, save_tiff, splits_written, stored
from smidgen.data.writing.volumes import save_channels, save_label
from smidgen.products.sample import IGNORED, Sample

PLAIN = {".png": frozenset({"L", "RGB", "I;16"}), ".tif": frozenset({"L", "RGB", "I;16", "F"})}
"""Pixel formats in which a file can be copied as it is."""


class NnunetWriter:
    """See `pictures.Writer`."""

    def __init__(self, root: Path, data: Dataset, symlink: bool):
        self.root, self.data, self.symlink = root, data, symlink
        self.lost: list[str] = []
        self._cases: dict[str, str] = {}
        self._unlabeled = self._tagged = self._instances = self._grouped = self._ignored = 0
        self._ending = ".nii.gz" if data.dims == 3 else ".png" if all(_is_plain(sample) for sample in data.samples.values()) else ".tif"
        names = data.classes.names
        # nnU-Net's label 0 is the background; where there is none it stays unused.
        shift = 0 if data.classes.background == 0 else 1
        ids = [data.ids.get(name, -1) for name in names]
        fit = shift == 0 and ids[0] == 0 and len({one for one in ids if 0 <= one < IGNORED}) == len(ids)
        self._values = ids if fit else [value + shift for value in range(len(names))]
        self._ignore = max(self._values) + 1
        if IGNORE in names or (shift and "background" in names):
            name = IGNORE if IGNORE in names else "background"
            raise DataError([Problem("classes", f"{name} has a meaning of its own in nnU-Net", "rename the class")])

    @property
    def images(self) -> int:
        """How many images are written."""
        return len(self._cases)

    def add(self, sample: Sample) -> None:
        """Write one case; images without a mask have no place but in the test set."""
        label = sample.label()
        self._tagged += sample.tags is not None
        self._instances += sample.read_instances is not None
        self._grouped += sample.group is not None
        if label is None and sample.split != "test":
            self._unlabeled += 1
            return
        case = sample.id.replace("/", "__")
        if case in self._cases:
            what = f"would be called {case} like {self._cases[case]}, since nnU-Net has no folders"
            raise DataError([Problem(sample.id, what, "rename one of the two", (sample.id,))])
        images, labels = TEST if sample.split == "test" else TRAIN
        self._write_image(sample, self.root / images, case)
        self._cases[case] = sample.id
        if label is not None:
            self._ignored += bool((label == IGNORED).any())
            table = np.full(256, self._ignore, np.uint8)
            table[: len(self._values)] = self._values
            path = self.root / labels / f"{case}{self._ending}"
            if self.data.dims == 3:
                save_label(path, label, sample, table)
            elif self._ending == ".png":
                save_indices(path, table[label])
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                save_tiff(table[label], path)

    def _write_image(self, sample: Sample, folder: Path, case: str) -> None:
        """One file for gray and for color, else one file per channel; a volume has one per channel."""
        if self.data.dims == 3:
            self._write_volume(sample, [folder / f"{case}_{i:04}" for i in range(sample.channels)])
            return
        first = folder / f"{case}_0000{self._ending}"
        if isinstance(sample.read_image, ImageFile) and self._as_it_is(sample.read_image.path):
            bytes_of(Path(sample.read_image.path), first, self.symlink)
            return
        array = stored(sample)
        array = array.astype(np.uint8) * 255 if array.dtype == np.bool_ else array
        if array.ndim == 3 and array.shape[2] == 1:
            array = array[..., 0]
        if array.ndim == 2 and sample.channels > 1:
            array = np.repeat(array[..., None], sample.channels, axis=2)
        folder.mkdir(parents=True, exist_ok=True)
        if array.ndim == 2 or (array.shape[2] == 3 and (self._ending == ".tif" or fits_png(array))):
            self._save(array, first)
            return
        for i in range(array.shape[2]):
            self._save(array[..., i], folder / f"{case}_{i:04}{self._ending}")

    def _write_volume(self, sample: Sample, stems: list[Path]) -> None:
        files = getattr(sample.read_image, "paths", ())
        if len(files) == len(stems) and all(suffix_of(file) == self._ending for file in files):
            for file, stem in zip(files, stems, strict=True):
                bytes_of(Path(file), stem.with_name(stem.name + self._ending), self.symlink)
            return
        save_channels(sample, stems, self._ending)

    def _save(self, array: Shaped[np.ndarray, "h w *c"], path: Path) -> None:
        if self._ending == ".tif":
            save_tiff(array, path)
            return
        from PIL import Image

        Image.fromarray(array).save(path)

    def _as_it_is(self, path: str) -> bool:
        """The file's bytes mean the same to nnU-Net, which knows no palettes, alpha, orientation or repeated gray."""
        head = header(path)
        known = head.mode in PLAIN[self._ending] and head.orientation == 1
        return known and Path(path).suffix == self._ending and head.channels == self.data.channels

    def finish(self) -> None:
        """Write dataset.json, the split, and what cases are called where that changed; say what has no place."""
        data, names = self.data, self.data.classes.names
        labels = dict(zip(names, self._values, strict=True))
        labels = labels if data.classes.background == 0 else {"background": 0} | labels
        if data.classes.background == 0 and names[0] != "background":
            labels = {"background" if not value else name: value for name, value in labels.items()}
        channels = ["R", "G", "B"] if data.channels == 3 and data.dims == 2 else [f"channel {i}" for i in range(data.channels)]
        content = {
            "channel_names": {str(i): name for i, name in enumerate(channels)},
            "labels": labels | ({IGNORE: self._ignore} if self._ignored else {}),
            "numTraining": sum(data.samples[id].split != "test" for id in self._cases.values()),
            "file_ending": self._ending,
            "name": data.name,
        }
        content |= {} if data.classes.background == 0 else {OURS: {"background": None}}
        (self.root / TRAIN[0]).mkdir(parents=True, exist_ok=True)
        self._json(JSON, content)
        if splits_written(data):
            fold = {part: [case for case, id in self._cases.items() if data.samples[id].split == part] for part in ("train", "val")}
            self._json(SPLITS, [fold])
            self.lost.append(f"the split stands in {SPLITS}; nnU-Net reads it from the dataset's folder in nnUNet_preprocessed")
        if any(case != id for case, id in self._cases.items()):
            with (self.root / "cases.csv").open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([("case", "image"), *self._cases.items()])
            self.lost.append("folders below the images: nnU-Net has none; cases.csv tells which case is which image")
        self._say()

    def _json(self, name: str, content: object) -> None:
        (self.root / name).write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")

    def _say(self) -> None:
        if self._unlabeled:
            self.lost.append(f"{self._unlabeled} images without a mask are left out: nnU-Net wants a label for each training image")
        for number, what in ((self._tagged, "tags"), (self._instances, "instances"), (self._grouped, "groups")):
            if number:
                self.lost.append(f"{counted(number, what)}: nnU-Net has no place for them")
        if self.data.classes.background == 0 and self.data.classes.names[0] != "background":
            self.lost.append(f"the name {self.data.classes.names[0]}: nnU-Net calls label 0 background")
        if self.data.ids and self._values == list(range(len(self._values))):
            self.lost.append("numbers of the classes in the format they came from: nnU-Net counts from 0 without gaps")


def _is_plain(sample: Sample) -> bool:
    """PNG holds the image without loss, or each of its channels."""
    reader = sample.read_image
    if isinstance(reader, ImageFile | ChannelFiles):
        head = header(reader.path if isinstance(reader, ImageFile) else reader.paths[0])
        return not head.floating and (head.channels == 1 or (head.channels == 3 and "16" not in head.mode)) and head.mode not in ("I", "F")
    array = stored(sample)
    return fits_png(array) or (array.ndim == 3 and fits_png(array[..., 0]))
