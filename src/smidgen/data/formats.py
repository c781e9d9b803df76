"""Which form a dataset has: told by what lies in its folder, and read into the same samples whichever it is."""

from __future__ import annotations

from pathlib import Path

from smidgen.data import coco, coco_entries, nnunet, voc
from smidgen.data.assembling import Drawing
from smidgen.data.coco import Unannotated
from smidgen.data.contents import Contents
from smidgen.data.folder import from_folder
from smidgen.data.layout import LABEL_FOLDERS, YAML

OWN = (*LABEL_FOLDERS, "scribbles", "tags.csv", "classes.txt", "instances.csv", YAML)
"""What only a folder in smidgen's own form has; then nothing else is looked for."""


def contents_of(path: str | Path, label_folder: str | None, drawing: Drawing, unannotated: Unannotated) -> Contents:
    """Contents of a dataset in any form; arguments as in `Dataset.open`.

    Raises:
        DataError: There are no images to read, or the tables that say what they hold are wrong.
    """
    folder = Path(path)
    if folder.suffix.lower() == ".json" and folder.is_file():
        return coco.from_coco([coco_entries.load(folder.absolute())], folder.parent, drawing, unannotated)
    if folder.is_dir() and not label_folder and not any((folder / name).exists() for name in OWN):
        if nnunet.is_nnunet(folder):
            return nnunet.from_nnunet(folder, drawing)
        if root := voc.voc_folder(folder):
            return voc.from_voc(root, drawing)
        if files := coco.coco_files(folder):
            return coco.from_coco(files, folder, drawing, unannotated)
    return from_folder(path, label_folder, drawing.val, drawing.seed, drawing.value_range)
