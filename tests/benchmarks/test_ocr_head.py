"""The claim `ocr_head` on a toy: it runs, skips what is there, and writes a record with what heads cost."""

from __future__ import annotations

import json

import pytest

TINY = {
    "encoder": {"weights": "none"},
    "supervised": {"steps": 2, "crop": 32, "batch": 2},
    "windows": {"flip": False},
}


@pytest.fixture
def claim(claim_named):
    return claim_named("ocr_head")


@pytest.fixture
def toy(toy_named):
    """Two sequences, without background."""
    folder = toy_named("camvid", ("sky", "road"), lambda n: (slice(8, None), slice(4 * n, None)))
    (folder / "dataset.yaml").write_text("background: none\ngroups: groups.csv:group\n")
    (folder / "groups.csv").write_text("filename,group\n" + "".join(f"p{n},{'ab'[n % 2]}\n" for n in range(5)))
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
