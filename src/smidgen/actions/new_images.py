"""What `smidgen predict` looks at: which files of a folder, which of them are channels of one image, and what their masks are called."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smidgen.core.errors import UsageError
from smidgen.data.broken import Broken
from smidgen.data.channel_names import are_complete, case_and_channel, written
from smidgen.data.images import SUFFIXES, header
from smidgen.data.layout import IMAGES, RESERVED, list_files, told
from smidgen.data.nnunet import TEST, TRAIN
from smidgen.data.voc import IMAGES as VOC_IMAGES
from smidgen.data.voc import voc_folder
from smidgen.data.volume_files import ZARR, stored, suffix_of
from smidgen.data.volume_folder import SOUGHT, VOLUMES

COLORS = 3
"""Channels of a photo: a gray one is repeated, so that it may be an image by itself where the model takes so many."""
Named = str | Path | Sequence[str | Path]
"""A folder, an image, or several."""


@dataclass(frozen=True)
class NewImage:
    """An image or volume without a label.

    Args:
        files: Its file or folder; several are one per channel, in their order.
        name: What its mask is called, without suffix.
        wrong: Why it can't be predicted, and what to do; "" = nothing is known to be wrong.
    """

    files: tuple[Path, ...]
    name: str
    wrong: str = ""

    @property
    def path(self) -> Path:
        """What messages and tables call it."""
        return self.files[0]


@dataclass(frozen=True)
class Place:
    """Where images are looked for.

    Args:
        root: The folder that was named; None: files were.
        folders: Those in it that are searched, with their subfolders; () = none.
        channels: Numbers at the end of names are those of channels, for this is nnU-Net's folder.
    """

    root: Path | None
    folders: tuple[Path, ...] = ()
    channels: bool = False


def refuse_missing(images: Named) -> None:
    """Raises `UsageError` where something that was named is not there."""
    if missing := [str(path) for path in listed(images) if not path.exists()]:
        raise UsageError(f"{', '.join(missing[:5])}: no such file or folder: correct the path")


def place_of(images: Named, volumes: bool) -> Place:
    """Where to look; of a dataset at its images only, for masks are images as well.

    Args:
        images: What was named.
        volumes: The model takes volumes.
    """
    if not isinstance(images, str | Path) or not Path(images).is_dir():
        return Place(None)
    folder = Path(images)
    if volumes and SOUGHT.is_one(str(folder)):
        return Place(None)
    for name in (VOLUMES, "images") if volumes else ("images",):
        if (folder / name).is_dir():
            return Place(folder / name, (folder / name,))
    if cases := tuple(folder / name for name, _ in (TRAIN, TEST) if (folder / name).is_dir()):
        return Place(folder, cases, channels=True)
    if root := None if volumes else voc_folder(folder):
        return Place(folder, (root / VOC_IMAGES,))
    return Place(folder, (folder,), folder.name in (TRAIN[0], TEST[0]))


def new_images(images: Named, place: Place, out: Path, model: Any) -> list[NewImage]:
    """The images, in order of their paths; each has a name of its own.

    Args:
        images: What was named.
        place: Where to look.
        out: Where masks go: what was predicted there before is no image.
        model: Its `channels`, and whether it takes volumes (`zscored`).

    Raises:
        UsageError: There are none, or two masks would have one name.
    """
    files = {path: Path(path.name) for path in listed(images)} if place.root is None else _below(place, out, model.zscored)
    return _with_names(_gathered(files, place, model.channels, model.zscored))


def listed(images: Named) -> list[Path]:
    """What was named, one by one."""
    return [Path(images)] if isinstance(images, str | Path) else [Path(image) for image in images]


def _below(place: Place, out: Path, volumes: bool) -> dict[Path, Path]:
    """All images in the folders -> their path in there, but for what was predicted there before, and for labels that lie beside images."""
    found: dict[Path, Path] = {}
    for folder in place.folders:
        listing = list_files(folder, RESERVED, sought=SOUGHT if volumes else IMAGES)
        paths = [Path(file) for file in (*listing.files.values(), *(twin for twins in listing.doubled.values() for twin in twins))]
        own = out.resolve() == folder.resolve()
        found |= {path: path.relative_to(folder) for path in sorted(paths) if own or out.resolve() not in path.resolve().parents}
    if not found:
        raise UsageError(f"{place.root}: {_nothing(place, volumes)}")
    return found


def _nothing(place: Place, volumes: bool) -> str:
    """What to say of a folder without anything that the model takes."""
    if volumes:
        return "no volumes in this folder, and this model takes them: .nii, .nii.gz, .tif, .zarr or DICOM slices"
    if any(list_files(folder, sought=SOUGHT).files for folder in place.folders):
        return "holds volumes, and this model takes images: use a model that was trained on volumes"
    return f"no images in this folder: they end in {', '.join(sorted(SUFFIXES))}"


# ---------------------------------------------------------------- channels


def _gathered(files: Mapping[Path, Path], place: Place, channels: int, volumes: bool) -> list[NewImage]:
    """Files that are channels of one image together, all others by themselves.

    Args:
        files: File -> its path below the folder that was searched.
        place: Where they lie.
        channels: Of the model.
        volumes: It takes volumes.
    """
    cases, alone = _numbered(files, place)
    if not place.channels and not _are_channels(cases.values(), channels, volumes, place.root is not None and not alone):
        return [NewImage((file,), _plain(file, inside)) for file, inside in files.items()]
    gray = not volumes and channels == COLORS and all(len(numbers) == 1 for numbers in cases.values())
    images = [NewImage((file,), _plain(file, inside)) for file, inside in alone.items()]
    for case, numbers in cases.items():
        only = place.channels and list(numbers) == [0]
        whole = {n: file for n, file in numbers.items() if gray or (channels > 1 and _channels_of(file, volumes) == channels)}
        images += [NewImage((file,), case.as_posix() if only else _plain(file, files[file])) for file in whole.values()]
        if parts := {n: file for n, file in numbers.items() if n not in whole}:
            images.append(_together(case, parts, channels, place))
    return sorted(images, key=lambda one: one.path)


def _numbered(files: Mapping[Path, Path], place: Place) -> tuple[dict[Path, dict[int, Path]], dict[Path, Path]]:
    """Case -> number at the end of the name -> file; and the files without a number.

    Raises:
        UsageError: nnU-Net's folder has two files of one number.
    """
    cases: dict[Path, dict[int, Path]] = {}
    alone: dict[Path, Path] = {}
    for file, inside in files.items():
        found = case_and_channel(named(file))
        if found is None:
            alone[file] = inside
            continue
        case = inside.with_name(found[0])
        other = cases.setdefault(case, {}).setdefault(found[1], file)
        if other != file and place.channels:
            raise UsageError(f"{other} and {file}: both are channel {found[1]:04} of {case}: remove one")
        alone |= {} if other == file else {file: inside}
    return cases, alone


def _are_channels(cases: Collection[Mapping[int, Path]], channels: int, volumes: bool, all_numbered: bool) -> bool:
    """Whether numbers at the end of names are those of channels, in a folder that is not known to be nnU-Net's; running numbers look alike.

    Args:
        cases: Number -> file.
        channels: Of the model.
        volumes: It takes volumes.
        all_numbered: A folder was named, and each of its files has such a number.
    """
    if channels == 1:
        kinds = {tuple(sorted(numbers)) for numbers in cases}
        return all_numbered and len(cases) > 1 and len(kinds) == 1 and all(len(one) > 1 and are_complete(one, len(one)) for one in kinds)
    if volumes or channels != COLORS:
        return bool(cases)
    return 2 * sum(are_complete(numbers, channels) for numbers in cases) > len(cases)


def _channels_of(file: Path, volumes: bool) -> int | None:
    """What a file's header says; None where it can't be read, which is said when it is predicted."""
    try:
        return stored(str(file)).header.channels if volumes else header(str(file)).channels
    except Broken:
        return None


def _together(case: Path, numbers: Mapping[int, Path], channels: int, place: Place) -> NewImage:
    files = tuple(numbers[number] for number in sorted(numbers))
    return NewImage(files, case.as_posix(), "" if are_complete(numbers, channels) else _wrong(case, numbers, channels, place))


def _wrong(case: Path, numbers: Mapping[int, Path], channels: int, place: Place) -> str:
    """What to say of a case that has other channels than the model takes."""
    there = told([file.name for _, file in sorted(numbers.items())])
    takes = f"the model takes {channels} channel{'s' if channels > 1 else ''} (0000{f' to {channels - 1:04}' if channels > 1 else ''})"
    if missing := sorted(set(range(channels)) - set(numbers)):
        first = next(iter(numbers.values()))
        what = "name also" if place.root is None else "add"
        absent = f"{case.name}_{missing[0]:04}{suffix_of(first.name)}"
        return f"channel {told(written(missing))} of {case.name} is missing, {takes}, one file each, and there is {there}: {what} {absent}"
    remedy = "name the files that it takes one by one" if channels == 1 else "leave only the channels that it was trained with"
    aside = "" if place.channels else "; if these are no channels, end their names otherwise"
    return f"{case.name} has {len(numbers)} channels ({there}), and {takes}: {remedy}{aside}"


# ---------------------------------------------------------------- names


def named(path: Path) -> str:
    """The name of an image or volume without what it ends in."""
    suffix = suffix_of(path.name)
    plain = path.is_dir() and not suffix.lower().endswith(ZARR)  # a folder of DICOM slices may have a dot in its name
    return path.name if plain or not suffix else path.name[: -len(suffix)]


def _plain(file: Path, inside: Path) -> str:
    return inside.with_name(named(file)).as_posix()


def _with_names(images: Sequence[NewImage]) -> list[NewImage]:
    """Whole stem below the folder; where two images would share it, the suffix stays in the name.

    Raises:
        UsageError: Two would share it all the same.
    """
    counts: dict[str, int] = {}
    for image in images:
        counts[image.name] = counts.get(image.name, 0) + 1
    renamed: dict[str, NewImage] = {}
    for image in images:
        name = image.name if counts[image.name] == 1 else f"{image.name}{image.path.suffix.replace('.', '-')}"
        if other := renamed.get(name):
            raise UsageError(f"{other.path} and {image.path}: both masks would be called {name}: rename one, or predict them apart")
        renamed[name] = NewImage(image.files, name, image.wrong)
    return list(renamed.values())
