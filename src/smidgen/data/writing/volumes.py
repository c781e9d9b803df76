"""What writers need for volumes: images copied byte for byte or saved without loss, labels on the grid of their image."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8

from smidgen.core.errors import DataError, Problem
from smidgen.data.volume_files import suffix_of
from smidgen.data.volume_frames import Frame
from smidgen.data.volume_readers import VolumeFile
from smidgen.data.volume_writing import write_label
from smidgen.data.writing.pictures import bytes_of
from smidgen.products.sample import Sample


def frame_of(sample: Sample) -> Frame:
    """The frame of a volume; that of an array knows its spacing only."""
    known = getattr(sample.read_image, "frame", None)
    if known is not None:
        return known
    depth, height, width = sample.size
    spacing = sample.spacing_mm
    return Frame("array", (depth, height, width), None if spacing is None else (spacing[0], spacing[1], spacing[2]), sample.spacing_trusted)


def place_volume(sample: Sample, stem: Path, symlink: bool = False) -> Path:
    """Put a volume somewhere: its file or folder as it is, else its voxels without loss.

    Args:
        sample: The volume.
        stem: Where, without suffix; its folder is made.
        symlink: Link to it instead of copying it.

    Returns:
        The file or folder.

    Raises:
        DataError: It has several channels, which lie in several files.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    reader = sample.read_image
    if not isinstance(reader, VolumeFile):
        return save_channels(sample, [stem])[0]
    if len(reader.paths) > 1:
        what = f"{len(reader.paths)} channels lie in a file each, and a folder has one file for a volume"
        raise DataError([Problem(sample.id, what, "write it --to nnunet, or save it as one OME-Zarr", (sample.id,))])
    source = Path(reader.where)
    suffix = "" if source.is_dir() and reader.frame.kind == "dicom" else suffix_of(source.name)
    target = stem.with_name(stem.name + suffix)
    if not source.is_dir():
        return bytes_of(source, target, symlink)
    if symlink:
        target.symlink_to(os.path.realpath(source), target_is_directory=True)
    else:
        shutil.copytree(source, target)
    return target


def save_channels(sample: Sample, stems: list[Path], suffix: str = "") -> list[Path]:
    """Save the channels of a volume as stored, one file each.

    Args:
        sample: The volume.
        stems: Where, without suffix; one for each channel.
        suffix: What the files end in; "" = as its format has it.

    Returns:
        The files.

    Raises:
        DataError: There are more channels than files.
    """
    reader: Any = sample.read_image
    array = reader.stored()
    if len(array) != len(stems):
        what = f"{len(array)} channels, a file of a volume holds one"
        raise DataError([Problem(sample.id, what, "write it --to nnunet, or save it as one OME-Zarr", (sample.id,))])
    frame = frame_of(sample)
    found = []
    for stem, channel in zip(stems, array, strict=True):
        path = stem.with_name(stem.name + (suffix or frame.suffix))
        found.append(write_label(path, channel.astype(np.uint8) if channel.dtype == np.bool_ else channel, frame))
    return found


def save_label(stem: Path, label: UInt8[np.ndarray, "d h w"], sample: Sample, table: Shaped[np.ndarray, "256"] | None = None) -> Path:
    """Save a label on the grid of its image, in its format.

    Args:
        stem: Where, with or without suffix.
        label: Class indices.
        sample: Its volume.
        table: What is written for each of them; None: they themselves.
    """
    return write_label(stem, label if table is None else table[label], frame_of(sample))


def spacing_rule(samples: list[Sample]) -> str | None:
    """What dataset.yaml has to say about spacing, so that a copy is understood like its source; None = nothing."""
    for sample in samples:
        frame = frame_of(sample)
        if sample.spacing_mm is None and frame.spacing_mm is not None:
            return "unknown"
        if sample.spacing_trusted != frame.trusted:
            return "file" if sample.spacing_trusted else "nominal"
    return None
