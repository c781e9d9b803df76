"""What `smidgen predict` does with volumes: found, looked at block by block, labels written on their grid."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from smidgen.core.errors import UsageError
from smidgen.data.broken import Broken
from smidgen.data.volume_folder import SOUGHT
from smidgen.data.volume_frames import SUFFIXES as FRAME_SUFFIXES
from smidgen.data.volumes import LabelWriter, LazyVolume, label_path, opened_volume, suffix_of
from smidgen.products import masks, pictures
from smidgen.products import volumes as products
from smidgen.products.largest import only_largest
from smidgen.products.scores import Scores

PLANES = 9
"""So many planes may become a picture."""
SHOWN = 3
"""So many do."""
MOST_WHOLE = 200_000_000
"""Voxels of a volume whose pieces are told apart: its label, its confidence and the numbers of pieces take 10 bytes each."""
UNLIKE = 1.5
"""Voxels that are so many times as large or small as in training are worth a warning."""

UNSAFE = re.compile(r"[^\w-]+")
"""What no file name needs."""

log = logging.getLogger(__name__)


@dataclass
class VolumeJob:
    """What is done with each volume.

    Args:
        segmenter: Looks.
        folder: Where labels go.
        how: How it looks.
        overlay: Whether pictures are wanted.
        probs: Whether probabilities are wanted.
        largest: Whether only the largest piece of each class is wanted.
    """

    segmenter: Any
    folder: Path
    how: Mapping[str, Any]
    overlay: bool
    probs: bool
    largest: bool = False
    written: dict[str, Path] = field(default_factory=dict)

    def mask(self, name: str) -> Path:
        """Where the label of a volume was written."""
        return self.written[name]

    def targets(self, file: Path, name: str) -> tuple[Path, ...]:
        """Where the label of a volume may be written."""
        return tuple(self.folder / f"{name}{suffix}" for suffix in {suffix_of(file.name), *FRAME_SUFFIXES.values()} if suffix)

    def predict(self, files: Sequence[Path], name: str) -> float:
        """Write what is wanted of one volume, which may lie in one file per channel; its mean confidence."""
        model, file, volume = self.segmenter, files[0], opened_volume([str(one) for one in files])
        if volume.shape[0] == 1 < model.channels:
            names = f"{name}_0000{suffix_of(file.name)} to {name}_{model.channels - 1:04}{suffix_of(file.name)}"
            raise Broken(f"has 1 channel, and this model takes {model.channels}", f"give one file per channel, called like {names}")
        self._warn(file, volume)
        values = np.array(model.mask_values)
        wide = max(model.mask_values, default=0) > np.iinfo(np.uint8).max
        shown = _Shown(volume, self.overlay)
        sure = 0.0
        self.written[name] = label_path(self.folder / name, volume.frame)
        parts = self._whole(file, volume) if self.largest else products.blocks(model, volume, keep_probs=self.probs, **self.how)
        with ExitStack() as open_files:
            writer = open_files.enter_context(LabelWriter(self.written[name], volume.frame, np.uint16 if wide else np.uint8))
            targets = self._of_classes(name, volume) if self.probs else ()
            of_classes = [open_files.enter_context(one) for one in targets]
            for planes, rows, part in parts:
                writer.place(values[part.label] if values.size else part.label, planes, rows)
                sure += float(part.confidence.sum(dtype=np.float64))
                shown.take(planes, rows, part.label)
                for file_of_class, probs in zip(of_classes, part.probs if part.probs is not None else (), strict=False):
                    file_of_class.place(probs.astype(np.float32), planes, rows)
        if self.overlay:
            masks.write_image(self.folder / "overlays" / f"{name}.jpg", shown.picture(model.classes.background))
        return sure / math.prod(volume.frame.size)

    def _of_classes(self, name: str, volume: LazyVolume) -> Iterator[LabelWriter]:
        """A volume of probabilities for each class, on the grid of the image."""
        for value, of_class in enumerate(self.segmenter.classes.names):
            path = self.folder / "probs" / f"{name}_{value}_{UNSAFE.sub('-', of_class)}"
            yield LabelWriter(path, volume.frame, np.float32)

    def _whole(self, file: Path, volume: LazyVolume) -> list[tuple[slice, slice, Scores]]:
        """The volume as one block, of which only the largest piece of each class is kept."""
        if (voxels := math.prod(volume.frame.size)) > MOST_WHOLE:
            what = f"{voxels / 1e6:.0f} million voxels are predicted block by block, and no block tells how large a piece is"
            raise UsageError(f"{file}: {what}: leave --largest-component out, or cut the volume (at most {MOST_WHOLE / 1e6:.0f} million)")
        how = {"scales": (1.0,), "flip": False, **self.how}
        found = products.predicted(self.segmenter, volume, None, keep_probs=self.probs, **how)
        return [(slice(0, volume.shape[1]), slice(0, volume.shape[2]), only_largest(found, self.segmenter.classes))]

    def _warn(self, file: Path, volume: LazyVolume) -> None:
        trained, here = self.segmenter.spacing_mm, volume.spacing_mm
        if not trained or not here or not volume.spacing_trusted:
            return
        if any(not 1 / UNLIKE < one / other < UNLIKE for one, other in zip(trained, here[-len(trained) :], strict=True)):
            told = [" x ".join(f"{side:.3g}" for side in sides) for sides in (here[-len(trained) :], trained)]
            log.warning("%s: voxels of %s mm, and the model was trained with %s mm: resample it, or look closely", file, *told)


class _Shown:
    """Planes that may become a picture, with their labels."""

    def __init__(self, volume: LazyVolume, wanted: bool):
        self.volume = volume
        depth, height, width = volume.frame.size
        chosen = sorted({round((n + 0.5) * depth / PLANES - 0.5) for n in range(PLANES)}) if wanted else []
        self.labels = {z: np.zeros((height, width), np.uint8) for z in chosen}

    def take(self, planes: slice, rows: slice, label: UInt8[np.ndarray, "s r w"]) -> None:
        for z, plane in self.labels.items():
            if planes.start <= z < planes.stop:
                plane[rows] = label[z - planes.start]

    def picture(self, background: int | None) -> UInt8[np.ndarray, "h w 3"]:
        """The planes with most foreground side by side, in their order."""
        fullest = sorted(self.labels, key=lambda z: -int((self.labels[z] != (background or 0)).sum()))[:SHOWN]
        drawn = [pictures.laid_over(_gray(self.volume[:, z : z + 1]), self.labels[z], background) for z in sorted(fullest)]
        return pictures.side_by_side(drawn, max(pictures.LONGEST, min(512, max(self.volume.frame.size[1:]))))


def _gray(plane: Float32[np.ndarray, "c 1 h w"]) -> Float32[np.ndarray, "1 h w"]:
    low, high = np.percentile(plane[0], (0.5, 99.5))
    return np.clip((plane[:1, 0] - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)


def refuse_pictures(files: Sequence[Path]) -> None:
    """A model of volumes is not for pictures.

    Raises:
        UsageError: A file is none that holds a volume.
    """
    for file in files:
        if file.is_file() and suffix_of(file.name).lower() not in SOUGHT.suffixes:
            raise UsageError(
                f"{file}: this model takes volumes (.nii, .nii.gz, .tif, .zarr, DICOM slices): use a model that was trained on pictures"
            )
