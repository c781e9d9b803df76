"""Looks for everything that is wrong with a dataset, at once: by headers and end markers (`glance`) or by decoding all files (`verify`)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from smidgen.core.codec import write_atomically
from smidgen.core.errors import Problem
from smidgen.data.broken import unread
from smidgen.data.dataset import Dataset
from smidgen.data.digests import Stamp, stamp
from smidgen.data.images import Broken, header
from smidgen.data.labels import histogram, size_mismatch
from smidgen.data.layout import told
from smidgen.data.volume_files import is_whole
from smidgen.products.sample import IGNORED, Sample

VERSION = 1
"""Of the cache file; another version is not read."""
THREADS = 4
"""At most so many files are decoded at once; decoding is done outside Python's lock."""
TAIL = 4096
"""Bytes at a file's end in which the end marker is looked for: cameras append little things to JPEGs."""
END_MARKERS = {".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9", ".png": b"IEND"}
KINDS = ("image", "label", "instances")

Progress = Callable[[int, int], Any]
"""Hears how many files are done, of how many."""


@dataclass(frozen=True)
class Fact:
    """What decoding one file told.

    Args:
        error: What is wrong and what to do; None = nothing.
        values: Label files: class index (255 = unlabeled) -> pixels.
    """

    error: tuple[str, str] | None = None
    values: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Task:
    kind: str
    id: str
    reader: Any

    @property
    def path(self) -> str | None:
        return getattr(self.reader, "path", None)


class Facts:
    """What decoding every file of a dataset told, by kind (image, label, instances) and id."""

    def __init__(self, facts: Mapping[tuple[str, str], Fact]):
        self._facts = dict(facts)

    def of(self, kind: str, id: str) -> Fact | None:
        """The fact about one file; None where there is no such file."""
        return self._facts.get((kind, id))

    def values(self, samples: Iterable[Sample]) -> dict[str, dict[int, int]]:
        """Class index -> pixels of each readable label of these samples."""
        found = {sample.id: self.of("label", sample.id) for sample in samples}
        return {id: fact.values for id, fact in found.items() if fact is not None and fact.error is None}


def verify(dataset: Dataset, cache: Path | None = None, progress: Progress | None = None) -> list[Problem]:
    """Decode everything that the dataset can read and list all that is wrong: files, tables, and labels that teach nothing.

    Args:
        dataset: What is to be checked; what is out of its reach is not read.
        cache: JSON file that keeps the outcome by path, size and time; None: nothing is kept.
        progress: Hears of every file.
    """
    return judge(dataset, examine(dataset, cache, progress))


def examine(dataset: Dataset, cache: Path | None = None, progress: Progress | None = None) -> Facts:
    """Decode every file once; arguments as in `verify`. Fingerprints are computed on the way."""
    known = _read_cache(cache)
    tasks = [task for sample in dataset.samples.values() for task in _tasks(sample)]
    entries: dict[str, dict[str, Any]] = {}
    facts: dict[tuple[str, str], Fact] = {}
    pool = ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1))
    try:
        for i, (task, (name, entry)) in enumerate(zip(tasks, pool.map(lambda task: _entry(task, known, dataset), tasks), strict=True)):
            if name:
                entries[name] = entry
            facts[task.kind, task.id] = _fact(entry)
            if progress is not None:
                progress(i + 1, len(tasks))
    finally:
        pool.shutdown(cancel_futures=True)
    if cache is not None and any(known.get(name) != entry for name, entry in entries.items()):
        _write_cache(cache, {**known, **entries})
    return Facts(facts)


def _tasks(sample: Sample) -> Iterable[_Task]:
    for kind, reader in zip(KINDS, (sample.read_image, sample.read_label, sample.read_instances), strict=True):
        if reader is not None:
            yield _Task(kind, sample.id, reader)


def _entry(task: _Task, known: Mapping[str, dict[str, Any]], dataset: Dataset) -> tuple[str, dict[str, Any]]:
    """Outcome of one file as it stands in the cache: taken from there, or found by decoding."""
    if task.path is None:
        return "", asdict(_decode(task))
    part = getattr(task.reader, "z", None)  # the slices of a volume share its file
    name, meaning = f"{task.kind}:{task.path}{'' if part is None else f'#{part}'}", list(task.reader.meaning)
    try:
        now: Stamp = stamp(task.path)
    except OSError as error:
        return "", asdict(Fact(unread(error)))
    old = known.get(name)
    if old is not None and tuple(old["stamp"]) == now and old["meaning"] == meaning:
        dataset.digests.learn(task.path, now, old["digest"])
        return name, old
    return name, {"stamp": list(now), "meaning": meaning, "digest": dataset.digests.file(task.path), **asdict(_decode(task))}


def _decode(task: _Task) -> Fact:
    try:
        array = task.reader.read()
    except Broken as broken:
        return Fact((broken.what, broken.remedy))
    if task.kind != "label":
        return Fact()
    return Fact(None, histogram(array))


def _fact(entry: Mapping[str, Any]) -> Fact:
    error = entry["error"]
    return Fact((str(error[0]), str(error[1])) if error else None, {int(value): int(count) for value, count in entry["values"].items()})


def _read_cache(cache: Path | None) -> dict[str, dict[str, Any]]:
    """Earlier outcomes; a file that can't be read is as good as none."""
    if cache is None or not cache.is_file():
        return {}
    try:
        kept = json.loads(cache.read_text(encoding="utf-8"))
        return kept["files"] if kept["version"] == VERSION else {}
    except (ValueError, KeyError, TypeError, OSError):
        return {}


def _write_cache(cache: Path, entries: Mapping[str, dict[str, Any]]) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"version": VERSION, "files": entries})

    def fill(part: Path) -> None:
        part.write_text(text, encoding="utf-8")

    write_atomically(cache, fill)


# ---------------------------------------------------------------- judging


def judge(dataset: Dataset, facts: Facts) -> list[Problem]:
    """All problems: those known from headers and tables, those of files, those of the labels as a whole."""
    problems = list(dataset.problems)
    for sample in dataset.samples.values():
        for task in _tasks(sample):
            fact = facts.of(task.kind, task.id)
            if fact is not None and fact.error is not None:
                problems.append(Problem(_shown(dataset, task), *fact.error, (task.id,)))
    return [*dict.fromkeys(problems), *_label_problems(dataset, facts)]  # headers may have told the same


def _shown(dataset: Dataset, task: _Task) -> str:
    return where_of(dataset, task.reader, f"{task.kind} {task.id}")


def where_of(dataset: Dataset, reader: Any, otherwise: str) -> str:
    """How messages call what a reader reads: its file below the dataset's folder; `otherwise` where it has none."""
    path = getattr(reader, "path", None)
    if path is None:
        return getattr(reader, "where", otherwise)
    return Path(os.path.relpath(path, dataset.folder)).as_posix() if dataset.folder else path


def _label_problems(dataset: Dataset, facts: Facts) -> Iterable[Problem]:
    """Labels of train that leave nothing to learn."""
    values = facts.values(dataset.labeled.values())
    seen = {value for one in values.values() for value in one} - {IGNORED}
    names = dataset.classes.names
    if not values or len(seen) > 1:
        return
    found = f"only {names[next(iter(seen))]}" if seen else "nothing but unlabeled pixels"
    mixed_up = any(IGNORED in one for one in values.values())
    hint = "; if 255 is a class there, give it its class index, 255 means unlabeled" if mixed_up else ""
    yield Problem("masks of train", f"hold {found} in all {len(values)} files", f"label at least two classes{hint}")


def remarks(dataset: Dataset, facts: Facts | None = None) -> list[str]:
    """What does not stop the work, but limits what it can give.

    Args:
        dataset: What is looked at.
        facts: What `examine` found; None: only tags are looked at.
    """
    found = [*_tag_remarks(dataset)]
    return found if facts is None else [*found, *content_remarks(dataset, facts)]


def content_remarks(dataset: Dataset, facts: Facts) -> list[str]:
    """The same about what decoding all files told: masks, and images that are scored although they are learned from."""
    return [*_mask_remarks(dataset, facts), *_copy_remarks(dataset)]


def _tag_remarks(dataset: Dataset) -> Iterable[str]:
    tagged, names = dataset.tagged, dataset.classes.names
    if not tagged:
        return
    counts = {value: sum(value in (sample.tags or ()) for sample in tagged.values()) for value in dataset.classes.foreground}
    never = [names[value] for value, count in counts.items() if not count]
    always = [names[value] for value, count in counts.items() if count == len(tagged)]
    if never:
        yield f"tags: {told(never)} in no train image: can't be learned from tags"
    if always:
        yield f"tags: {told(always)} in every train image: without images that lack it, tags can't tell where it is"


def _mask_remarks(dataset: Dataset, facts: Facts) -> Iterable[str]:
    classes = dataset.classes
    train, val = facts.values(dataset.labeled.values()), facts.values(dataset.val.values())
    blank = [id for id, one in train.items() if set(one) <= {IGNORED}]
    if blank:
        yield f"masks: {told(blank)}: no pixel is labeled, so they teach like images without a mask"
    for name, masks, consequence in (("train", train, "can't be learned from masks"), ("val", val, "can't be scored")):
        never = [classes.names[value] for value in classes.foreground if not any(value in one for one in masks.values())]
        if masks and never:
            yield f"masks: {told(never)} in no {name} mask: {consequence}"


def _copy_remarks(dataset: Dataset) -> Iterable[str]:
    learned = {dataset.digests.of(sample.read_image) for sample in dataset.train.values()} - {""}
    for split in ("val", "test"):
        copies = [sample.id for sample in getattr(dataset, split).values() if dataset.digests.of(sample.read_image) in learned]
        if copies:
            yield f"images: {len(copies)} of {split} are copies of images of train ({told(copies)}): scores may be too good"


# ---------------------------------------------------------------- a glance


def glance(dataset: Dataset) -> list[Problem]:
    """Problems that show without decoding: end markers of images and labels, sizes of labels.

    A file without its end marker is decoded to be sure.
    """
    problems = list(dataset.problems)
    for sample in dataset.samples.values():
        for task in _tasks(sample):
            error = _glance_error(task, sample)
            if error is not None:
                problems.append(Problem(_shown(dataset, task), *error, (task.id,)))
    return problems


def _glance_error(task: _Task, sample: Sample) -> tuple[str, str] | None:
    if task.path is None:
        return None
    try:
        if not (_ends_well(task.path) and is_whole(task.path)):
            return _decode(task).error
        if len(sample.size) == 3 or sample.zscored:
            return None  # frames were compared when the dataset was opened
        if task.kind != "image":
            found = header(task.path).size
            height, width = sample.size
            return None if found == (height, width) else size_mismatch(found, (height, width))
    except Broken as broken:
        return broken.what, broken.remedy
    except OSError as error:
        return unread(error)
    return None


def _ends_well(path: str) -> bool:
    """The file has the end marker of its format, or its format has none."""
    marker = END_MARKERS.get(Path(path).suffix.lower())
    if marker is None:
        return True
    with Path(path).open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - TAIL))
        return marker in file.read()
