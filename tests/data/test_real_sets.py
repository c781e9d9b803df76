"""Real sets, counted as their own descriptions count them; SMIDGEN_DATA names the folder that holds them."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from smidgen.data.checks import examine, judge
from smidgen.data.dataset import Dataset

FOLDER = os.environ.get("SMIDGEN_DATA", "")

pytestmark = pytest.mark.skipif(not FOLDER, reason="SMIDGEN_DATA is not set: it names the folder of the real data sets")


@dataclass(frozen=True)
class Counts:
    """As the set's README tells."""

    train: int
    val: int
    classes: int
    tagged: bool = False
    instances: tuple[int, int] = (0, 0)
    background: int | None = 0
    channels: int = 3
    torn: bool = False
    """Whether frames of one sequence (`groups.csv`) are in train and val: scores are too good then, and a note says so."""


SETS = {
    "voc_animals": Counts(842, 195, 13, True, (584, 147)),
    "msrc": Counts(352, 100, 18, True, (352, 100), torn=True),
    "camvid": Counts(367, 101, 11, True, background=None, torn=True),
    "weizmann_horses": Counts(191, 54, 2, True),
    "coco128": Counts(76, 22, 81, True, (76, 22)),
    "dsb2018_nuclei": Counts(143, 30, 2, instances=(143, 30)),
    "rbc_elliptocyte": Counts(20, 4, 3, instances=(20, 4)),
    "wbc_cellavision": Counts(65, 13, 3),
    "isbi2012_em": Counts(19, 4, 2, channels=1),
}


def opened(name: str) -> Dataset:
    path = Path(FOLDER) / name
    if not path.is_dir():
        pytest.skip(f"SMIDGEN_DATA has no {name}")
    return Dataset.open(path)


@pytest.mark.parametrize("name", SETS)
def test_counts(name):
    data, counts = opened(name), SETS[name]
    assert (len(data.train), len(data.val), len(data.test)) == (counts.train, counts.val, 0)
    assert len(data.classes) == counts.classes and data.classes.background == counts.background
    assert len(data.labeled) == counts.train and len(data.tagged) == (counts.train if counts.tagged else 0)
    in_splits = tuple(sum(one.read_instances is not None for one in split.values()) for split in (data.train, data.val))
    assert in_splits == counts.instances and data.channels == counts.channels
    assert not any(sample.sparse for sample in data.samples.values())
    assert data.problems == () and not data.split_drawn
    torn = [note for note in data.notes if "in more than one split" in note]
    assert bool(torn) == counts.torn and all("if 0 means unlabeled" in note for note in data.notes if note not in torn)


@pytest.mark.parametrize("name", [name for name, counts in SETS.items() if counts.tagged])
def test_tags_are_those_of_the_masks(name):
    """The sets' tags name each class that covers at least 20 pixels of the mask."""
    data = opened(name)
    facts = examine(data)
    assert judge(data, facts) == []
    values = facts.values(data.samples.values())
    off = [
        id
        for id, sample in data.samples.items()
        if {value for value in data.classes.foreground if values[id].get(value, 0) >= 20} != set(sample.tags or ())
    ]
    assert off == []


@pytest.mark.parametrize("name", [name for name, counts in SETS.items() if not counts.tagged])
def test_nothing_is_wrong_when_all_is_decoded(name):
    data = opened(name)
    assert judge(data, examine(data)) == []


def test_instances_are_as_many_as_told():
    """738 in coco128, 5,427 in dsb2018_nuclei."""
    for name, count in (("coco128", 738), ("dsb2018_nuclei", 5427)):
        ids = [sample.instances() for sample in opened(name).samples.values()]
        assert sum(len(set(one.ravel().tolist()) - {0, 65535}) for one in ids) == count


def test_shares_of_the_classes():
    """wbc_cellavision: about 77 % background, 13 % cytoplasm, 10 % nucleus (with its test part, which is not here)."""
    data = opened("wbc_cellavision")
    values = examine(data).values(data.samples.values()).values()
    total = sum(sum(one.values()) for one in values)
    assert [round(100 * sum(one.get(value, 0) for one in values) / total) for value in range(3)] == [77, 12, 10]


def test_reading_is_fast():
    """842 images with masks take about 3 s; three times as long is too long."""
    started = time.process_time()
    for sample in opened("voc_animals").train.values():
        sample.image(), sample.label()
    assert time.process_time() - started < 9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "train", "val", "groups", "spacing", "trusted"),
    [
        ("acdc", 130, 30, 80, (10, 1.5625, 1.5625), False),
        ("la2018_half", 45, 14, 40, (1.25, 1.25, 1.25), True),
        ("lgg_flair3d", 12, 3, 15, (6.5, 0.94, 0.94), False),
    ],
)
def test_sets_of_volumes(name, train, val, groups, spacing, trusted):
    data = Dataset.open(Path(FOLDER) / name)
    assert data.dims == 3 and data.problems == () and judge(data, examine(data)) == []
    assert (len(data.train), len(data.val), len(data.labeled)) == (train, val, train)
    assert len({one.group or one.id for one in data.samples.values()}) == groups
    first = next(iter(data.samples.values()))
    assert first.spacing_mm == pytest.approx(spacing, rel=1e-5) and all(one.spacing_trusted == trusted for one in data.samples.values())
    image = first.image()
    assert image.shape == (1, *first.size) and abs(float(image.mean())) < 1e-4 and abs(float(image.std()) - 1) < 1e-4
    view = data.slices()
    assert len(view.samples) == sum(one.size[0] for one in data.samples.values())


@pytest.mark.slow
def test_scribbles_on_volumes():
    data = Dataset.open(Path(FOLDER) / "acdc", label_folder="scribbles")
    assert data.problems == () and all(one.sparse for one in data.samples.values())
