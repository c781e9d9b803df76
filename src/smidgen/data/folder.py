"""Reads a folder: which images are there, what is known of each, and what is wrong with it.

Only headers and tables are read, and a few label files and images of more than 8 bits, to learn what their values mean.
"""

from __future__ import annotations

import os
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

from smidgen.core.errors import DataError, Problem
from smidgen.data import coding
from smidgen.data import layout as files
from smidgen.data.arrays import SPARSE
from smidgen.data.contents import Contents
from smidgen.data.images import MODE_NOTES, SUFFIXES, Broken, Header, ImageFile, header, stored_values
from smidgen.data.labels import LOSSY, InstanceFile, LabelFile, Values, histogram, labeled_share, packed, shown, values_of
from smidgen.data.layout import IMAGES, Layout, Listing, Sought, list_files, pair, read_layout, told
from smidgen.data.naming import Named, folder_tags, name_classes, tie_tags
from smidgen.data.ranges import ranged
from smidgen.data.splits import draw, group_of, shuffled
from smidgen.data.tables import Names, Tags, read_groups, read_instances, read_split, read_tags
from smidgen.products.pictures import channels_shown
from smidgen.products.sample import Classes, Sample

MASKS_SEEN = 24
"""So many label files of a kind are decoded to learn what their values mean."""
INSTANCES = "instances"
Look = Callable[[Iterable[str]], list[dict[int, int]]]


@dataclass
class Found:
    """What gathers while a folder is read."""

    folder: Path
    layout: Layout
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def shown(self, path: str | Path) -> str:
        """A path as messages show it."""
        return Path(os.path.relpath(path, self.folder)).as_posix()


def from_folder(
    path: str | Path,
    label_folder: str | None = None,
    val: float | int = 0.2,
    seed: int = 0,
    value_range: tuple[float | int, float | int] | None = None,
) -> Contents:
    """Contents of a folder; arguments as in `Dataset.open`.

    Raises:
        DataError: There are no images to read, or dataset.yaml is wrong.
    """
    folder = Path(path)
    if not folder.exists():
        raise DataError([Problem(str(path), "there is no such folder", "check the path")])
    folder = folder.absolute()  # workers and caches must not depend on the current folder
    only = folder.name if folder.is_file() else None
    folder = folder.parent if only else folder
    found = Found(folder, Layout() if only else read_layout(folder))
    listing, inside = _images(found, only, label_folder)
    names = Names(listing.ids, found.layout.images or "images")
    headers = headers_of(found, listing)
    tags = tags_of(found, names, inside, listing)
    known, instance_classes = instance_table(found, names)
    named = name_classes(folder, found.layout, tags, known)
    tied, wrong = tie_tags(tags, named)
    found.problems += [*tags.problems, *named.problems, *wrong]
    labels = {} if only else label_files(found, listing, label_folder)
    meanings, named, sparse = meanings_of(found, labels, named)
    instances = {} if only else paired(found, listing, INSTANCES, folder / INSTANCES)
    channels = pixel_formats(found, listing, headers)
    groups = groups_of(found, names)
    samples: dict[str, Sample] = {}
    for id, head in sorted(headers.items()):
        file = listing.files[id]
        label = LabelFile(labels[id], head.size, len(named.classes), meanings[_kind(labels[id])]) if id in labels else None
        samples[id] = Sample(
            id,
            ImageFile(file, head.mode, channels, nodata=found.layout.nodata, every=found.layout.channels == "all"),
            head.size,
            channels,
            tags=tied.get(id),
            read_label=label,
            sparse=sparse and label is not None,
            read_instances=InstanceFile(instances[id], head.size) if id in instances else None,
            group=groups.get(id),
            path=file,
        )
    samples, drawn = split_of(found, names, samples, val, seed)
    samples, scale = ranged(samples, headers, value_range, found.notes)
    return Contents(
        samples,
        named.classes,
        folder.resolve().name,
        folder,
        tuple(found.problems),
        tuple(found.notes),
        scale,
        drawn,
        {id: classes for id, classes in instance_classes.items() if id in samples},
        ids=found.layout.ids or {},
    )


# ---------------------------------------------------------------- images


def _images(found: Found, only: str | None, label_folder: str | None) -> tuple[Listing, bool]:
    """The image files; and whether they lie directly in the dataset's folder, where its folders may be tags."""
    folder, layout = found.folder, found.layout
    name = layout.images or ("images" if (folder / "images").is_dir() and not only else None)
    if name is not None:
        if not (folder / name).is_dir():
            raise DataError([Problem(files.YAML, f"images: there is no folder {name}", "correct the entry, or make the folder")])
        listing = list_files(folder / name)
    elif only:
        listing = Listing({files.without_suffix(only): str(folder / only)}, {files.plain(only): files.without_suffix(only)})
        if Path(only).suffix.lower() not in SUFFIXES:
            raise DataError([Problem(str(folder / only), "not an image file", f"give a folder, or one of {', '.join(sorted(SUFFIXES))}")])
    else:
        extra = {part for part in (label_folder, layout.labels, layout.unlabeled) if part}
        listing = list_files(folder, files.RESERVED | extra)
    if layout.unlabeled:
        add_unlabeled(found, listing)
    say_ignored(found, listing, name)
    if not listing.files:
        raise DataError([_no_images(folder)])
    return listing, name is None and not only


def add_unlabeled(found: Found, listing: Listing, sought: Sought = IMAGES) -> None:
    """List the folder of further images, too."""
    name = str(found.layout.unlabeled)
    if not (found.folder / name).is_dir():
        raise DataError([Problem(files.YAML, f"unlabeled: there is no folder {name}", "correct the entry, or make the folder")])
    more = list_files(found.folder / name, prefix=f"{name}/", sought=sought)
    for mine, others in ((listing.files, more.files), (listing.ids, more.ids), (listing.doubled, more.doubled)):
        mine.update(others)  # pyright: ignore[reportArgumentType, reportCallIssue] (the pairs have the same types)
    listing.ignored.extend(more.ignored)


def _no_images(folder: Path) -> Problem:
    return Problem(str(folder), "no images found", f"put {', '.join(sorted(SUFFIXES))} files into {folder.name}/images")


def say_ignored(found: Found, listing: Listing, name: str | None, what: str = "image") -> None:
    """Name what lies among the images and is none, and files of the same name."""
    # Tables and texts are meant to lie beside the images where there is no images folder.
    strange = [one for one in listing.ignored if name or not one.endswith((".csv", ".txt", ".yaml", ".md", ".json"))]
    if strange:
        found.notes.append(f"{name or found.folder.name}/: ignored {told(strange)} (no {what} files)")
    report_doubled(found, listing)


def report_doubled(found: Found, listing: Listing) -> None:
    """Files that differ in their ending only are problems."""
    for id, paths in listing.doubled.items():
        what = f"has the same name as {found.shown(listing.files[id])} but for its ending"
        found.problems += [Problem(found.shown(path), what, "rename or remove one of the two", (id,)) for path in paths]


def headers_of(found: Found, listing: Listing) -> dict[str, Header]:
    """Image id -> what its file's header says; broken files go to the problems."""
    headers = {}
    for id, path in listing.files.items():
        try:
            headers[id] = header(path, every=found.layout.channels == "all")
        except Broken as broken:
            found.problems.append(Problem(found.shown(path), broken.what, broken.remedy, (id,)))
    return headers


def pixel_formats(found: Found, listing: Listing, headers: Mapping[str, Header]) -> int:
    """How many channels all images get; what is converted is said."""
    modes = Counter(head.mode for head in headers.values())
    found.notes += [f"images: {count} with mode {mode}: {MODE_NOTES[mode]}" for mode, count in sorted(modes.items()) if mode in MODE_NOTES]
    counts = Counter(head.channels for head in headers.values())
    colors = Counter({number: count for number, count in counts.items() if number > 1})
    channels = colors.most_common(1)[0][0] if colors else 1
    if colors and counts[1]:
        found.notes.append(f"images: {counts[1]} gray among {colors.total()} with more channels: repeated to {channels} channels")
    if found.layout.channels == "all":
        found.notes.append("images: alpha, and pages of a TIFF, are channels (dataset.yaml)")
    if shown := channels_shown(channels):
        found.notes.append(f"images: {channels} channels; in pictures {shown}")
    for id, head in headers.items():
        if head.channels not in (1, channels):
            what = f"{head.channels} channels, {channels} expected as in most images"
            found.problems.append(Problem(found.shown(listing.files[id]), what, "convert it, or leave it out", (id,)))
    return channels


# ---------------------------------------------------------------- tables


def tags_of(found: Found, names: Names, inside: bool, listing: Listing) -> Tags:
    """tags.csv, else folders of tags where images lie directly in the dataset's folder."""
    path = found.folder / "tags.csv"
    if path.is_file():
        return read_tags(path, path.name, names)
    if not inside:
        return Tags()
    beside = f"{found.layout.unlabeled}/"
    tags = folder_tags(id for id in listing.files if not found.layout.unlabeled or not id.startswith(beside))
    folders = sorted(set(tags.lines.values()))
    if {where.removeprefix("folder ").removesuffix("/").casefold() for where in folders} & files.SPLIT_FOLDERS:
        found.notes.append(f"{told(folders)}: not taken as tags; write a split.csv to use them as splits")
        return Tags()
    if tags.names:
        empty = sorted({tags.lines[id] for id, tag in tags.names.items() if not tag})
        found.notes.append(f"{told(folders)}: taken as image tags" + (f"; {told(empty)}: known to hold none" if empty else ""))
    return tags


def instance_table(found: Found, names: Names) -> tuple[dict[int, str], dict[str, dict[int, int]]]:
    """instances.csv: names of label values; image id -> instance id -> label value."""
    path = found.folder / "instances.csv"
    if not path.is_file():
        return {}, {}
    known, classes, problems = read_instances(path, path.name, names)
    found.problems += problems
    return known, classes


def groups_of(found: Found, names: Names) -> dict[str, str]:
    """Image id -> group: from the table that dataset.yaml names, else from groups.csv where there is one."""
    table = found.layout.groups or (files.GROUPS if (found.folder / files.GROUPS.partition(":")[0]).is_file() else "")
    if not table:
        return {}
    groups, problems = read_groups(found.folder, table, names)
    found.problems += problems
    return groups


def split_of(found: Found, names: Names, samples: dict[str, Sample], val: float | int, seed: int) -> tuple[dict[str, Sample], bool]:
    """The samples with their splits, from split.csv or drawn; and whether they were drawn."""
    path = found.folder / "split.csv"
    if not path.is_file():
        split = draw(samples, val, seed)
        return {id: replace(sample, split=split[id]) for id, sample in samples.items()}, True
    split, problems = read_split(path, path.name, names)
    found.problems += problems
    unnamed = [id for id in samples if id not in split]
    if unnamed:
        found.notes.append(f"split.csv: {len(unnamed)} images have no line and are in train ({told(unnamed)})")
    samples = {id: replace(sample, split=split.get(id, "train")) for id, sample in samples.items()}
    sides: dict[str, set[str]] = {}
    for sample in samples.values():
        sides.setdefault(group_of(sample), set()).add(sample.split)
    torn = [group for group, parts in sides.items() if len(parts) > 1]
    if torn:
        found.notes.append(
            f"split.csv: in more than one split, so scores may be too good: {len(torn)} of {len(sides)} groups ({told(torn)})"
        )
    return samples, False


# ---------------------------------------------------------------- labels


def label_files(found: Found, listing: Listing, label_folder: str | None, sought: Sought = IMAGES) -> dict[str, str]:
    """Image id -> label file."""
    wanted = label_folder or found.layout.labels
    there = [name for name in files.LABEL_FOLDERS if (found.folder / name).is_dir()]
    if wanted is None and not there:
        return {}
    name = wanted or there[0]
    if not (found.folder / name).is_dir():
        setting = "label_folder" if label_folder else f"{files.YAML} labels"
        raise DataError([Problem(setting, f"there is no folder {name} in {found.folder.name}", "correct it, or make the folder")])
    if wanted is None and len(there) > 1:
        found.notes.append(f"{there[1]}/ is not read, because there is {name}/ (dataset.yaml: `labels: {there[1]}` reads it)")
    return paired(found, listing, name, found.folder / name, sought)


def paired(found: Found, listing: Listing, name: str, folder: Path, sought: Sought = IMAGES) -> dict[str, str]:
    """Image id -> its file in a folder of labels; files without an image go to the problems."""
    if not folder.is_dir():
        return {}
    labels = list_files(folder, sought=sought)
    report_doubled(found, labels)
    if labels.ignored:
        found.notes.append(f"{name}/: ignored {told(labels.ignored)} (no {'image' if sought is IMAGES else 'volume'} files)")
    pairs = pair(listing.files, labels.files)
    if any(pairs.affix):
        found.notes.append(f"{name}/: files are called like their image with {' and '.join(part for part in pairs.affix if part)} added")
    for id in pairs.orphans:
        remedy = "add the image, or rename the file like its image"
        found.problems.append(Problem(found.shown(labels.files[id]), "there is no image of this name", remedy, (id,)))
    return pairs.files


def _kind(path: str) -> bool:
    """Label files of lossy formats are looked at by themselves."""
    return PurePath(path).suffix.lower() in LOSSY


def meanings_of(
    found: Found, labels: Mapping[str, str], named: Named, look: Look | None = None, formats: str = "PNG or TIFF"
) -> tuple[dict[bool, Values], Named, bool]:
    """What label values mean, the classes with a name for the only class of a set without names, and whether labels are sparse.

    Args:
        found: Gets notes and problems.
        labels: Image id -> label file.
        named: The classes.
        look: Decodes some label files: their paths -> stored value -> pixels of each. None: of images.
        formats: What files that keep values are called.
    """
    if not labels:
        return {}, named, False
    two = named.classes.background == 0 and len(named.classes) <= 2
    samples = {kind: (look or _histograms)(path for path in labels.values() if _kind(path) == kind) for kind in (False, True)}
    meanings = {kind: values_of(seen, two) for kind, seen in samples.items()}
    if found.layout.values:
        listed, wrong = coding.coded(found.layout.values, named.classes)
        found.problems += wrong
        # JPEG keeps no value, so what is blurred is split at mid-gray all the same.
        meanings = {kind: one if kind and one.meaning == "threshold" else listed for kind, one in meanings.items()}
    name = Path(os.path.relpath(next(iter(labels.values())), found.folder)).parts[0]
    if not named.source and not found.layout.values:
        named = _nameless(named, [value for seen in samples.values() for one in seen for value in one], meanings)
    rare = look is not None  # what is looked for fills a small part of a volume
    _ask(found, name, named, rare, [one for kind, seen in samples.items() if meanings[kind].meaning == "ids" for one in seen])
    for kind, seen in samples.items():
        _say_meaning(found, f"{name}/ ({'JPEG' if kind else formats})", meanings[kind], seen, named.classes)
    shares = [labeled_share(one, meanings[kind]) for kind, seen in samples.items() for one in seen]
    sparse = bool(shares) and statistics.median(shares) < SPARSE
    if sparse:
        share = 100 * statistics.median(shares)
        found.notes.append(f"{name}/: sparse labels (half of {len(shares)} files have less than {share:.2g} % of their pixels labeled)")
    return meanings, named, sparse


def _ask(found: Found, name: str, named: Named, rare: bool, seen: list[dict[int, int]]) -> None:
    """Ask for what is not sure about class indices, and say what is strange."""
    what, remedy, too_doubtful = coding.doubt(name, seen, named.classes)
    if named.unsure:
        choose, name_them = "write `background: 0` or `background: none` into dataset.yaml", "write classes.txt, the background first"
        ways = "; ".join(filter(None, (choose if named.declared else name_them, remedy)))
        found.problems.append(Problem(f"{name}/", f"label values are not sure: {named.unsure}", ways))
    elif what and too_doubtful:
        found.problems.append(Problem(f"{name}/", what, f"{remedy}; else {coding.kept(named.classes)}"))
    elif what and not rare:
        found.notes.append(f"{name}/: {what}: {remedy}")


def _histograms(paths: Iterable[str]) -> list[dict[int, int]]:
    seen = []
    for path in shuffled(paths, "masks")[:MASKS_SEEN]:
        try:
            seen.append(histogram(packed(stored_values(path))))
        except Broken:
            continue  # verification names it
    return seen


def _nameless(named: Named, values: list[int], meanings: Mapping[bool, Values]) -> Named:
    """Masks without any names: two values need none; else they are asked for."""
    background = named.classes.background
    classes = [value for value in values if 0 <= value < 255]
    if any(one.meaning != "ids" for one in meanings.values()) or (background == 0 and max(classes, default=0) <= 1):
        return replace(named, classes=Classes(("background", "foreground"), 0), source="the masks")
    highest = max(classes, default=0)
    names = tuple("background" if i == background else f"class {i}" for i in range(highest + 1))
    unsure = f"there are no names for the values {told([str(value) for value in sorted(set(classes))])}"
    return replace(named, classes=Classes(names, background), unsure=unsure)


def _say_meaning(found: Found, which: str, values: Values, seen: list[dict[int, int]], classes: Classes) -> None:
    zero = classes.names[0]
    if values.meaning == "two values":
        told_by = f"only these two values in {len(seen)} files looked at"
        found.notes.append(f"{which}: 0 = {zero}, {shown(values.foreground)} = {classes.names[1]} ({told_by})")
    elif values.meaning == "listed" and seen:
        found.notes.append(f"{which}: {coding.say(values, classes)} (dataset.yaml)")
    elif values.meaning == "threshold":
        split = f"below = {zero}, from there = {classes.names[1]}"
        found.notes.append(f"{which}: blurred values around 0 and 255 are split at 128: {split}")
    elif seen and set().union(*seen) <= {0, 255} and any(255 in one for one in seen):
        taken = f"255 is taken as unlabeled, so nothing but {zero} is labeled"
        found.notes.append(f"{which}: only 0 and 255 in {len(seen)} files looked at: {taken}")
