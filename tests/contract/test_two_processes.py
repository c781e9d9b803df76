"""Two processes agree with each other, and with one: all learners and the method of several rounds, in one launch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from toy_learners import LEARNERS, PER_PROCESS
from toy_runs import contents, flat, opened, rounds, trained

from smidgen.core.processes import supervise

FABRIC = Fabric(accelerator="cpu", devices=1)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("both")
    assert supervise(2, folder, [str(Path(__file__).with_name("two_processes.py")), str(folder)]) == 0
    return folder


def test_two_processes_agree_and_equal_one(both, tmp_path):
    found = torch.load(both / "found.pt", weights_only=True)
    difference = {
        make: (found[make.__name__]["parameters"] - flat(trained(make, tmp_path / make.__name__, FABRIC))).abs().max() for make in LEARNERS
    }
    assert all(found[make.__name__]["agree"] for make in LEARNERS)
    assert {make for make in LEARNERS if difference[make] > 1e-6} <= set(PER_PROCESS)


def test_rounds_on_two_processes_equal_one(both, tmp_path):
    rounds(opened(tmp_path, FABRIC))
    one, two = contents(tmp_path), contents(both / "rounds")
    assert two.keys() == one.keys()
    assert {name for name in one if one[name] != two[name]} <= {
        name for name in one if name.endswith(".pt")
    }  # networks differ by roundings


def test_a_signal_to_one_process_stops_both_after_one_step(both):
    found = torch.load(both / "found.pt", weights_only=True)
    assert found["stopped after"] == 5
    assert torch.equal(found["resumed"], found["Supervised"]["parameters"])


def test_no_image_is_lost_or_looked_at_twice(both):
    """Batches of (00 02 04) (06 08 10) (01 03 05) (07 09): every second one each; one with a finished image is done whole."""
    shares = torch.load(both / "found.pt", weights_only=True)["shares"]
    assert shares == [[f"case/{i:02}" for i in share] for share in ((0, 2, 4, 1, 3, 5), (6, 8, 10, 7, 9))]
    assert len(list((both / "shared").rglob("*.npz"))) == 11


def test_nothing_is_left_behind(both):
    assert [path.name for path in both.glob(".*")] == []
