"""`smidgen predict`: masks for new images of any size."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.actions import models
from smidgen.core.codec import write_atomically
from smidgen.core.errors import ShapeError, UsageError
from smidgen.core.screen import Screen, watching
from smidgen.data.images import SUFFIXES, Broken, ImageFile, header
from smidgen.data.layout import list_files
from smidgen.products import masks

TABLE = "predictions.csv"
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
    """

    folder: Path
    masks: dict[str, str]
    confidence: dict[str, float]
    left_out: dict[str, str]

    def _repr_html_(self) -> str:
        """The least certain masks over their images, for notebooks."""
        from smidgen.actions.shown import of_masks

        return of_masks(self.folder, self.masks, self.confidence)


def predict(
    run: str | Path,
    images: str | Path | Sequence[str | Path],
    *,
    out: str | Path | None = None,
    overlay: bool = False,
    probs: bool = False,
    scales: tuple[float, ...] | None = None,
    flip: bool = False,
    skip_broken: bool = False,
    screen: Screen | None = None,
) -> Predicted:
    """Predict a mask for each image: an index PNG with a palette, of the image's size and name.

    Args:
        run: Run folder, or the model folder in it.
        images: A folder (searched with its subfolders; of a data folder, its images/), one image, or several.
        out: Where masks go; RUN/predictions/NAME by default.
        overlay: Also write pictures of the image with the mask over it.
        probs: Also write all class probabilities (npz, one array `probs` of classes x height x width, float16).
        scales: Relative input sizes whose probabilities are averaged; by default as the run was scored.
        flip: Also average over the mirrored image, if the run was scored without.
        skip_broken: Leave out images that can't be read instead of stopping.
        screen: Hears of the progress; bars where somebody looks by default, smidgen.Silent() for none.

    Returns:
        Where everything is, and how sure the model was.

    Raises:
        UsageError: No model, no images, two images with one mask name, masks that would take the place of images, or an image that
            can't be read.
    """
    screen = watching(screen)
    root = _image_folder(Path(images)) if isinstance(images, str | Path) and Path(images).is_dir() else None
    folder = Path(out) if out is not None else _default_folder(Path(run), root)
    files = _listed(images) if root is None else _below(root, folder)
    names = _mask_names(root, files)
    _check_targets(files, names, folder, root)
    segmenter = models.load(Path(run))
    how: dict[str, Any] = models.way(Path(run))[1]
    how |= ({"scales": scales} if scales else {}) | ({"flip": True} if flip else {})
    predicted = Predicted(folder, {}, {}, {})
    with screen.step("predict", len(files), 0, "images") as bar:
        for file in files:
            bar.advance()
            try:
                image = ImageFile(str(file), channels=header(str(file)).channels, value_range=segmenter.architecture.value_range).read()
                scores = segmenter.predict(image, keep_probs=probs, **how)
            except (Broken, ShapeError) as error:
                if not skip_broken:
                    raise UsageError(f"{file}: {error}; or leave such images out with --skip-broken") from error
                predicted.left_out[str(file)] = str(error)
                continue
            target = folder / f"{names[file]}.png"
            masks.write_mask(target, scores.label)
            if overlay:
                picture = masks.overlay(image, scores.label, background=segmenter.classes.background)
                masks.write_image(folder / "overlays" / f"{names[file]}.jpg", picture)
            if scores.probs is not None:
                write_probs(folder / "probs" / f"{names[file]}.npz", scores.probs)
            predicted.masks[str(file)] = str(target)
            predicted.confidence[str(file)] = float(np.mean(scores.confidence))
    _write_table(predicted)
    return predicted


def write_probs(path: Path, probs: np.ndarray) -> None:
    """Class probabilities as float16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda part: np.savez_compressed(part, probs=probs.astype(np.float16)))


def _image_folder(folder: Path) -> Path:
    """The images of a data folder, whose masks are images as well; any other folder itself."""
    return folder / "images" if (folder / "images").is_dir() else folder


def _below(root: Path, out: Path) -> list[Path]:
    """All images in a folder and its subfolders, but for what was predicted there before."""
    listing = list_files(root)
    paths = [Path(file) for file in (*listing.files.values(), *(twin for twins in listing.doubled.values() for twin in twins))]
    files = sorted(path for path in paths if out.resolve() not in path.resolve().parents or out.resolve() == root.resolve())
    if not files:
        raise UsageError(f"{root}: no images in this folder: they end in {', '.join(sorted(SUFFIXES))}")
    return files


def _listed(images: str | Path | Sequence[str | Path]) -> list[Path]:
    """Images that were named one by one."""
    listed = [Path(images)] if isinstance(images, str | Path) else [Path(image) for image in images]
    missing = [str(path) for path in listed if not path.is_file()]
    if missing:
        raise UsageError(f"{', '.join(missing[:5])}: no such file or folder: correct the path")
    return listed


def _mask_names(root: Path | None, files: Sequence[Path]) -> dict[Path, str]:
    """Whole stem below the folder; where two images would share it, the suffix stays in the name."""
    plain = {file: (file.relative_to(root) if root else Path(file.name)).with_suffix("").as_posix() for file in files}
    counts: dict[str, int] = {}
    for name in plain.values():
        counts[name] = counts.get(name, 0) + 1
    return {file: name if counts[name] == 1 else f"{name}{file.suffix.replace('.', '-')}" for file, name in plain.items()}


def _check_targets(files: Sequence[Path], names: Mapping[Path, str], folder: Path, root: Path | None) -> None:
    first: dict[str, Path] = {}
    for file in files:
        other = first.setdefault(names[file], file)
        if other != file:
            raise UsageError(f"{other} and {file}: both masks would be called {names[file]}.png: rename one, or predict them apart")
    theirs = {file.resolve() for file in files}
    over = [name for name in first if (folder / f"{name}.png").resolve() in theirs]
    if over or (root is not None and folder.resolve() == root.resolve()):
        raise UsageError(f"--out {folder}: masks would lie among the images, or replace them: choose another folder")


def _default_folder(run: Path, root: Path | None) -> Path:
    base = run.parent if run.name == "model" else run
    return base / "predictions" / (root.resolve().name if root else "images")


def _write_table(predicted: Predicted) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("image", "mask", "confidence"))
    for image, confidence in sorted(predicted.confidence.items(), key=lambda item: item[1]):
        writer.writerow((image, predicted.masks[image], f"{confidence:.4f}"))
    predicted.folder.mkdir(parents=True, exist_ok=True)
    write_atomically(predicted.folder / TABLE, lambda part: part.write_text(text.getvalue(), encoding="utf-8"))
