"""The claim `ocr_head` on a toy: it runs, skips what is there, and writes a record with what heads cost."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CLAIMS = Path(__file__).parents[2] / "benchmarks" / "claims"
TINY = {
    "encoder": {"weights": "none"},
    "supervised": {"steps": 2, "crop": 32, "batch": 2},
    "windows": {"flip": False},
}


@pytest.fixture
def claim(monkeypatch, tmp_path):
    """The module, its results and its data in a folder of the test's own."""
    monkeypatch.syspath_prepend(str(CLAIMS))
    for name in ("_records", "_full_masks", "ocr_head"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module("ocr_head")
    monkeypatch.setattr(sys.modules["_records"], "RESULTS", tmp_path / "results")
    monkeypatch.setattr(sys.modules["_full_masks"], "RUNS", tmp_path / "runs")
    yield module
    for name in ("_records", "_full_masks", "ocr_head"):
        sys.modules.pop(name, None)


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """Five images of two sequences; the last is val."""
    folder = tmp_path / "data" / "camvid"
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for n in range(5):
        mask = np.zeros((32, 32), np.uint8)
        mask[8:, n * 4 :] = 1
        Image.fromarray(np.uint8(mask[..., None] * 150 + rng.integers(0, 60, (32, 32, 3)))).save(folder / "images" / f"p{n}.png")
        Image.fromarray(mask).save(folder / "masks" / f"p{n}.png")
    (folder / "classes.txt").write_text("sky\nroad\n")
    (folder / "dataset.yaml").write_text("background: none\ngroups: groups.csv:group\n")
    (folder / "groups.csv").write_text("filename,group\n" + "".join(f"p{n},{'ab'[n % 2]}\n" for n in range(5)))
    (folder / "split.csv").write_text("filename,split\n" + "".join(f"p{n},{'val' if n == 4 else 'train'}\n" for n in range(5)))
    monkeypatch.setenv("SMIDGEN_DATA", str(tmp_path / "data"))
    return folder


def words(*more: str) -> list[str]:
    return ["--seeds", "0", "--settings", json.dumps(TINY), *more]


@pytest.mark.slow
def test_every_arm_is_measured_once(claim, toy, tmp_path, capsys):
    claim.main(words())
    found = json.loads((tmp_path / "results" / "ocr_head.json").read_text())
    assert [row["name"] for row in (found["baseline"], found["method"], *found["others"])] == [name for name, _ in claim.ARMS.values()][
        :1
    ] + [claim.ARMS[arm][0] for arm in ("ocr", *claim.OTHERS)]
    assert all(0 <= row["values"][0] <= 100 and row["head_gmac"] > 0 for row in (found["baseline"], found["method"], *found["others"]))
    costs = {row["name"]: row["head_gmac"] for row in found["others"]}
    assert costs["OCR 256/128"] < 0.6 * costs["dense ASPP and decoder"]
    capsys.readouterr()
    claim.main(words())
    assert "…" not in capsys.readouterr().out


@pytest.mark.slow
def test_settings_are_tuned_on_a_sequence_of_train(claim, toy, tmp_path):
    claim.main(words("--arms", "fcn,ocr", "--held-out", "b", "--lead", "coarse-start"))
    cells = sorted(path.stem for path in (tmp_path / "results" / "cells" / "ocr_head_tuning" / "camvid").iterdir())
    assert cells == ["fcn-0", "ocr-coarse-start-0"]
    assert json.loads((tmp_path / "results" / "ocr_head_tuning.json").read_text())["split"] == "b of train, not trained on"
    with pytest.raises(SystemExit, match="no group 'c'"):
        claim.main(words("--arms", "fcn", "--held-out", "c"))


def test_an_arm_says_only_what_is_its_own(claim):
    assert claim.words_of("fcn", {}, "coarse-start") == {**claim.TRAINING, "head": "fcn"}
    assert claim.words_of("compact", {"ocr": {"dropout": 0.1}}, "coarse-start")["ocr"] == {
        "dropout": 0.1,
        "start": "coarse",
        "width": 256,
        "key_width": 128,
    }
