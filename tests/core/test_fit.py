"""run.fit: what is minimized, what is said when it fails, what is skipped."""

from __future__ import annotations

import csv
import os
import pickle
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from smidgen.core import stopping
from smidgen.core.errors import SettingsError, SmidgenError, TrainingError, WriteError
from smidgen.core.fit import Batches, Stream
from smidgen.core.log import Log
from smidgen.core.run import Run
from smidgen.core.stopping import polite, stop_if_wanted


class Line:
    """One weight w, from 0; minimizes 2 w + x w, so that each step of rate 0.1 moves it by -0.1 (2 + x)."""

    def __init__(self, samples=(1.0,), steps=3, prepare=None, **more):
        self.networks = nn.ModuleDict({"line": nn.Linear(1, 1, bias=False)})
        nn.init.zeros_(self.networks["line"].weight)
        self.optimizers = {"all": torch.optim.SGD(self.networks.parameters(), 0.1)}
        self.streams = {"numbers": Stream(list(samples), 1, prepare or as_tensor)}
        self.steps = steps
        for name, value in more.items():
            setattr(self, name, value)

    def terms(self, batch, turn, at):
        weight = self.networks["line"].weight.sum()
        return {"two": 2 * weight, "x": (batch["numbers"]["x"] * weight).mean()}

    @property
    def weight(self):
        return float(self.networks["line"].weight)


def as_tensor(x):
    return {"x": torch.tensor(float(x))}


def again(run: Run) -> Run:
    return Run(run.folder, run.fabric)._inside(run.folder, run._key)


def logged(run: Run, term: str) -> list[tuple[int, float]]:
    with next(run.folder.rglob("log.csv")).open() as file:
        return [(int(row["step"]), float(row["value"])) for row in csv.DictReader(file) if row["term"] == term]


def test_the_sum_of_all_terms_is_minimized_and_logged(run):
    run.log_every = 2
    line = run.fit("line", Line())
    assert line.weight == pytest.approx(-0.9)
    # w before the steps: 0, -0.3, -0.6; rows are means over two steps, and the rest.
    assert logged(run, "all/two") == [(2, pytest.approx(-0.3)), (3, pytest.approx(-1.2))]
    assert logged(run, "all/x") == [(2, pytest.approx(-0.15)), (3, pytest.approx(-0.6))]
    assert not line.networks.training
    assert not any(parameter.requires_grad for parameter in line.networks.parameters())


def test_schedule_and_clipping(run):
    assert run.fit("half", Line(schedule=lambda progress: 0.5 if progress == 0 else 0)).weight == pytest.approx(-0.15)
    assert run.fit("clipped", Line(clip=1.0)).weight == pytest.approx(-0.3)


def test_a_finished_fit_is_loaded(run):
    first = run.fit("line", Line()).weight
    after = torch.rand(2)
    calls = []
    line = again(run).fit("line", Line(prepare=calls.append))
    assert (line.weight, calls) == (first, [])
    assert torch.equal(torch.rand(2), after)
    assert not line.networks.training


def test_half_a_checkpoint_is_removed(run):
    (run.folder / "01-line").mkdir()
    (run.folder / "01-line" / ".7.part.last.pt").touch()
    run.fit("line", Line())
    assert sorted(path.name for path in (run.folder / "01-line").iterdir()) == ["finished", "last.pt", "log.csv"]


def test_no_steps_are_a_fit_too(run):
    assert run.fit("line", Line(steps=0)).weight == again(run).fit("line", Line(steps=0)).weight == 0


def test_a_broken_checkpoint_is_named(run):
    run.fit("line", Line())
    (run.folder / "01-line" / "last.pt").write_bytes(b"broken")
    with pytest.raises(SmidgenError, match=r"last\.pt: not a readable checkpoint"):
        again(run).fit("line", Line())


def test_a_loss_that_is_not_finite_names_step_samples_and_terms(run):
    samples = [SimpleNamespace(id="good", x=1.0), SimpleNamespace(id="bad", x=float("nan"))]
    with pytest.raises(TrainingError, match=r"step [01], turn 'all'.*two = .*x = nan.*images of this step: bad:"):
        run.fit("line", Line(samples, prepare=lambda sample: as_tensor(sample.x)))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_sample_that_can_not_be_prepared_is_named(run, workers):
    run.workers = workers
    with pytest.raises(TrainingError, match=r"^images/a\.png: could not be prepared for training \(ZeroDivisionError: ") as caught:
        run.fit("line", Line([SimpleNamespace(path="images/a.png")], prepare=lambda sample: 1 / 0))
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("start_method", ["auto", pytest.param("spawn", marks=pytest.mark.slow)])
def test_of_many_pictures_the_unreadable_one_is_named_once(run, start_method):
    """Row e07: an unreadable picture no. 5, two workers."""
    run.workers, run.start_method = 2, start_method
    with pytest.raises(TrainingError) as caught:
        run.fit("line", Line([Picture(i) for i in range(8)], steps=16, prepare=read))
    assert str(caught.value) == "images/5.png: could not be prepared for training (OSError: image file is truncated)"


class Picture:
    def __init__(self, number):
        self.number, self.path = number, f"images/{number}.png"


def read(picture):
    if picture.number == 5:
        raise OSError("image file is truncated")
    return as_tensor(picture.number)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said_by_the_log(run):
    """Once, with file and remedy."""
    log = Log(run.folder / "log.csv", 0, lambda mine: [mine], writes=True)
    log.path.symlink_to("/dev/full")
    with pytest.raises(WriteError, match=r"log\.csv: could not be written \(No space left on device\): make room on its disk"):
        log.flush(10, 1.0)


def test_a_worker_that_dies_is_said_in_words(run):
    run.workers = 1
    with pytest.raises(TrainingError, match=r"a process that prepares samples died.*lower machine\.workers"):
        run.fit("line", Line(prepare=lambda sample: os._exit(3)))


def test_streams_that_can_not_work_are_refused(run):
    with pytest.raises(TrainingError, match="'numbers' has no samples"):
        run.fit("none", Line(samples=()))
    uneven = Line(samples=range(4), steps=9)
    uneven.streams["numbers"] = Stream([1, 2], 1, as_tensor, lambda random: [0] * int(torch.randint(1, 9, (), generator=random)))
    with pytest.raises(TrainingError, match="not as many as epoch 0"):
        run.fit("uneven", uneven)
    with pytest.raises(SettingsError, match="4 processes can't share a batch of 1"):
        Batches(Line().streams, (0,), rank=0, world=4)


def test_what_moves_is_saved(run):
    outside = Line()
    outside.optimizers["more"] = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1)
    with pytest.raises(TrainingError, match=r"turn 'more'.*would not be saved"):
        run.fit("outside", outside)


def noisy(x):
    return {"x": x + torch.rand(())}


def test_processes_share_the_slots_of_a_batch():
    streams = {"numbers": Stream(range(7), 5, noisy)}
    whole = Batches(streams, (0, "fit"))
    shares = [Batches(streams, (0, "fit"), rank, world=2) for rank in range(2)]
    for n in (3, 0):
        one, parts = whole[n]["numbers"]["x"], [share[n]["numbers"]["x"] for share in shares]
        assert torch.equal(one[0::2], parts[0]) and torch.equal(one[1::2], parts[1])
    seen = [int(x) for n in range(7) for x in whole[n]["numbers"]["x"]]
    assert sorted(seen) == sorted([*range(7)] * 5)


def test_batches_pickle_for_workers_that_are_spawned():
    batches = Batches({"numbers": Stream([1, 2], 2, torch.tensor)}, (0,))
    batches.names(0)
    assert pickle.loads(pickle.dumps(batches)).names(3) == batches.names(3)


def test_ctrl_c_saves_and_leaves_and_the_same_command_goes_on(run, tmp_path):
    straight = run.fit("line", Line(range(5), steps=6)).weight

    def press(at):
        if at.n == 2:
            os.kill(os.getpid(), signal.SIGINT)

    other = Run(tmp_path / "other", run.fabric)._inside(tmp_path / "other", "0")
    with polite(), pytest.raises(KeyboardInterrupt):
        other.fit("line", Line(range(5), steps=6, after=press))
    assert torch.load(other.folder / "01-line" / "last.pt", weights_only=True)["n"] == 3
    assert again(other).fit("line", Line(range(5), steps=6)).weight == straight


def test_a_second_signal_ends_at_once():
    with polite():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    with polite():  # nothing is left of it
        stop_if_wanted()


def test_a_step_that_takes_long_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(stopping, "PATIENCE_SECONDS", 0.1)
    began = time.monotonic()

    def long_step():
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(100):
            time.sleep(0.05)

    with polite(), pytest.raises(KeyboardInterrupt):
        long_step()
    assert time.monotonic() - began < 2
    with polite():  # nothing is left of it
        time.sleep(0.2)


def test_politeness_within_politeness_forgets_nothing():
    with polite():
        with polite():
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            stop_if_wanted()


def test_ctrl_c_ends_a_map_after_its_item(run):
    def one(number: int) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return number

    with polite(), pytest.raises(KeyboardInterrupt):
        run.map("numbers", one, {"a": 1, "b": 2})
    assert [path.name for path in run.folder.rglob("*.npz")] == ["a.npz"]
