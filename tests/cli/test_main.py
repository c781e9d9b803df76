"""The command line in process: words in, exit codes and text out."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import smidgen
from smidgen.actions.predict import predict
from smidgen.cli.main import commands, main
from smidgen.cli.options import parse


@pytest.fixture
def folder(tmp_path):
    """Four tiny photos with tags, two of them with masks."""
    (tmp_path / "data" / "images").mkdir(parents=True)
    (tmp_path / "data" / "masks").mkdir()
    rng = np.random.default_rng(0)
    for name in "abcd":
        Image.fromarray(rng.integers(0, 255, (24, 32, 3), np.uint8)).save(tmp_path / "data" / "images" / f"{name}.png")
    for name in "ab":
        Image.fromarray(np.eye(24, 32, dtype=np.uint8)).save(tmp_path / "data" / "masks" / f"{name}.png")
    (tmp_path / "data" / "classes.txt").write_text("background\nthing\n")
    (tmp_path / "data" / "tags.csv").write_text("filename,tags\na.png,thing\nb.png,thing\nc.png,\nd.png,\n")
    return tmp_path / "data"


def test_commands_are_the_actions_and_the_python_functions():
    for name in commands():
        assert callable(getattr(importlib.import_module(f"smidgen.actions.{name}"), name))
    assert {name for name in smidgen.__all__ if name.islower() and not name.startswith("_")} == set(commands()) - {"methods"}
    for name in set(commands()) - {"methods"}:
        assert getattr(smidgen, name) is getattr(importlib.import_module(f"smidgen.actions.{name}"), name)


def test_help_lists_every_command_with_a_line(capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    for name in commands():
        assert f"  {name}" in text


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"smidgen {smidgen.__version__}\n"


def test_an_unknown_command_is_named_with_the_nearest(capsys):
    assert main(["trian"]) == 2
    assert "did you mean 'train'" in capsys.readouterr().err


def test_help_of_train_teaches_methods_settings_and_units(capsys):
    assert main(["train", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for word in ("--use", "--skip-broken", "--advcam.steps", "--encoder.name", "--machine.devices", "AdvCAM"):
        assert word in text


def test_help_of_train_lists_what_can_be_said_and_what_is_usual(capsys):
    assert main(["train", "--help", "--preset", "paper"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "None" not in text
    for words in (
        "--out PATH",
        "--use {tags,masks,sparse}",
        "(masks, mixed, semi, tags",
        "(advcam, cam; default: advcam)",
        "--gap.flip, --gap.no-flip",
    ):
        assert words in text


def test_several_images_are_one_argument_and_none_is_an_error(capsys):
    assert parse(predict, "smidgen predict", ["RUN", "a.png", "b.png", "--flip"])["images"] == (Path("a.png"), Path("b.png"))
    assert parse(predict, "smidgen predict", ["RUN", "photos"])["images"] == Path("photos")
    assert main(["predict", "RUN"]) == 2
    assert "IMAGES is missing" in capsys.readouterr().err


def test_a_path_that_can_not_be_written_is_named(capsys, folder):
    (folder / "file").write_text("")
    assert main(["train", str(folder), "--out", str(folder / "file" / "run"), "--encoder.weights", "none"]) == 1
    assert str(folder / "file") in capsys.readouterr().err


def test_wrong_data_leave_no_run_folder(capsys, tmp_path):
    assert main(["train", str(tmp_path / "nowhere"), "--out", str(tmp_path / "run")]) == 2
    assert not (tmp_path / "run").exists()


def test_a_named_method_pulls_its_settings_in(capsys):
    assert main(["train", "--localize", "cam", "--help"]) == 0
    text = capsys.readouterr().out
    assert "--cam.scales" in text
    assert "--advcam.steps" not in text


def test_a_wrong_word_gets_a_suggestion_and_exit_code_2(capsys, folder):
    assert main(["train", str(folder), "--advcam.stepz", "3"]) == 2
    assert "steps" in capsys.readouterr().err


def test_settings_that_the_recipe_does_not_use_are_an_error(capsys, folder, tmp_path):
    words = ["train", str(folder), "--out", str(tmp_path / "run"), "--recipe", "masks", "--advcam.steps", "3", "--encoder.weights", "none"]
    assert main(words) == 2
    assert "has no place for it" in capsys.readouterr().err


def test_inspect_tells_labels_recipe_and_next_step(capsys, folder):
    assert main(["inspect", str(folder), "--use", "tags", "--val", "0"]) == 0
    text = capsys.readouterr().out
    assert "4 images" in text
    assert "recipe    tags" in text
    assert "classify gap → localize advcam" in text
    assert f"next      smidgen train {folder} --use tags --val 0.0" in text


def test_a_missing_folder_is_wrong_data(capsys, tmp_path):
    assert main(["inspect", str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_methods_lists_all_and_shows_settings(capsys):
    assert main(["methods"]) == 0
    text = capsys.readouterr().out
    for name in ("gap", "cam", "advcam", "walk", "argmax", "supervised", "fpn", "dice"):
        assert name in text
    assert main(["methods", "advcam"]) == 0
    assert "--advcam.steps" in capsys.readouterr().out
    assert main(["methods", "advcm"]) == 2
    capsys.readouterr()
    assert main(["methods", "dtc", "--preset", "small"]) == 0
    text = capsys.readouterr().out
    assert "for volumes, small has:" in text and "patch (32, 56, 64)" in text and "for slices, small has:" in text


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["methods"], ["inspect", "DATA"]])
def test_quick_commands_import_no_torch(words, folder):
    words = [str(folder) if word == "DATA" else word for word in words]
    heavy = "any(name in sys.modules for name in ('torch', 'timm'))"
    code = f"import sys; from smidgen.cli.main import main; code = main({words!r}); sys.exit(code or {heavy})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_help_is_quick():
    code = "import time; from smidgen.cli.main import main; main(['--help']); print(time.process_time())"
    best = min(
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()[-1]) for _ in range(3)
    )
    assert best < 0.6  # 0.1 s on a quiet machine; the promise is 0.3
