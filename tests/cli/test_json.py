"""`--json`: standard output is exactly one JSON document, for every command and for errors; progress goes elsewhere."""

from __future__ import annotations

import importlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import smidgen
from smidgen.cli import main as cli
from smidgen.cli.document import document, plain
from smidgen.cli.main import main

QUICK = [
    *("--encoder.weights", "none", "--supervised.steps", "2", "--supervised.epochs", "0"),
    *("--supervised.batch", "2", "--supervised.crop", "32", "--preset", "small"),
]


@pytest.fixture
def folder(tmp_path):
    """Four tiny photos with masks, two of them to validate."""
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (tmp_path / "data" / part).mkdir(parents=True)
    for name in "abcd":
        Image.fromarray(rng.integers(0, 255, (24, 32, 3), np.uint8)).save(tmp_path / "data" / "images" / f"{name}.png")
        Image.fromarray(np.eye(24, 32, dtype=np.uint8)).save(tmp_path / "data" / "masks" / f"{name}.png")
    (tmp_path / "data" / "classes.txt").write_text("background\nthing\n")
    (tmp_path / "data" / "split.csv").write_text("filename,split\na.png,train\nb.png,train\nc.png,val\nd.png,val\n")
    return tmp_path / "data"


@pytest.fixture
def said(capsys):
    """Runs words; the exit code, the document, and what stood on the standard error."""

    def run(*words: object):
        capsys.readouterr()
        code = main([*map(str, words), "--json"])
        out, err = capsys.readouterr()
        return code, json.loads(out), err

    return run


def test_every_command_offers_it(capsys):
    for name in cli.commands():
        assert main([name, "--help"]) == 0
        assert "--json" in capsys.readouterr().out, name


def test_train_predict_evaluate_and_again_tell_their_figures(folder, tmp_path, said):
    run = tmp_path / "run"
    code, told, progress = said("train", folder, "--out", run, *QUICK)
    assert code == 0
    assert told["run"] == str(run)
    assert told["scores"]["val"]["images"] == 2
    assert told["model"] == str(run / "model")
    assert "segment  supervised" in progress
    assert said("again", run)[1]["scores"] == told["scores"]
    code, masks, _ = said("predict", run, folder / "images", "--out", tmp_path / "masks")
    assert code == 0
    assert len(masks["masks"]) == 4
    assert all(0 <= value <= 1 for value in masks["confidence"].values())
    code, figures, _ = said("evaluate", run, folder)
    assert code == 0
    assert figures["miou"] == pytest.approx(told["scores"]["val"]["miou"], abs=1e-6)


def test_inspect_and_methods_tell_theirs(folder, said):
    code, told, _ = said("inspect", folder)
    assert code == 0
    assert told["chosen"]["recipe"] == "masks"
    assert told["summary"]["images"] == 4
    assert told["next"].startswith("smidgen train")
    code, rows, _ = said("methods")
    assert {"gap", "advcam", "supervised"} <= {row["name"] for row in rows}
    (row,) = said("methods", "advcam", "--preset", "small")[1]
    (steps,) = [one for one in row["settings"] if one["name"] == "steps"]
    assert (steps["default"], steps["preset"]) == (27, 12)


def test_errors_are_documents_and_keep_their_exit_code(folder, tmp_path, said):
    code, told, err = said("inspect", tmp_path / "nowhere")
    assert code == told["error"]["exit_code"] == 2
    assert told["error"]["kind"] == "DataError"
    assert "nowhere" in told["error"]["message"]
    assert "nowhere" in err
    whole = (folder / "images" / "a.png").read_bytes()
    (folder / "images" / "a.png").write_bytes(whole[:100])
    code, told, _ = said("train", folder, "--out", tmp_path / "run", *QUICK)
    assert code == 2
    assert [problem["where"] for problem in told["error"]["problems"]] == ["images/a.png"]
    code, told, err = said("train", folder, "--no-such-word", "3")
    assert code == told["error"]["exit_code"] == 2
    assert "no-such-word" in err


@pytest.mark.parametrize(
    ("name", "words"), [("train", "goes on where it stopped"), ("inspect", "nothing was written"), ("predict", "starts over")]
)
def test_ctrl_c_says_what_is_left_and_whether_it_goes_on(name, words, monkeypatch, capsys, said):
    module = importlib.import_module(f"smidgen.actions.{name}")

    def pressed(*, data: Path = Path()) -> None:
        """Nothing."""
        raise KeyboardInterrupt

    monkeypatch.setattr(module, name, pressed)
    assert main([name]) == 130
    assert words in capsys.readouterr().err
    code, told, _ = said(name)
    assert (code, told["error"]["kind"]) == (130, "Stopped")
    assert words in told["error"]["message"]


@dataclass(frozen=True)
class Told:
    where: Path
    numbers: np.ndarray
    nothing: float
    by_number: dict[int, np.float32]


def test_what_is_no_plain_value_becomes_one():
    told = json.loads(document(Told(Path("a/b"), np.arange(2), math.nan, {1: np.float32(0.5)})))
    assert told == {"where": "a/b", "numbers": [0, 1], "nothing": None, "by_number": {"1": 0.5}}
    assert plain((Path("x"), {2, 1}, True)) == ["x", [1, 2], True]


def test_every_result_is_a_document(folder):
    found = smidgen.inspect(folder)
    assert "lines" not in json.loads(document(found))
