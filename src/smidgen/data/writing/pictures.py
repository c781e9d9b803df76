"""What all writers need: images copied byte for byte or saved without loss, label maps as PNG, and the class of each instance."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Integer, Shaped, UInt8
from PIL import Image

from smidgen.core.errors import DataError, Problem
from smidgen.data.dataset import Dataset
from smidgen.data.images import ImageArray, ImageFile
from smidgen.data.labels import NO_INSTANCE_16
from smidgen.data.mapped import ChannelFiles
from smidgen.data.volume_readers import Slice
from smidgen.products.sample import IGNORED, Sample


@runtime_checkable
class Writer(Protocol):
    """Writes a dataset in one form, image by image.

    A writer is made with the folder to write into, the data, and whether images are linked instead of copied.
    """

    lost: list[str]
    """What the form has no place for, in words."""

    @property
    def images(self) -> int:
        """How many images are written."""
        ...

    def add(self, sample: Sample) -> None:
        """Write one image and its labels; what can't be read is noticed before anything is written."""
        ...

    def finish(self) -> None:
        """Write what is known only at the end: tables and lists."""
        ...


def stored(sample: Sample) -> Shaped[np.ndarray, "h w *c"]:
    """An image's pixels as they are stored, orientation applied, without palette, and without alpha unless it is data; raises `Broken`."""
    reader = sample.read_image
    if isinstance(reader, ImageFile | ChannelFiles):
        return reader.stored()[0]
    if isinstance(reader, ImageArray):
        return reader.array
    if isinstance(reader, Slice):
        return np.moveaxis(reader.stored(), 0, -1)
    return np.moveaxis(sample.image(), 0, -1)


def place(sample: Sample, stem: Path, symlink: bool = False) -> Path:
    """Put an image somewhere: its file byte for byte, else its pixels without loss.

    Args:
        sample: The image.
        stem: Where, without suffix; its folder is made.
        symlink: Link to the file instead of copying it.

    Returns:
        The file.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(sample.read_image, ImageFile):
        source = Path(sample.read_image.path)
        return bytes_of(source, stem.with_name(stem.name + source.suffix), symlink)
    return save(stored(sample), stem)


def bytes_of(source: Path, target: Path, symlink: bool) -> Path:
    """Copy or link a file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if symlink:
        target.symlink_to(os.path.realpath(source))
    else:
        shutil.copyfile(source, target)
    return target


def save(array: Shaped[np.ndarray, "h w *c"], stem: Path) -> Path:
    """Save pixels without loss: as PNG where that can hold them, else as TIFF."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    array = array.astype(np.uint8) * 255 if array.dtype == np.bool_ else array
    array = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if fits_png(array):
        path = stem.with_name(stem.name + ".png")
        Image.fromarray(array).save(path)
        return path
    return save_tiff(array, stem.with_name(stem.name + ".tif"))


def fits_png(array: Shaped[np.ndarray, "h w *c"]) -> bool:
    """PNG holds 8 bits of gray or color, and 16 bits of gray."""
    kind = (array.dtype.name, 1 if array.ndim == 2 else array.shape[2])
    return kind in (("uint8", 1), ("uint8", 3), ("bool", 1), ("uint16", 1))


def save_tiff(array: Shaped[np.ndarray, "h w *c"], path: Path) -> Path:
    """Save pixels of any type and number of channels."""
    import tifffile  # costs 0.1 s, and only few images need it

    color = array.ndim == 3 and array.shape[2] == 3
    how = "rgb" if color else "minisblack"
    layout = "contig" if array.ndim == 3 else None
    tifffile.imwrite(path, np.ascontiguousarray(array), photometric=how, compression="zlib", planarconfig=layout)
    return path


def save_indices(path: Path, values: UInt8[np.ndarray, "h w"], palette: UInt8[np.ndarray, "256 3"] | None = None) -> None:
    """Save label values as a PNG: with a palette in these colors, else gray."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(values)
    if palette is not None:
        picture.putpalette(palette.tobytes())
    picture.save(path)


def classes_of_instances(
    data: Dataset, id: str, instances: Integer[np.ndarray, "h w"], label: UInt8[np.ndarray, "h w"] | None, table: bool = True
) -> dict[int, int]:
    """Instance id -> class: from the table, else the class that most of its pixels have in the mask.

    Args:
        data: Knows the classes and the table.
        id: The image's.
        instances: Instance ids, 0 = none, 65535 = ignored.
        label: Class indices, 255 = unlabeled.
        table: False: as if there were no table.

    Raises:
        DataError: An instance is in no table and on no mask.
    """
    known: Mapping[int, int] = data.instance_classes.get(id, {}) if table else {}
    numbers = [int(number) for number in np.unique(instances) if number not in (0, NO_INSTANCE_16)]
    classes = {number: known[number] for number in numbers if number in known}
    for number in numbers:
        if number in classes:
            continue
        under = np.zeros(0, np.uint8) if label is None else label[(instances == number) & (label != IGNORED)]
        counts = np.bincount(under, minlength=len(data.classes))
        if data.classes.background is not None:
            counts[data.classes.background] = 0
        if not counts.any():
            what = f"instance {number} is in no table, and no mask tells its class"
            raise DataError([Problem(id, what, "add it to instances.csv", (id,))])
        classes[number] = int(counts.argmax())
    return dict(sorted(classes.items()))


def splits_written(data: Dataset) -> bool:
    """The split was written down by somebody, so that it belongs to the data; also where only the test set was."""
    return not data.split_drawn or bool(data.test)


def counted(number: int, what: str) -> str:
    """A number of images in words."""
    return f"{what} of {number} image{'' if number == 1 else 's'}"
