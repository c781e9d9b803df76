"""What `inspect` tells about a dataset."""

from __future__ import annotations

import dataclasses
import json
import time

import numpy as np
import pytest
from pytest import approx

from smidgen.data.dataset import Dataset
from smidgen.data.summary import SplitCounts, summarize


@pytest.fixture
def mixed(folder):
    """Four train images and one val image; one of each kind of supervision."""
    for i, size in enumerate([(4, 6), (5, 6), (6, 6), (6, 7), (6, 8)]):
        folder.image(f"images/{i}.png", np.full((*size, 3), i, np.uint8))
    folder.mask("masks/0.png", [1, 1, 1, 2, 255, 255, 255, 255], shape=(4, 6))
    folder.mask("masks/4.png", [1] * 8, shape=(6, 8))
    folder.mask("instances/0.png", [1], shape=(4, 6))
    folder.text("classes.txt", "background\ncat\ndog\n")
    folder.text("tags.csv", "filename,tags\n0.png,cat;dog\n1.png,\n4.png,cat\n")
    folder.text("split.csv", "filename,split\n" + "".join(f"{i}.png,{'val' if i == 4 else 'train'}\n" for i in range(5)))
    return folder


@pytest.mark.parametrize("full", [False, True])
def test_counts(mixed, full):
    summary = summarize(Dataset.open(mixed.path), full)
    assert summary.splits == {
        "train": SplitCounts(images=4, tags=2, empty=1, masks=1, sparse=0, instances=1, nothing=2, groups=4),
        "val": SplitCounts(images=1, tags=1, empty=0, masks=1, sparse=0, instances=0, nothing=0, groups=1),
    }
    assert (summary.smallest, summary.median, summary.largest) == ((4, 6), (6, 6), (6, 8))
    assert summary.modes == {"RGB": 5} and summary.channels == 3 and summary.problems == () and summary.full is full
    assert (summary.masks, summary.masks_seen) == (2, 2) and summary.labeled_share == approx((20 / 24 + 1) / 2)
    background, cat, dog = summary.classes
    # Of 24 - 4 + 48 labeled pixels 3 + 8 are cat and 1 is dog.
    assert (cat.tagged, cat.masks, cat.share) == (2, 2, approx(11 / 68)) and (dog.tagged, dog.masks, dog.share) == (1, 1, approx(1 / 68))
    assert background.tagged == 0 and background.share == approx(56 / 68)


def test_it_is_plain_values(mixed):
    assert json.loads(json.dumps(dataclasses.asdict(summarize(Dataset.open(mixed.path)))))["splits"]["train"]["images"] == 4


def test_only_a_sample_of_the_masks_is_decoded_and_said(mixed, monkeypatch):
    monkeypatch.setattr("smidgen.data.summary.MASKS_SEEN", 1)
    summary = summarize(Dataset.open(mixed.path))
    assert (summary.masks, summary.masks_seen) == (2, 1)
    assert summarize(Dataset.open(mixed.path), full=True).masks_seen == 2


def test_problems_and_remarks_are_told(mixed):
    (mixed.path / "images/2.png").write_bytes(b"")
    mixed.mask("masks/4.png", [9], shape=(6, 8))
    quick, full = summarize(Dataset.open(mixed.path)), summarize(Dataset.open(mixed.path), full=True)
    assert [one.where for one in quick.problems] == ["images/2.png", "masks/4.png"]  # the mask is one of those looked at
    assert [one.where for one in full.problems] == ["images/2.png", "masks/4.png"]
    assert quick.images == 4


def test_many_files_are_told_about_quickly(folder):
    """30,000 files in 10 s; here 600, with a wide margin for busy machines."""
    path = folder.image("images/000.png")
    mask = folder.mask("masks/000.png", [1])
    for i in range(1, 300):
        (folder.path / f"images/{i:03}.png").write_bytes(path.read_bytes())
        (folder.path / f"masks/{i:03}.png").write_bytes(mask.read_bytes())
    started = time.process_time()
    assert summarize(Dataset.open(folder.path)).images == 300
    assert time.process_time() - started < 3


def test_an_empty_view_has_a_summary(mixed):
    summary = summarize(Dataset.open(mixed.path).only("test"))
    assert summary.images == 0 and summary.splits == {} and summary.labeled_share is None


def test_what_is_told_of_volumes(volumes):
    for name, deep in (("a", 2.0), ("b", 4.0)):
        volumes.case(name, affine=np.diag([1.0, 1.0, deep, 1.0]))
    volumes.case("c", label=False, affine=np.diag([-1.0, 1.0, 4.0, 1.0]))
    summary = summarize(Dataset.open(volumes.path, val=0))
    told = summary.volumes
    assert summary.dims == 3 and summary.smallest == (4, 5, 6) and told.formats == {"NIfTI": 3}
    assert told.spacings == {"4 x 1 x 1 mm": 2, "2 x 1 x 1 mm": 1} and told.spacing_trusted == 3
    assert told.orientations == {"RAS": 2, "LAS": 1} and told.intensities.seen == 3
    assert 0 <= told.intensities.low < told.intensities.means[1] < told.intensities.high < 200
    background, atrium = told.coverage
    assert (atrium.cases, atrium.least, atrium.most) == (2, approx(2 / 6), approx(2 / 6)) and background.median == approx(4 / 6)
    assert told.cases == {"a": {"background": 80, "atrium": 40}, "b": {"background": 80, "atrium": 40}}
    said = " ".join(summary.remarks)
    assert "spacing: mixed (z 2 to 4 mm)" in said and "frames: mixed (RAS (2 volumes), LAS (1 volume))" in said and "4.0 times" in said
    assert json.loads(json.dumps(dataclasses.asdict(summary)))["volumes"]["coverage"][1]["cases"] == 2
    assert dict(told.lines)["spacing"].endswith("; trusted")


def test_volumes_that_can_not_be_decoded_are_told(volumes):
    volumes.nifti("volumes/a.nii.gz", np.full((3, 4, 5), np.nan, np.float32))
    summary = summarize(Dataset.open(volumes.path))
    assert len(summary.problems) == 1 and "NaN" in summary.problems[0].what and summary.volumes.intensities is None
