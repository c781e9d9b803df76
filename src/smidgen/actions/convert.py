"""`smidgen convert`: the same dataset in another form: folder, PASCAL VOC, COCO, nnU-Net."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from smidgen.actions.opening import open_data, refuse
from smidgen.core.codec import unwritable
from smidgen.core.errors import DataError, LockedError, Problem, UsageError
from smidgen.core.screen import Screen, watching
from smidgen.data.checks import glance
from smidgen.data.dataset import Dataset
from smidgen.data.formats import Unannotated
from smidgen.data.images import Broken
from smidgen.data.splits import shuffled
from smidgen.data.writing.coco import CocoWriter
from smidgen.data.writing.folder import FolderWriter
from smidgen.data.writing.nnunet import NnunetWriter
from smidgen.data.writing.pictures import Writer
from smidgen.data.writing.voc import VocWriter
from smidgen.products.sample import Sample

Form = Literal["folder", "voc", "coco", "nnunet"]
WRITERS = {"folder": FolderWriter, "voc": VocWriter, "coco": CocoWriter, "nnunet": NnunetWriter}
VOLUMES = ("folder", "nnunet")
"""Forms that have a place for volumes."""
STOPPED = "stopped; nothing was left behind, and the same command starts again"
"""What is said after Ctrl-C."""
COMPARED = 24
"""So many masks are read back and compared with their source."""


@dataclass(frozen=True)
class Converted:
    """What was written.

    Args:
        folder: Where.
        form: In which form.
        images: How many images it holds.
        lost: What the form has no place for, in words.
        notes: What was made of the source.
        left_out: Images that could not be read, with the reason.
    """

    folder: Path
    form: Form
    images: int
    lost: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: tuple[Problem, ...] = ()


def convert(
    src: str | Path | Dataset,
    dst: str | Path,
    *,
    to: Form,
    symlink: bool = False,
    unannotated: Unannotated = "unlabeled",
    label_folder: str | None = None,
    skip_broken: bool = False,
    screen: Screen | None = None,
) -> Converted:
    """Write a dataset in another form: folder (smidgen's own), voc (PASCAL VOC 2012), coco (COCO JSON), nnunet (nnU-Net).

    Volumes go to folder and nnunet, with the affine they have. Masks keep every pixel; images are copied byte for byte where the form
    allows it, else saved without loss. What the form has no place for is said. Nothing is finished until everything is: interrupted, DST
    is not there, and the same command starts again.

    Args:
        src: Dataset in any of these forms: a folder, or a COCO file; in Python also a Dataset.
        dst: New folder.
        to: The form to write.
        symlink: Link to the images instead of copying them.
        unannotated: What images of a COCO file without any annotation are: not labeled yet, or known to hold none.
        label_folder: Folder of labels to read instead of masks/, such as scribbles.
        skip_broken: Leave out images that have a problem.
        screen: Hears of the progress; bars where somebody looks by default, smidgen.Silent() for none.

    Returns:
        What was written, and what was lost.

    Raises:
        UsageError: DST has something in it, or lies in SRC; or there are volumes, for which the form has no place.
        LockedError: Another command writes it.
        WriteError: The disk is full, or DST may not be written to; nothing is left behind.
        DataError: All that is wrong with the data, each with file and remedy.
    """
    screen = watching(screen)
    folder = Path(dst).absolute()
    _check_target(folder, src)
    data = open_data(src, label_folder, unannotated=unannotated)
    if data.dims == 3 and to not in VOLUMES:
        remedy = f"write them --to {' or '.join(VOLUMES)}; in Python, Dataset.slices() is the 2D view"
        raise UsageError(f"to = {to}: holds 2D images, and {data.name} has volumes: {remedy}")
    for note in data.notes:
        screen.say(f"note      {note}")
    problems = glance(data)
    refuse(problems, skip_broken)
    data = data.without({id for problem in problems for id in problem.ids})
    with _unfinished(folder) as part:
        writer: Writer = WRITERS[to](part, data, symlink)
        broken = _write(data, writer, skip_broken, screen)
        whole = data.without({id for problem in broken for id in problem.ids})
        writer.finish()
        lost = (*writer.lost, *_differences(whole, part, to))
    for one in (*problems, *broken):
        screen.say(f"left out  {one}")
    return Converted(folder, to, writer.images, lost, data.notes, (*problems, *broken))


def _check_target(folder: Path, src: str | Path | Dataset) -> None:
    source = src.folder if isinstance(src, Dataset) else Path(src)
    _nothing_there(folder)
    if source is not None and source.is_dir() and folder.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"{folder}: lies in {source}, which would then hold two datasets: name a folder outside of it")


def _nothing_there(folder: Path) -> None:
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UsageError(f"{folder}: there is something already: name a new folder, or empty this one")


@contextlib.contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    """A folder beside the final one, which gets its name when all is in it; else it goes."""
    from filelock import FileLock, Timeout

    part = folder.with_name(f".{folder.name}.part")
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise LockedError(f"{folder}: another command writes it: wait for it, or name another folder") from error
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        _nothing_there(folder)  # another command may just have finished it
        shutil.rmtree(part, ignore_errors=True)  # a command that was killed left it
        part.mkdir()
        yield part
        _flush(part)
        if folder.is_dir():
            folder.rmdir()  # it is empty, and not every system renames onto an empty folder
        part.rename(folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
        with contextlib.suppress(OSError):
            Path(lock.lock_file).unlink(missing_ok=True)  # before it is free: who waits for it opens a new one
        lock.release()


def _flush(part: Path) -> None:
    """Bring all contents to the disk before the folder gets its name (docs/decisions/0029-written-through.md)."""
    for path in part.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("r+b") as file:
                os.fsync(file.fileno())


def _write(data: Dataset, writer: Writer, skip_broken: bool, screen: Screen) -> list[Problem]:
    """Write all images; what can't be decoded is listed at once, or left out."""
    broken: list[Problem] = []
    with screen.step("convert", len(data.samples), 0, "volumes" if data.dims == 3 else "images") as bar:
        for sample in data.samples.values():
            try:
                writer.add(sample)
            except DataError as error:
                broken += [Problem(one.where, one.what, one.remedy, (sample.id,)) for one in error.problems]
            except Broken as error:
                broken.append(Problem(sample.path or sample.id, error.what, error.remedy, (sample.id,)))
            bar.advance()
    refuse(broken, skip_broken)
    return broken


def _differences(data: Dataset, folder: Path, form: Form) -> Iterator[str]:
    """What reads back otherwise than it was: the new folder is opened, and some masks are compared."""
    again = Dataset.open(folder)
    yield from (f"when it is read back: {problem}" for problem in again.problems)
    if form != "nnunet":
        missing = data.samples.keys() - again.samples.keys()
        if missing:
            yield f"when it is read back: {len(missing)} images are missing"
    if again.classes.names != data.classes.names and form != "nnunet":
        yield f"when it is read back, the classes are {', '.join(again.classes.names)}"
    both = [id for id, sample in data.samples.items() if sample.read_label is not None and id in again.samples]
    different = [id for id in shuffled(both, "convert")[:COMPARED] if not _same(data.samples[id], again.samples[id])]
    if different:
        yield f"when it is read back, masks are taken for something else ({', '.join(different[:3])})"


def _same(one: Sample, other: Sample) -> bool:
    mine, theirs = one.label(), other.label()
    return mine is not None and theirs is not None and mine.shape == theirs.shape and bool((mine == theirs).all())
