"""Dataset: images with whatever labels they have, from a folder or from arrays; an immutable value of which views are cut."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from smidgen.core.conventions import ValueRange
from smidgen.core.errors import DataError, Problem, SettingsError
from smidgen.core.keys import key
from smidgen.data.arrays import Coding, from_arrays
from smidgen.data.assembling import Drawing
from smidgen.data.contents import Contents
from smidgen.data.digests import Digests
from smidgen.data.formats import Unannotated, contents_of
from smidgen.data.layout import nearest
from smidgen.data.splits import draw, keep
from smidgen.data.tables import SPLITS
from smidgen.data.volume_arrays import from_volume_arrays
from smidgen.data.volume_slices import sliced
from smidgen.products import pictures
from smidgen.products.sample import Classes, Sample

Many = Mapping[str, Any] | Sequence[Any] | np.ndarray
SHOWN = 8
"""Images that stand for a dataset in a notebook."""
USES = ("tags", "masks", "sparse")


class Dataset:
    """Images or volumes with whatever labels they have. Nothing changes it: every method returns another view; arrays are read when used.

    Args:
        images: (h, w) or (h, w, c) arrays, by id or as a list (ids are then running numbers). Integers are scaled by the range of their
            type; floats outside [0, 1] by the 1st and 99th percentile of all. Volumes are (z, y, x) with dims = 3, or (c, z, y, x); each
            is z-scored.
        masks: Class indices (h, w) or (z, y, x), 255 = unlabeled pixel; None or missing = no mask. Where there is one class, {0, 255} and
            booleans do, too.
        tags: Names or label values of the classes that an image holds; () = known to hold none, None or missing = unknown.
        classes: Names in the order of their label values, background included; None: the tags' names, and as many as the masks need.
        background: Label value of the background: 0, or None where every pixel belongs to a real class.
        split: "train", "val" or "test" for each image; missing = train. See also `drawn`.
        groups: Images of one group stay in one split.
        dims: 3 = the arrays are volumes; None: where one has four axes, or masks are as large as images of three axes that end in no color.
        spacing_mm: Distance between the voxels of all volumes along z, y, x; None = unknown.
        values: What the values of masks mean, where they are no class indices, as in dataset.yaml: value, or color like "#ff0000" -> class,
            or "unlabeled". 255 stays unlabeled unless it is listed.

    Raises:
        DataError: Something does not fit; all that is wrong is listed.

    Example:
        >>> import numpy as np
        >>> data = Dataset([np.zeros((4, 6, 3), np.uint8)] * 2, tags=[["cat"], []])
        >>> data.classes.names, data.samples["000"].tags, data.samples["001"].tags
        (('background', 'cat'), (1,), ())
    """

    def __init__(
        self,
        images: Many,
        masks: Many | None = None,
        tags: Many | None = None,
        classes: Sequence[str] | None = None,
        background: int | None = 0,
        split: Many | None = None,
        groups: Many | None = None,
        dims: Literal[2, 3] | None = None,
        spacing_mm: Sequence[float | int] | None = None,
        values: Coding | None = None,
    ):
        given = images.values() if isinstance(images, Mapping) else images
        if dims == 3 or (dims is None and _volumes(given, masks)):
            self._contents = from_volume_arrays(images, masks, tags, classes, background, split, groups, spacing_mm, values)
        else:
            self._contents = from_arrays(images, masks, tags, classes, background, split, groups, values)
        self._key: str | None = None

    @classmethod
    def open(
        cls,
        path: str | Path,
        label_folder: str | None = None,
        val: float | int = 0.2,
        seed: int = 0,
        value_range: tuple[float | int, float | int] | None = None,
        unannotated: Unannotated = "unlabeled",
    ) -> Dataset:
        """Read a folder's headers and tables; broken files are listed in `problems`, not raised.

        Folders in the forms of PASCAL VOC, COCO and nnU-Net are recognized by what lies in them; `notes` says as what they were taken. A
        folder `volumes` holds volumes (docs/guides/volumes.md).

        Args:
            path: The folder, one image or volume, or the .json file of a COCO dataset.
            label_folder: Where the labels are, if not in masks/ or labels/ (scribbles).
            val: Share of the groups that are scored, where there is no split.csv; 0 = none.
            seed: Of the drawn split.
            value_range: Values of images with more than 8 bits that become 0 and 1; None: taken from the images.
            unannotated: What an image of a COCO file without any annotation is: one that nobody labeled, or known to hold none.

        Raises:
            DataError: There are no images to read, or dataset.yaml is wrong.
            SettingsError: `unannotated` is said of data that are no COCO file.
        """
        return cls._of(contents_of(path, label_folder, Drawing(val, seed, value_range), unannotated))

    @classmethod
    def _of(cls, contents: Contents) -> Dataset:
        data = cls.__new__(cls)
        data._contents, data._key = contents, None
        return data

    # ---------------------------------------------------------------- what is there

    @property
    def samples(self) -> Mapping[str, Sample]:
        """All samples by id, in order of id."""
        return self._contents.samples

    @property
    def classes(self) -> Classes:
        """Names of the label values."""
        return self._contents.classes

    @property
    def name(self) -> str:
        """Name of the folder; "arrays" for arrays."""
        return self._contents.name

    @property
    def folder(self) -> Path | None:
        """Where it lies; None for arrays."""
        return self._contents.folder

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong, as far as headers and tables tell; `checks.verify` decodes everything."""
        return self._contents.problems

    @property
    def notes(self) -> tuple[str, ...]:
        """What label values, folders and pixel formats were taken to mean."""
        return self._contents.notes

    @property
    def value_range(self) -> ValueRange:
        """Values of images with more than 8 bits that became 0 and 1, of all channels or of each; to be kept with a model."""
        return self._contents.value_range

    @property
    def split_drawn(self) -> bool:
        """Nobody wrote the split down: it was drawn."""
        return self._contents.split_drawn

    @property
    def channels(self) -> int:
        """Channels of every image."""
        return next((sample.channels for sample in self.samples.values()), 3)

    @property
    def dims(self) -> Literal[2, 3]:
        """Spatial axes of every image: 2, or 3 where they are volumes."""
        return 3 if any(len(sample.size) == 3 for sample in self.samples.values()) else 2

    @property
    def zscored(self) -> bool:
        """Values are z-scored over each case (volumes and their slices), not in [0, 1]."""
        return any(sample.zscored for sample in self.samples.values())

    @property
    def instance_classes(self) -> Mapping[str, Mapping[int, int]]:
        """Image id -> instance id -> label value, from instances.csv."""
        return self._contents.instance_classes

    @property
    def ids(self) -> Mapping[str, int]:
        """Class name -> its number in the format that the data came from; empty where label values are all there is."""
        return self._contents.ids

    @property
    def mask_values(self) -> tuple[int, ...]:
        """What the mask files hold for each class, where that is another number than its label value (nnU-Net); else ()."""
        return self._contents.mask_values

    @property
    def digests(self) -> Digests:
        """Fingerprints of the files, as far as they are known."""
        return self._contents.digests

    @property
    def key(self) -> str:
        """Fingerprint of all that can be read through this object: contents, meaning of values, splits, tags, which labels, classes.

        The same for equal contents, wherever the folder lies and whenever it was copied.
        """
        if self._key is None:
            classes = self.classes
            self._key = key(classes.names, classes.background, [self._fingerprint(sample) for sample in self.samples.values()])
        return self._key

    def _fingerprint(self, sample: Sample) -> tuple[Any, ...]:
        readers: list[Any] = [sample.read_image, sample.read_label, sample.read_instances]
        read = [(self.digests.of(reader), *reader.meaning) if reader is not None else None for reader in readers]
        classes = self.instance_classes.get(sample.id, {}) if sample.read_instances else {}
        known = sample.id, sample.split, sample.group, sample.tags, sample.sparse, sorted(classes.items()), read
        return known if sample.spacing_mm is None else (*known, sample.spacing_mm, sample.spacing_trusted)

    # ---------------------------------------------------------------- parts

    @property
    def train(self) -> Mapping[str, Sample]:
        """What is learned from."""
        return self._where(lambda sample: sample.split == "train")

    @property
    def val(self) -> Mapping[str, Sample]:
        """What is scored during development."""
        return self._where(lambda sample: sample.split == "val")

    @property
    def test(self) -> Mapping[str, Sample]:
        """What is scored at the very end."""
        return self._where(lambda sample: sample.split == "test")

    @property
    def labeled(self) -> Mapping[str, Sample]:
        """Train samples with a dense or sparse label."""
        return self._where(lambda sample: sample.split == "train" and sample.read_label is not None)

    @property
    def unlabeled(self) -> Mapping[str, Sample]:
        """Train samples without a dense or sparse label."""
        return self._where(lambda sample: sample.split == "train" and sample.read_label is None)

    @property
    def tagged(self) -> Mapping[str, Sample]:
        """Train samples whose tags are known, be it that they hold none."""
        return self._where(lambda sample: sample.split == "train" and sample.tags is not None)

    def _where(self, wanted: Callable[[Sample], bool]) -> Mapping[str, Sample]:
        return {id: sample for id, sample in self.samples.items() if wanted(sample)}

    # ---------------------------------------------------------------- views

    def only(self, split: str | None = None, ids: Collection[str] | None = None) -> Dataset:
        """Only one split, only some images, or both.

        Raises:
            SettingsError: There is no such split.
            DataError: There is no such image.
        """
        if split is not None and split not in SPLITS:
            raise SettingsError(f"split {split}: expected one of {', '.join(SPLITS)}")
        unknown = [id for id in ids or () if id not in self.samples]
        if unknown:
            like = {id: nearest(id, self.samples) for id in unknown}
            remedy = "see samples for the ids"
            raise DataError([Problem(id, "no such image", f"did you mean {near}?" if near else remedy, (id,)) for id, near in like.items()])
        wanted = frozenset(self.samples if ids is None else ids)
        return self._with({id: one for id, one in self.samples.items() if id in wanted and split in (None, one.split)})

    def without(self, ids: Collection[str]) -> Dataset:
        """All but some images; problems that concern only these are gone, too. Ids of files that can't be read may be among them."""
        gone = frozenset(ids)
        left = {id: sample for id, sample in self.samples.items() if id not in gone}
        problems = tuple(one for one in self.problems if not one.ids or not gone.issuperset(one.ids))
        return self._of(replace(self._contents, samples=left, problems=problems))

    def using(self, use: Literal["tags", "masks", "sparse"] | None) -> Dataset:
        """Only one kind of supervision in train; val and test keep what they are scored by.

        Args:
            use: tags: no label of train can be read. masks: only dense labels, no tags. sparse: only sparse labels, no tags. None: all.

        Raises:
            SettingsError: There is no such kind.
        """
        if use is None:
            return self
        if use not in USES:
            raise SettingsError(f"use = {use}: expected one of {', '.join(USES)}")
        return self._map_train(lambda sample: _restricted(sample, use))

    def keeping(self, labeled: int | str, seed: int = 0) -> Dataset:
        """A fully labeled set plays a weak one: only so many train images keep their masks, drawn by group with the seed.

        Args:
            labeled: A number, a share of the labeled ones like "5%", or "all". A smaller choice is part of every larger one.
            seed: Of the drawn order.

        Raises:
            SettingsError: No such number, or more than there are.
        """
        kept = keep(self.train, labeled, seed)
        return self._map_train(lambda sample: sample if sample.id in kept else sample.without_label())

    def drawn(self, val: float | int = 0.2, seed: int = 0) -> Dataset:
        """The same with a drawn split by group; arguments as in `open`. What is in test stays there."""
        split = draw({id: sample for id, sample in self.samples.items() if sample.split != "test"}, val, seed)
        samples = {id: replace(sample, split=split.get(id, "test")) for id, sample in self.samples.items()}
        return self._of(replace(self._contents, samples=samples, split_drawn=True))

    def slices(self) -> Dataset:
        """The 2D view of volumes: one sample per slice across z, called `CASE/z007`; those of one case, or of its group, stay together.

        Values are those of the z-scored volume, spacing is that in the plane. What was decoded last is kept, up to some bytes per process.

        Raises:
            DataError: These are images, no volumes.
        """
        if self.dims == 2:
            raise DataError([Problem(self.name, "holds 2D images, which have no slices", "use them as they are")])
        return self._with(sliced(self.samples))

    def _map_train(self, change: Callable[[Sample], Sample]) -> Dataset:
        return self._with({id: change(sample) if sample.split == "train" else sample for id, sample in self.samples.items()})

    def _with(self, samples: Mapping[str, Sample]) -> Dataset:
        return self._of(replace(self._contents, samples=samples))

    def _repr_html_(self) -> str:
        """A few images with their labels, for notebooks."""
        ids = [*self.samples][:: max(1, len(self.samples) // SHOWN)][:SHOWN]
        lines = [f"{len(self.samples)} {'images' if self.dims == 2 else 'volumes'}; classes: {', '.join(self.classes.names)}"]
        return pictures.gallery(f"Dataset {self.name}", (self._drawn(id) for id in ids), lines)

    def _drawn(self, id: str) -> tuple[np.ndarray, str]:
        sample = self.samples[id]
        image, label = sample.shown()
        drawn = pictures.of_image(image) if label is None else pictures.laid_over(image, label, self.classes.background)
        tags = "tags unknown" if sample.tags is None else ", ".join(self.classes.names[i] for i in sample.tags) or "known to hold none"
        return drawn, f"{id} ({sample.split}): {tags}"

    def __repr__(self) -> str:
        return f"Dataset {self.name}: {len(self.samples)} {'images' if self.dims == 2 else 'volumes'}, {len(self.classes)} classes"


def _volumes(images: Iterable[Any], masks: Many | None) -> bool:
    """Whether arrays can only be volumes: with a channel axis, or with masks of three axes that are no colors."""
    shapes = [np.shape(image) for image in images]
    labels = (masks.values() if isinstance(masks, Mapping) else masks) if masks is not None else ()
    deep = [np.shape(mask) for mask in labels if mask is not None and np.ndim(mask) == 3]
    return any(len(shape) == 4 for shape in shapes) or any(shape in shapes and shape[-1] not in (1, 3, 4) for shape in deep)


def _restricted(sample: Sample, use: str) -> Sample:
    if use == "tags":
        return sample.without_label()
    fits = sample.sparse == (use == "sparse")
    return replace(sample if fits else sample.without_label(), tags=None)
