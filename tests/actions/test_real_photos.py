"""The thread through everything on sixty real photographs: slow, and only where the data are."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import pytest

import smidgen

SETTINGS = {
    "gap": {"epochs": 4, "crop": 224, "long_side": (224, 320), "score_size": 256},
    "advcam": {"steps": 2, "size": 256},
    "walk": {"steps": 20, "crop": 128},
    "supervised": {"epochs": 6, "crop": 192},
}


@pytest.mark.slow
def test_sixty_photos_with_tags_beat_the_commonest_class(tmp_path):
    if "SMIDGEN_DATA" not in os.environ:
        pytest.skip("SMIDGEN_DATA is not set: real photographs are needed")
    source = Path(os.environ["SMIDGEN_DATA"]) / "voc_animals"
    folder = tmp_path / "sixty"
    with (source / "tags.csv").open(newline="") as file:
        tags = {row["filename"]: row["tags"] for row in csv.DictReader(file)}
    chosen = [name for name in sorted(tags) if tags[name] in ("cat", "sheep", "horse")][:60]
    for part, suffix in (("images", ".jpg"), ("masks", ".png")):
        (folder / part).mkdir(parents=True)
        for name in chosen:
            shutil.copy(source / part / (Path(name).stem + suffix), folder / part)
    shutil.copy(source / "classes.txt", folder)
    with (folder / "tags.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("filename", "tags"), *((name, tags[name]) for name in chosen)])
    run = smidgen.train(folder, out=tmp_path / "run", use="tags", preset="small", settings=SETTINGS)
    val = run.scores["val"]
    assert val["images"] == 12
    assert val["miou"] > val["commonest_class_miou"] + 0.1
    assert run.scores["train_pseudo_masks"]["miou"] > 0.3
