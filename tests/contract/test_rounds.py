"""A method of several rounds of maps and fits: wherever it is interrupted, running it again gives what it would have given."""

from __future__ import annotations

import pytest
from lightning_fabric import Fabric
from toy_runs import Stopped, contents, copied, opened, rounds

FABRIC = Fabric(accelerator="cpu", devices=1)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    run = opened(folder, FABRIC)
    result = rounds(run)
    assert result.key == run.finished[-1].key
    return folder


def test_everything_is_kept(undisturbed):
    names = [name.split("/") for name in contents(undisturbed)]
    steps = {step for _, stage, step, *_ in names if stage.startswith("refine")}
    assert steps == {"01-views", "02-seeds", "03-pixels-0", "04-relabel-0", "05-mix-0", "06-pixels-1", "07-relabel-1", "08-mix-1"}
    assert len({stage for _, stage, *_ in names}) == 3  # the method, and a training for each round's labels


def test_a_second_time_nothing_is_done(undisturbed, tmp_path):
    copied(undisturbed, tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    rounds(opened(tmp_path, FABRIC, stop_after=1))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == times
    assert contents(tmp_path) == contents(undisturbed)


def finished(folder) -> bool:
    """Goes on with the run for one item or step; whether none was left."""
    try:
        rounds(opened(folder, FABRIC, stop_after=1))
    except Stopped:
        return False
    return True


def test_interrupted_after_every_item_and_step(undisturbed, tmp_path):
    stops = 0
    while not finished(tmp_path):
        stops += 1
    # 6 views, 2 batches of seeds; twice: 6 and 4 steps, 6 items relabeled, 6 mixed.
    assert stops == 6 + 2 + 2 * (6 + 6 + 4 + 6)
    assert contents(tmp_path) == contents(undisturbed)


def test_a_result_that_was_lost_is_made_again(undisturbed, tmp_path):
    copied(undisturbed, tmp_path)
    lost = [next(tmp_path.rglob("*refine*/05-mix-0/case/3.npz")), next(tmp_path.rglob("*refine*/02-seeds/case/2.npz"))]
    for path in lost:
        path.unlink()
    rounds(opened(tmp_path, FABRIC))
    assert contents(tmp_path) == contents(undisturbed)
