"""Little folders of images, written file by file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

VOC_COLORS = {0: (0, 0, 0), 1: (128, 0, 0), 15: (192, 128, 128), 255: (224, 224, 192)}


class Folder:
    """Writes a dataset's files below `path`."""

    def __init__(self, path: Path):
        self.path = path

    def image(self, name: str, array: Any = None, **options: Any) -> Path:
        """An image file; without an array a colorful one of 6 x 8 pixels that depends on its name."""
        if array is None:
            array = np.random.default_rng(sum(map(ord, name))).integers(0, 256, (6, 8, 3), np.uint8)
        return self.save(name, array if isinstance(array, Image.Image) else Image.fromarray(np.asarray(array)), **options)

    def images(self, names: str, **options: Any) -> None:
        """Several images in images/, names separated by spaces."""
        for name in names.split():
            self.image(f"images/{name}", **options)

    def mask(self, name: str, values: Any, shape: tuple[int, int] = (6, 8), **options: Any) -> Path:
        """A gray mask; a single number fills it, a list of numbers fills its first pixels, else it is the array itself."""
        array = np.zeros(shape, np.uint8)
        if np.ndim(values) == 2:
            array = np.asarray(values)
        elif np.ndim(values) == 1:
            array.flat[: len(values)] = values
        else:
            array[:] = values
        return self.image(name, array, **options)

    def save(self, name: str, image: Image.Image, **options: Any) -> Path:
        """Any Pillow image."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, **options)
        return path

    def text(self, name: str, text: str) -> Path:
        """A table or list."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def palette_mask(self, name: str, array: np.ndarray) -> Path:
        """A palette PNG in VOC's colors; the array holds indices."""
        image = Image.fromarray(array.astype(np.uint8)).convert("P")
        image = Image.frombytes("P", image.size, array.astype(np.uint8).tobytes())
        colors = np.zeros((256, 3), np.uint8)
        for value, color in VOC_COLORS.items():
            colors[value] = color
        image.putpalette(colors.tobytes())
        return self.save(name, image)


class Volumes(Folder):
    """Writes a dataset of volumes below `path`; arrays are along x, y, z as NIfTI has them."""

    def nifti(self, name: str, array: Any, affine: Any = None, **header: Any) -> Path:
        """A NIfTI file; without an affine 2 x 2 x 3 mm, axes to the right, front and head."""
        import nibabel

        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = nibabel.Nifti1Image(np.asarray(array), np.diag([2.0, 2.0, 3.0, 1.0]) if affine is None else np.asarray(affine))
        for field, value in header.items():
            image.header[field] = value
        nibabel.save(image, path)
        return path

    def case(self, name: str, shape: tuple[int, int, int] = (6, 5, 4), label: bool = True, **how: Any) -> np.ndarray:
        """An image of random values, and its label: 1 where x < 2, else 0."""
        image = np.random.default_rng(sum(map(ord, name))).integers(0, 200, shape).astype(np.int16)
        self.nifti(f"volumes/{name}.nii.gz", image, **how)
        if label:
            values = np.zeros(shape, np.uint8)
            values[:2] = 1
            self.nifti(f"labels/{name}.nii.gz", values, **how)
        return image


@pytest.fixture
def volumes(tmp_path: Path) -> Volumes:
    """An empty dataset's folder for volumes, with two classes."""
    (tmp_path / "hearts").mkdir()
    found = Volumes(tmp_path / "hearts")
    found.text("classes.txt", "background\natrium\n")
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An empty dataset's folder."""
    (tmp_path / "data").mkdir()
    return Folder(tmp_path / "data")
