"""`smidgen predict`: masks for new images of any size."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.actions import models, predicting_volumes
from smidgen.actions.new_images import NewImage, Place, new_images, place_of, refuse_missing
from smidgen.core.codec import write_atomically
from smidgen.core.errors import ShapeError, UsageError
from smidgen.core.screen import Screen, watching
from smidgen.data.broken import Broken
from smidgen.data.large import opened
from smidgen.data.layout import read_layout
from smidgen.products import looking, masks
from smidgen.products.largest import only_largest
from smidgen.products.probs_file import probs_file
from smidgen.products.resizing import sampled

TABLE = "predictions.csv"
UNSURE = 8
"""So many of the least certain images are named."""
OVERLAY_SIDE = 4096
"""Pictures of larger images show every second pixel, or third …"""
STOPPED = "stopped; the masks that are there are whole; the same command starts over"
"""What is said after Ctrl-C."""


@dataclass(frozen=True)
class Predicted:
    """What was predicted.

    Args:
        folder: Where the masks are.
        masks: Image -> mask.
        confidence: Image -> mean probability of the predicted classes; the least certain images come first.
        left_out: Images that can't be read, with the reason.
        mask_values: What the masks hold for each class; () = its label value.
    """

    folder: Path
    masks: dict[str, str]
    confidence: dict[str, float]
    left_out: dict[str, str]
    mask_values: tuple[int, ...] = ()

    @property
    def least_certain(self) -> tuple[str, ...]:
        """The images that the model is least sure of, first the one of lowest confidence: what to look at, or to label next."""
        return tuple(sorted(self.confidence, key=lambda image: (self.confidence[image], image))[:UNSURE])

    @property
    def figures(self) -> dict[str, Any]:
        """What `--json` tells."""
        told = {"folder": self.folder, "masks": self.masks, "confidence": self.confidence, "left_out": self.left_out}
        return {**told, "least_certain": self.least_certain}

    def _repr_html_(self) -> str:
        """The least certain masks over their images, for notebooks."""
        from smidgen.actions.shown import of_masks

        return of_masks(self.folder, self.masks, self.confidence, self.mask_values)


def predict(
    run: str | Path,
    images: str | Path | Sequence[str | Path],
    *,
    out: str | Path | None = None,
    overlay: bool = False,
    probs: bool = False,
    scales: tuple[float, ...] | None = None,
    flip: bool = False,
    calibrated: bool = False,
    largest_component: bool = False,
    skip_broken: bool = False,
    device: models.Device = "auto",
    screen: Screen | None = None,
) -> Predicted:
    """Predict a mask for each image: an index PNG with a palette, of the image's size and name.

    Images may be of any size: large ones are read, looked at and written strip by strip. Masks hold the values that the masks of the
    training data held (nnU-Net's 0, 1, 2, 4, say). A model of volumes, or of their slices, takes volumes (.nii, .nii.gz, TIFF stacks,
    OME-Zarr, DICOM series) and writes their labels in the same format on the same grid; Zarr block by block, however large it is.

    Args:
        run: Run folder, the model folder in it, or a file that `smidgen export` wrote (torch is not needed then).
        images: A folder (searched with its subfolders; of a data folder, its images only), one image or volume, or several. Files that are
            channels of one case (CASE_0000.nii.gz, CASE_0001.nii.gz) become one image where the model takes several.
        out: Where masks go; RUN/predictions/NAME by default.
        overlay: Also write pictures of the image with the mask over it, of 4096 pixels at most; of a volume of three slices.
        probs: Also write all class probabilities: npz, one array `probs` of classes x height x width, float16; of volumes one float32
            volume per class on the grid of the image, CASE_1_NAME, in its format.
        scales: Relative input sizes whose probabilities are averaged; by default as the run was scored.
        flip: Also average over the mirrored image, if the run was scored without.
        calibrated: Add the class biases that `smidgen train --calibrate 2` measured on held-out masks, if the run was scored without.
        largest_component: Keep only the largest piece of each class, if the run was scored without. Images and volumes that are too large
            to be held in memory can't be predicted so.
        skip_broken: Leave out images that can't be read instead of stopping.
        device: Where the network runs: cpu or gpu; auto = a GPU where there is one.
        screen: Hears of the progress; bars where somebody looks by default, smidgen.Silent() for none.

    Returns:
        Where everything is, and how sure the model was.

    Raises:
        UsageError: No model, no images, two images with one mask name, masks that would take the place of images, an image that can't
            be read or lacks a channel, no class biases where they are wished, or an image too large for largest pieces.
    """
    screen = watching(screen)
    refuse_missing(images)
    segmenter = models.load(Path(run), device)
    place = place_of(images, segmenter.zscored)
    folder = Path(out) if out is not None else _default_folder(Path(run), place.root)
    found = new_images(images, place, folder, segmenter)
    how: dict[str, Any] = models.way(Path(run), segmenter)[1]
    how |= ({"scales": scales} if scales else {}) | ({"flip": True} if flip else {})
    said = {name: how.pop(name, False) for name in models.AFTERWARDS}
    segmenter = segmenter.calibrated() if calibrated or said["calibrated"] else segmenter
    largest = largest_component or said["largest_component"]
    if segmenter.zscored:
        predicting_volumes.refuse_pictures([image.path for image in found])
        job = predicting_volumes.VolumeJob(segmenter, folder, how, overlay, probs, largest)
    else:
        job = _Job(segmenter, folder, how, overlay, probs, largest, _nodata(place))
    _check_targets(found, folder, place, job)
    predicted = Predicted(folder, {}, {}, {}, segmenter.mask_values)
    usable = _usable(found, skip_broken, predicted)
    with screen.step("predict", len(usable), 0, "volumes" if segmenter.zscored else "images") as bar:
        for image in usable:
            bar.advance()
            try:
                confidence = job.predict(image.files, image.name)
            except (Broken, ShapeError) as error:
                if not skip_broken:
                    raise UsageError(f"{image.path}: {error}; or leave such images out with --skip-broken") from error
                predicted.left_out[str(image.path)] = str(error)
                continue
            predicted.masks[str(image.path)] = str(job.mask(image.name))
            predicted.confidence[str(image.path)] = confidence
    _write_table(predicted)
    return predicted


@dataclass(frozen=True)
class _Job:
    """What is done with each image.

    Args:
        segmenter: Looks.
        folder: Where masks go.
        how: How it looks.
        overlay: Whether pictures are wanted.
        probs: Whether probabilities are wanted.
        largest: Whether only the largest piece of each class is wanted.
        nodata: Value of pixels without data; None: what the files say themselves.
    """

    segmenter: Any
    folder: Path
    how: Mapping[str, Any]
    overlay: bool
    probs: bool
    largest: bool
    nodata: float | None

    def mask(self, name: str) -> Path:
        return self.folder / f"{name}.png"

    def targets(self, file: Path, name: str) -> tuple[Path, ...]:
        """Where the mask of an image may be written."""
        return (self.mask(name),)

    def predict(self, files: Sequence[Path], name: str) -> float:
        """Write what is wanted of one image, which may lie in one file per channel; its mean confidence."""
        model, file = self.segmenter, files[0]
        with opened(str(file) if len(files) == 1 else [str(one) for one in files], model.channels, model.value_range, self.nodata) as image:
            size = (int(image.shape[1]), int(image.shape[2]))
            step = math.ceil(max(size) / OVERLAY_SIDE)
            wide = max(model.mask_values, default=0) > np.iinfo(np.uint8).max
            shown: list[np.ndarray] = []
            sure: list[float] = []
            shape = (len(model.classes), *size)
            if self.largest and not isinstance(image, np.ndarray):
                what = f"{size[0]} x {size[1]} pixels are predicted strip by strip, and no strip tells how large a piece is"
                raise UsageError(f"{file}: {what}: leave --largest-component out, or cut the image")
            with probs_file(self.folder / "probs" / f"{name}.npz", shape) if self.probs else nullcontext() as kept:
                masks.write_strips(self.mask(name), size, self._strips(image, step, shown, sure, kept), wide)
            if self.overlay:
                seen = image if step == 1 and isinstance(image, np.ndarray) else sampled(image, step)
                picture = masks.overlay(seen, np.concatenate(shown), background=model.classes.background)
                masks.write_image(self.folder / "overlays" / f"{name}.jpg", picture)
        return sum(sure) / math.prod(size)

    def _strips(self, image: Any, step: int, shown: list[np.ndarray], sure: list[float], kept: Any) -> Iterator[np.ndarray]:
        """Rows of the mask; on the way what is shown, the sum of confidence and the probabilities are put aside."""
        row, values = 0, np.array(self.segmenter.mask_values)
        parts = looking.strips(self.segmenter, image, keep_probs=self.probs, **self.how)
        if self.largest:
            parts = [only_largest(looking.joined(list(parts)), self.segmenter.classes)]
        for part in parts:
            sure.append(float(part.confidence.sum(dtype=np.float64)))
            if self.overlay:
                shown.append(part.label[-row % step :: step, ::step])
            if kept is not None:
                kept.add(part.probs)
            row += len(part.label)
            yield values[part.label] if values.size else part.label


def _nodata(place: Place) -> float | None:
    """What dataset.yaml says of pixels without data, beside the images or in the data folder that they are the images of."""
    if place.root is None:
        return None
    said = read_layout(place.root).nodata
    return read_layout(place.root.parent).nodata if said is None and place.root.name == "images" else said


def _usable(images: Sequence[NewImage], skip_broken: bool, predicted: Predicted) -> list[NewImage]:
    """All but those that are known to be wrong, which are left out where that is wished.

    Raises:
        UsageError: There are some, and it is not.
    """
    wrong = [image for image in images if image.wrong]
    if wrong and not skip_broken:
        more = f" ({len(wrong)} such in all)" if len(wrong) > 1 else ""
        raise UsageError(f"{wrong[0].path}: {wrong[0].wrong}; or leave such images out with --skip-broken{more}")
    predicted.left_out.update({str(image.path): image.wrong for image in wrong})
    return [image for image in images if not image.wrong]


def _check_targets(images: Sequence[NewImage], folder: Path, place: Place, job: _Job | predicting_volumes.VolumeJob) -> None:
    theirs = {file.resolve() for image in images for file in image.files}
    over = [image for image in images if any(path.resolve() in theirs for path in job.targets(image.path, image.name))]
    among = {one.resolve() for one in (*place.folders, *([place.root] if place.root else []))}
    if over or folder.resolve() in among:
        raise UsageError(f"--out {folder}: masks would lie among the images, or replace them: choose another folder")


def _default_folder(run: Path, root: Path | None) -> Path:
    base = models.run_folder(run)
    return base / "predictions" / (root.resolve().name if root else "images")


def _write_table(predicted: Predicted) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("image", "mask", "confidence"))
    for image, confidence in sorted(predicted.confidence.items(), key=lambda item: item[1]):
        writer.writerow((image, predicted.masks[image], f"{confidence:.4f}"))
    predicted.folder.mkdir(parents=True, exist_ok=True)
    write_atomically(predicted.folder / TABLE, lambda part: part.write_text(text.getvalue(), encoding="utf-8"))
