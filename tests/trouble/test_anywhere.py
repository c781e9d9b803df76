"""Rows of kind e: odd places, no network, no graphics card, no display; and networks that have to take images of any size (a59)."""

from __future__ import annotations

import importlib.metadata
import pickle
import re
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from smidgen.cli.main import main

SIZES = {"RGB": (35, 52), "L": (31, 47), "RGBA": (33, 100), "CMYK": (64, 16)}
"""Pixel format -> height and width of an image; none is a multiple of what a network halves."""
STEPS = "--encoder.weights none --machine.threads 1 --supervised.steps 2 --supervised.batch 2 --supervised.crop 32 --preset paper"


def suffix(mode: str) -> str:
    return "jpg" if mode == "CMYK" else "png"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Photos of all formats and sizes in a folder that has a space, an umlaut, parentheses and an ampersand."""
    folder = tmp_path_factory.mktemp("anywhere") / "My Drive (1)" / "ümläut & co"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for mode, (height, width) in SIZES.items():
        noise = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(noise).convert(mode).save(folder / "images" / f"é {mode}.{suffix(mode)}")
        Image.fromarray(np.eye(height, width, dtype=np.uint8)).save(folder / "masks" / f"é {mode}.png")
    (folder / "classes.txt").write_text("background\nthing\n")
    return folder


@pytest.fixture(scope="module")
def trained(place):
    """A run of two steps on all of them."""
    run = place.parent / "rün, 2"
    assert main(["train", str(place), "--out", str(run), "--val", "0.3", *STEPS.split()]) == 0
    return run


@pytest.fixture
def no_network(monkeypatch):
    """Whoever asks for an address or a connection fails the test."""

    def refuse(*words, **named):
        raise AssertionError(f"asks the network: {words}")

    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_every_format_and_size_trains_and_has_a_mask_of_its_size(place, trained, tmp_path, no_network, capsys):
    """Rows a59, a65, e01, e18: sizes, pixel formats, folders with odd names, and no network."""
    out = tmp_path / "Maßken"
    assert main(["predict", str(trained), str(place), "--out", str(out)]) == 0
    for mode, size in SIZES.items():
        with Image.open(out / f"é {mode}.png") as mask:
            assert mask.size == size[::-1]
    assert main(["evaluate", str(trained), str(place), "--split", "all"]) == 0
    assert main(["again", str(trained)]) == 0
    assert "ümläut & co" in (trained / "report.html").read_text(encoding="utf-8").replace("&amp;", "&")
    assert "Traceback" not in capsys.readouterr().err


def test_names_that_are_made_up_can_be_had_everywhere(trained):
    """Row e16: no : ? * < > | \\ and no dot or space at the end, so that Windows takes them."""
    forbidden = re.compile(r'[<>:"|?*\\]|[. ]$')
    assert [path.name for path in trained.rglob("*") if forbidden.search(path.name)] == []


def test_checkpoints_hold_tensors_and_plain_values_only(trained):
    """Row e08: newer versions of PyTorch refuse what holds more."""
    (path,) = trained.rglob("last.pt")
    assert torch.load(path, weights_only=True)["n"] == 2


def test_a_checkpoint_of_a_graphics_card_is_read_without_one(monkeypatch, tmp_path):
    """Row e04: what was trained on a GPU could not be loaded on a CPU."""
    from smidgen.core.fit import read_checkpoint

    path = tmp_path / "last.pt"
    with monkeypatch.context() as patch:
        patch.setattr("torch.serialization.location_tag", lambda storage: "cuda:0")
        torch.save({"n": 1, "networks": {"a": torch.ones(2)}}, path)
    with pytest.raises(RuntimeError, match="CUDA"):
        torch.load(path, weights_only=True)
    assert read_checkpoint(path, torch.device("cpu"))["networks"]["a"].tolist() == [1, 1]


def test_a_pickle_is_never_a_checkpoint(tmp_path, trained, place, capsys):
    """Nothing of a stranger's file is run, wherever it lies."""
    proof = tmp_path / "proof"

    class Evil:
        def __reduce__(self):
            return (open, (str(proof), "w"))

    (place / "images" / "evil.png").write_bytes(pickle.dumps(Evil()))
    try:
        assert main(["predict", str(trained), str(place), "--out", str(tmp_path / "out")]) == 2
    finally:
        (place / "images" / "evil.png").unlink()
    assert "evil.png: not an image" in capsys.readouterr().err and not proof.exists()


def needed(name: str, seen: set[str]) -> set[str]:
    """A distribution and all that it requires without extras, as far as it is installed."""
    plain = re.split(r"[\s<>=!~;\[(]", name, maxsplit=1)[0].lower().replace("_", "-")
    if plain in seen:
        return seen
    seen.add(plain)
    try:
        required = importlib.metadata.requires(plain) or []
    except importlib.metadata.PackageNotFoundError:
        return seen
    for one in required:
        if "extra ==" not in one:
            needed(one, seen)
    return seen


def test_nothing_needs_libraries_for_a_screen():
    """Row e03: OpenCV with windows needs libGL, which containers have not."""
    found = needed("smidgen", set())
    assert "torch" in found and not {one for one in found if one.startswith(("opencv", "pyqt", "pyside", "tk"))}


@pytest.mark.slow
def test_no_window_is_opened():
    """Rows e03, e12: the drawing library draws into files."""
    code = "import sys, smidgen.report.training, matplotlib; sys.exit(bool({'cv2', 'tkinter', 'PyQt5'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
