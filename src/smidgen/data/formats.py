"""Which form a dataset has: told by what lies in its folder, and read into the same samples whichever it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from smidgen.core.errors import SettingsError
from smidgen.data import coco, coco_entries, nnunet, voc
from smidgen.data.assembling import Drawing
from smidgen.data.coco import Unannotated
from smidgen.data.contents import Contents
from smidgen.data.folder import from_folder
from smidgen.data.layout import LABEL_FOLDERS, YAML
from smidgen.data.volume_folder import from_volume_folder, volume_folder
from smidgen.products.sample import Sample

OWN = (*LABEL_FOLDERS, "scribbles", "tags.csv", "classes.txt", "instances.csv", YAML)
"""What only a folder in smidgen's own form has; then nothing else is looked for."""


def contents_of(path: str | Path, label_folder: str | None, drawing: Drawing, unannotated: Unannotated) -> Contents:
    """Contents of a dataset in any form; arguments as in `Dataset.open`.

    Raises:
        DataError: There are no images to read, or the tables that say what they hold are wrong.
        SettingsError: Images without annotations are called negative, and this is no COCO file.
    """
    folder = Path(path)
    if unannotated == "negative" and folder.exists() and not is_coco(folder, label_folder):
        remedy = "images that hold nothing have a mask of 0, or an empty entry in tags.csv: leave the word out"
        raise SettingsError(f"unannotated = negative: {path} is no COCO file, and this word is about images in one: {remedy}")
    if folder.suffix.lower() == ".json" and folder.is_file():
        return coco.from_coco([coco_entries.load(folder.absolute())], folder.parent, drawing, unannotated)
    if _is_foreign(folder, label_folder):
        if nnunet.is_nnunet(folder):
            return nnunet.from_nnunet(folder, drawing)
        if root := voc.voc_folder(folder):
            return voc.from_voc(root, drawing)
        if files := coco.coco_files(folder):
            return coco.from_coco(files, folder, drawing, unannotated)
    volumes = volume_folder(folder) if folder.exists() else None

    def own(labels: str | None) -> Contents:
        if volumes is not None:
            return from_volume_folder(path, volumes, labels, drawing)
        return from_folder(path, labels, drawing.val, drawing.seed, drawing.value_range)

    return own(None) if label_folder is None else scored_by_masks(own(label_folder), own(None), label_folder)


def is_coco(folder: Path, label_folder: str | None = None) -> bool:
    """A COCO file, or a folder that is read as COCO; arguments as in `Dataset.open`."""
    if folder.suffix.lower() == ".json" and folder.is_file():
        return True
    other = not _is_foreign(folder, label_folder) or nnunet.is_nnunet(folder) or voc.voc_folder(folder) is not None
    return not other and bool(coco.coco_files(folder))


def _is_foreign(folder: Path, label_folder: str | None) -> bool:
    """The folder is not in smidgen's own form for certain."""
    return folder.is_dir() and not label_folder and not any((folder / name).exists() for name in OWN)


def scored_by_masks(contents: Contents, usual: Contents, label_folder: str) -> Contents:
    """Scribbles are learned from, and not scored by: val and test keep the masks that they have in the usual folder.

    Args:
        contents: With the labels of another folder.
        usual: With the usual ones.
        label_folder: The other folder.
    """
    masks = {id: one for id, one in usual.samples.items() if one.split != "train" and one.read_label is not None and not one.sparse}
    kept = {id: one for id, one in masks.items() if id in contents.samples and not _same(one, contents.samples[id])}
    if not kept:
        return contents
    samples = {
        id: replace(one, read_label=kept[id].read_label, sparse=False) if id in kept else one for id, one in contents.samples.items()
    }
    there = {str(problem) for problem in contents.problems}
    wrong = tuple(one for one in usual.problems if set(one.ids) & set(kept) and str(one) not in there)
    note = f"{label_folder}/: learned from in train; {len(kept)} images of val and test are scored by the masks that they have"
    return replace(contents, samples=samples, problems=(*contents.problems, *wrong), notes=(*contents.notes, note))


def _same(one: Sample, other: Sample) -> bool:
    return one.read_label == other.read_label
