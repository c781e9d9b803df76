"""`--minutes` and `--warm-from` on real photographs: slow, and only where the data are."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import time
from collections.abc import Collection
from pathlib import Path

import pytest
import yaml

import smidgen
from smidgen.core.errors import SettingsError

SIZES = {
    "gap": {"crop": 160, "long_side": (160, 224), "score_size": 192},
    "advcam": {"size": 160},
    "walk": {"crop": 96},
    "supervised": {"crop": 128},
}
"""Small images; how long anything works is left to the preset, and so to the budget."""
ONE = {"machine": {"threads": 1, "accelerator": "cpu"}}


@pytest.fixture
def photos(tmp_path):
    """Makes a folder of the first photographs that show one of some kinds, and nothing else."""
    if "SMIDGEN_DATA" not in os.environ:
        pytest.skip("SMIDGEN_DATA is not set: real photographs are needed")
    source = Path(os.environ["SMIDGEN_DATA"]) / "voc_animals"
    with (source / "tags.csv").open(newline="") as file:
        tags = {row["filename"]: row["tags"] for row in csv.DictReader(file)}

    def make(name: str, kinds: Collection[str], each: int, val: int) -> Path:
        folder = tmp_path / name
        for part in ("images", "masks"):
            (folder / part).mkdir(parents=True)
        rows = []
        for kind in kinds:
            found = [name for name in sorted(tags) if tags[name] == kind]
            rows += [(name, kind, "val") for name in found[-val:]] + [(name, kind, "train") for name in found[:each]]
        for photo, _, _ in rows:
            shutil.copy(source / "images" / photo, folder / "images")
            shutil.copy(source / "masks" / f"{Path(photo).stem}.png", folder / "masks")
        shutil.copy(source / "classes.txt", folder)
        for n, table in ((1, "tags"), (2, "split")):
            with (folder / f"{table}.csv").open("w", newline="") as file:
                csv.writer(file).writerows([("filename", table), *((row[0], row[n]) for row in sorted(rows))])
        return folder

    return make


def keys(run: Path) -> set[str]:
    return {path.name for path in (run / "stages").iterdir()}


@pytest.mark.slow
def test_a_run_from_tags_takes_the_minutes_that_it_was_given(photos, tmp_path):
    """A minute more than the least that it says it needs, so something is shortened."""
    folder, words = photos("thirty", ("cat", "sheep", "horse"), 8, 2), {"use": "tags", "preset": "small", "settings": SIZES | ONE}
    with pytest.raises(SettingsError, match="too short for anything useful") as refused:
        smidgen.train(folder, out=tmp_path / "run", minutes=0.05, **words)
    assert not any((tmp_path / "run").glob("stages/*"))
    minutes = float(re.search(r"say --minutes ([\d.]+)", str(refused.value))[1]) + 1

    begun = time.monotonic()
    run = smidgen.train(folder, out=tmp_path / "run", minutes=minutes, **words)
    assert time.monotonic() - begun < 1.25 * 60 * minutes
    (plan,) = yaml.safe_load((run.folder / "run.yaml").read_text())["minutes"].values()
    assert "→" in plan["said"]
    assert run.scores["val"]["images"] == 6

    before = keys(run.folder)
    smidgen.train(folder, out=tmp_path / "run", minutes=minutes, **words)
    assert keys(run.folder) == before


@pytest.mark.slow
def test_ten_more_labels_and_another_class_start_from_what_was_learned(photos, tmp_path):
    """A little training after a warm start is worth more than the same after a cold one."""
    first, more = photos("first", ("cat", "horse"), 16, 6), photos("more", ("cat", "horse", "sheep"), 18, 6)
    words = {"use": "masks", "preset": "small"}
    smidgen.train(first, out=tmp_path / "first", **words, settings=ONE | {"supervised": {"crop": 160, "epochs": 6}})
    brief = ONE | {"supervised": {"crop": 160, "epochs": 1, "warmup": 0}}
    cold = smidgen.train(more, out=tmp_path / "cold", **words, settings=brief).scores["val"]
    warm = smidgen.train(more, out=tmp_path / "warm", **words, settings=brief, warm_from=tmp_path / "first").scores["val"]
    assert json.loads((tmp_path / "warm" / "run.json").read_text())["command"]["warm_from"] == str(tmp_path / "first")
    assert min(warm["iou"][name] - cold["iou"][name] for name in ("cat", "horse")) > 0.05
    assert warm["miou"] > cold["miou"] + 0.05
