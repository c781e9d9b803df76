"""The main job in small: it runs, goes on, says what is wrong, and hands back what it promises."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

import smidgen
from smidgen.core.errors import DataError, NeedError, SettingsError
from smidgen.core.screen import Silent


class Words(Silent):
    """Keeps what was said and which stages ran."""

    def __init__(self):
        self.said, self.stages, self.planned = [], [], 0

    def plan(self, stages):
        self.planned = stages

    def say(self, text):
        self.said.append(text)

    def stage(self, stage, method, key, done):
        self.stages.append((stage, method, done))


def files(folder):
    """All files of the stages with the time they were written."""
    return {path: path.stat().st_mtime_ns for path in (folder / "stages").rglob("*") if path.is_file()}


def test_tags_in_model_scores_and_report_out(folder, tmp_path, quick):
    words = Words()
    run = smidgen.train(folder, out=tmp_path / "run", use="tags", preset="small", settings=quick, screen=words)
    stages = ["classify", "localize", "refine", "refine", "label", "check", "segment", "predict", "predict"]
    assert [stage for stage, _, _ in words.stages] == stages
    assert words.planned == 9
    assert re.fullmatch(r"machine   \d+ CPU cores, preset small, tf_efficientnet_lite0 with random weights", words.said[0])
    assert "9 of 9 training images have tags, masks are not used" in words.said[1]
    assert re.search(r" segment supervised: \d+\.\d s in all, \d+ MiB at most\n", (run.folder / "log.txt").read_text())
    for name in (
        "run.yaml",
        "run.json",
        "split.csv",
        "log.txt",
        "scores.json",
        "report.html",
        "model/model.json",
        "model/model.safetensors",
    ):
        assert (run.folder / name).is_file(), name
    assert run.scores["val"]["images"] == 3
    assert run.scores["val"]["pixels"] == 3 * 32 * 40
    assert 0 <= run.scores["tags"]["map"] <= 1
    assert run.segmenter.predict(np.zeros((3, 50, 33), np.float32)).label.shape == (50, 33)
    assert "p09" in run.report.read_text(encoding="utf-8")

    before = files(run.folder)
    again = Words()
    smidgen.train(folder, out=tmp_path / "run", use="tags", preset="small", settings=quick, screen=again)
    assert all(done for _, _, done in again.stages)
    assert files(run.folder) == before


def test_with_tags_no_training_mask_is_read_for_the_model(folder, tmp_path, quick):
    one = smidgen.train(folder, out=tmp_path / "a", use="tags", preset="small", settings=quick)
    for path in (folder / "masks").glob("p0[0-8].png"):
        path.unlink()
    two = smidgen.train(folder, out=tmp_path / "b", use="tags", preset="small", settings=quick)
    weights = [run.folder / "model" / "model.safetensors" for run in (one, two)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert "train_pseudo_masks" in one.scores
    assert "train_pseudo_masks" not in two.scores


def test_masks_are_chosen_where_they_are(folder, tmp_path, quick):
    words = Words()
    run = smidgen.train(
        folder, out=tmp_path / "run", preset="small", settings={n: quick[n] for n in ("encoder", "supervised")}, screen=words
    )
    assert [stage for stage, _, _ in words.stages] == ["segment", "predict", "predict"]
    assert any(line.startswith("recipe    masks") for line in words.said)
    assert set(run.scores) == {"val"}


def test_until_a_stage_leaves_pictures_and_no_model(folder, tmp_path, quick):
    run = smidgen.train(folder, out=tmp_path / "run", use="tags", until="localize", preset="small", settings=quick)
    assert not (run.folder / "model").exists()
    assert run.report.is_file()
    with pytest.raises(SettingsError, match="--until"):
        smidgen.train(folder, out=tmp_path / "run", use="tags", until="locate", preset="small", settings=quick)


def test_labeled_plays_a_weak_set(folder, tmp_path, quick):
    words = Words()
    few = {n: quick[n] for n in ("encoder", "supervised")}
    smidgen.train(folder, out=tmp_path / "run", use="masks", labeled="5", preset="small", settings=few, screen=words)
    assert any("5 of 9 training images have masks" in line for line in words.said)
    assert any("the 4 training images without a mask are not used" in line for line in words.said)


def test_all_that_is_broken_is_listed_at_once_and_may_be_left_out(folder, tmp_path, quick):
    whole = (folder / "images" / "p00.png").read_bytes()
    (folder / "images" / "p00.png").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(folder / "masks" / "p01.png")
    few = {n: quick[n] for n in ("encoder", "supervised")}
    with pytest.raises(DataError) as caught:
        smidgen.train(folder, out=tmp_path / "run", preset="small", settings=few)
    assert "p00.png" in str(caught.value)
    assert "p01.png" in str(caught.value)
    assert "p01.png" in (tmp_path / "run" / "log.txt").read_text()
    words = Words()
    smidgen.train(folder, out=tmp_path / "run", preset="small", settings=few, skip_broken=True, screen=words)
    assert sum(line.startswith("left out") for line in words.said) == 2
    assert json.loads((tmp_path / "run" / "scores.json").read_text())["val"]["images"] == 3


def test_nothing_is_written_into_the_users_folder(folder, tmp_path, quick):
    before = sorted(path for path in folder.rglob("*"))
    (folder / "split.csv").unlink()
    smidgen.train(folder, out=tmp_path / "run", preset="small", settings={n: quick[n] for n in ("encoder", "supervised")})
    assert sorted(path for path in folder.rglob("*")) == [path for path in before if path.name != "split.csv"]
    assert (tmp_path / "run" / "split.csv").is_file()


def test_arrays_in_memory_do_as_well(tmp_path, quick):
    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 255, (32, 32, 3), np.uint8) for name in "abcd"}
    data = smidgen.Dataset(images, masks={name: np.eye(32, dtype=np.uint8) for name in "abc"}, classes=["background", "line"])
    run = smidgen.train(data, out=tmp_path / "run", preset="small", settings={n: quick[n] for n in ("encoder", "supervised")})
    assert run.segmenter.classes.names == ("background", "line")
    with pytest.raises(SettingsError, match="one process"):
        smidgen.train(data, out=tmp_path / "run", settings={"machine": {"devices": 2}})


def test_a_recipe_without_what_it_needs_stops_before_training(folder, tmp_path, quick):
    for path in (folder / "masks").iterdir():
        path.unlink()
    (folder / "tags.csv").unlink()
    with pytest.raises((DataError, NeedError), match=r"tags\.csv"):
        smidgen.train(folder, out=tmp_path / "run", preset="small", settings=quick)


def test_again_runs_the_same_words(folder, tmp_path, quick):
    few = {n: quick[n] for n in ("encoder", "supervised")}
    run = smidgen.train(folder, out=tmp_path / "run", preset="small", settings=few)
    before = files(run.folder)
    smidgen.again(tmp_path / "run")
    assert files(run.folder) == before
    moved = run.folder.rename(tmp_path / "moved")
    assert smidgen.again(moved).folder == moved
    assert not run.folder.exists()
