"""Training that other tools have stopped, or let go wrong: small batches, blank labels, workers, killed saves."""

from __future__ import annotations

import csv
import itertools
import math
import os
import random
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from smidgen.core.errors import TrainingError
from smidgen.core.fit import Batches, Stream, _Training, read_checkpoint
from smidgen.core.run import Run
from smidgen.data.dataset import Dataset
from smidgen.data.transforms import Augmentation
from smidgen.methods.segment import settings
from smidgen.methods.segment.supervised import supervised
from smidgen.parts.losses.settings import Balanced, Dice
from smidgen.parts.losses.sums import LossFactory
from smidgen.parts.networks import settings as networks
from smidgen.parts.networks.encoders import Encoder, EncoderFactory
from smidgen.parts.networks.factories import HeadFactory

QUICK = settings.Supervised(crop=32, batch=4, steps=2, optimizer="adamw", lr_encoder=1e-4, lr_head=1e-3)


class Line:
    """One weight; the samples are numbers, or whatever `prepare` makes of them."""

    def __init__(self, samples=(1.0, 2.0), steps=3, prepare=None, size=1, width=1):
        self.networks = nn.ModuleDict({"line": nn.Linear(width, width, bias=False)})
        self.optimizers = {"all": torch.optim.SGD(self.networks.parameters(), 0.1)}
        self.streams = {"numbers": Stream(list(samples), size, prepare or as_tensor)}
        self.steps = steps

    def terms(self, batch, turn, at):
        return {"x": batch["numbers"]["x"].float().mean() * self.networks["line"].weight.mean()}


def as_tensor(x):
    return {"x": torch.tensor(float(x))}


class Pools(EncoderFactory):
    """Means of 4 to 32 pixels and a convolution: a pyramid for every head, in milliseconds."""

    key = "pools"

    def __init__(self):
        self.settings, self.in_channels = networks.Encoder(), 3

    def __call__(self):
        return Pyramid()


class Pyramid(Encoder):
    def __init__(self):
        nn.Module.__init__(self)
        self.channels, self.strides = (8,) * 4, (4, 8, 16, 32)
        self.levels = nn.ModuleList(nn.Conv2d(3, 8, 1) for _ in self.strides)

    def forward(self, images):
        return [level(nn.functional.avg_pool2d(images, stride)) for level, stride in zip(self.levels, self.strides, strict=True)]


def photos(count: int, masks=None, names=("background", "thing"), size=(32, 32)) -> Dataset:
    """Noise with masks: a square unless they are given."""
    rng = np.random.default_rng(0)
    square = np.zeros(size, np.uint8)
    square[8:20, 8:20] = 1
    images = [rng.integers(0, 255, (*size, 3), np.uint8) for _ in range(count)]
    return Dataset(images, masks=[square] * count if masks is None else masks, classes=list(names))


def trained(run, data: Dataset, how: settings.Supervised = QUICK, head="fcn", loss="ce"):
    return supervised(run, how, data, Pools(), HeadFactory(head), LossFactory(loss))


def losses(run) -> list[float]:
    with next(run.folder.rglob("log.csv")).open() as file:
        return [float(row["value"]) for row in csv.DictReader(file) if not row["term"].startswith("lr")]


@pytest.mark.parametrize(("count", "batch"), [(5, 4), (1, 4), (1, 1)])
def test_a_last_batch_of_one_image_trains(run, count, batch):
    """Row b01: batch statistics of one picture pooled to one place ended the run."""
    segmenter = trained(run, photos(count), QUICK.model_copy(update={"batch": batch}), head="aspp")
    assert all(map(math.isfinite, losses(run)))
    assert all(value.isfinite().all() for value in segmenter.network.state_dict().values())


@pytest.mark.parametrize("loss", ["ce", "balanced", "dice", "0.5*dice+ce"])
def test_pictures_without_a_stroke_cost_nothing_and_end_nothing(run, loss):
    """Row b14: a batch of nothing but unlabeled pixels gave 0/0, which stayed for the rest of the run."""
    stroke, blank = np.full((32, 32), 255, np.uint8), np.full((32, 32), 255, np.uint8)
    stroke[5, 5:25], stroke[20, 5:25] = 0, 1
    run.log_every = 1
    trained(run, photos(4, [stroke, stroke, stroke, blank]), QUICK.model_copy(update={"batch": 1, "steps": 4}), loss=loss)
    values = losses(run)
    assert all(map(math.isfinite, values)) and 0 in values and max(values) > 0


def test_pictures_without_any_object_train(run):
    """Row b17: all-background pictures brought nan, and an index beyond the last class."""
    square, empty = np.zeros((32, 32), np.uint8), np.zeros((32, 32), np.uint8)
    square[8:20, 8:20] = 1
    trained(run, photos(3, [square, empty, empty]), QUICK.model_copy(update={"batch": 1, "steps": 3}), loss="0.5*dice+balanced")
    assert all(map(math.isfinite, losses(run)))


def test_a_class_without_a_pixel_keeps_the_loss_finite(run):
    """Row b53: weights of classes by their frequency became infinite for a class that never occurs."""
    trained(run, photos(2, names=("background", "a", "b", "c")), loss="balanced+dice")
    assert all(map(math.isfinite, losses(run)))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_an_object_that_fills_the_picture_is_counted_in_32_bits(kind):
    """Row b51: sums over 512 x 512 pixels pass 65,504, the largest number of 16 bits."""
    logits = torch.randn(1, 2, 128, 128, generator=torch.Generator().manual_seed(0)).to(kind)
    label = torch.ones(1, 512, 512, dtype=torch.long)
    for loss in (LossFactory("dice", {"dice": Dice(over="all")}), LossFactory("balanced", {"balanced": Balanced()}), LossFactory("ce")):
        with torch.autocast("cpu", dtype=kind):
            found = loss(logits, label)
        assert found.isfinite().all() and found.item() == pytest.approx(loss(logits.float(), label).item(), abs=1e-5)


def test_the_same_discs_in_three_codings_cost_the_same(run):
    """Row b22: 0 and 255 as black and white made Dice exceed 1 and the loss negative."""
    disc = (np.hypot(*np.mgrid[-16:16, -16:16]) < 9).astype(np.uint8)
    red = disc[..., None] * np.array([255, 0, 0], np.uint8)
    curves = []
    for n, mask in enumerate((disc, 255 * disc, red)):
        torch.manual_seed(0)
        inside = run._inside(run.folder / str(n), "same")
        trained(inside, photos(2, [mask, mask]), loss="dice")
        curves.append(losses(inside))
    assert curves[0] == curves[1] == curves[2] and all(0 <= value <= 1 for value in curves[0])


def crop(picture) -> dict[str, torch.Tensor]:
    """Where a view of a picture begins, by its own values; and random numbers of each library."""
    ramp = torch.arange(1000 * 8, dtype=torch.float32).numpy().reshape(1, 1000, 8) / 8000
    view = Augmentation(crop=8)(ramp, np.zeros((1000, 8), np.uint8))
    drawn = [float(view.image[0, 0, 0]), float(np.random.rand()), random.random(), float(torch.rand(()))]
    return {"x": torch.tensor(drawn), "worker": torch.tensor(os.getpid())}


def test_random_numbers_differ_between_workers_and_epochs_and_not_between_runs(tmp_path, run):
    """Row b18: each worker had the same random numbers, so augmentation repeated itself."""
    seen: list[tuple] = []

    class Watching(Line):
        def terms(self, batch, turn, at):
            seen.extend(tuple(row) for row in batch["numbers"]["x"].tolist())
            workers.extend(batch["numbers"]["worker"].tolist())
            return super().terms(batch, turn, at)

    runs, workers = [], []
    for n, count in enumerate((4, 4, 0)):
        seen.clear()
        inside = run._inside(tmp_path / str(n), "same")
        inside.workers = count
        inside.fit("crops", Watching(range(8), steps=8, prepare=crop, size=2))  # two epochs
        runs.append(list(seen))
    assert runs[0] == runs[1] == runs[2] and len(set(workers)) == 9
    for numbers in zip(*runs[0], strict=True):
        assert len(set(numbers)) >= 15  # of 16; two crops in 993 may meet


def test_every_unlabeled_picture_is_used_while_the_labeled_ones_repeat():
    """Row b49: a zip of a short and a long loader stops with the shorter one."""
    streams = {"labeled": Stream([0, 1], 2, as_tensor), "unlabeled": Stream(list(range(30)), 4, as_tensor)}
    batches = Batches(streams, (0,))
    used = {name: [int(x) for n in range(15) for x in batches[n][name]["x"]] for name in streams}
    assert sorted(used["unlabeled"]) == sorted([*range(30)] * 2)  # 60 slots: each exactly twice, once an epoch
    assert sorted(used["unlabeled"][:30]) == list(range(30))
    assert used["labeled"].count(0) == used["labeled"].count(1) == 15


def test_too_little_shared_memory_is_said_with_the_way_out(run, monkeypatch):
    """Row b34: workers die with a bus error where a container has 64 MB of shared memory; or torch says that there is none."""
    run.workers = 1
    way_out = r"lower machine\.workers .*--shm-size"
    with pytest.raises(TrainingError, match=rf"^a process that prepares samples died \(DataLoader worker .*{way_out}") as caught:
        run.fit("line", Line(prepare=lambda x: os.kill(os.getpid(), signal.SIGBUS)))
    assert "\n" not in str(caught.value)

    def no_space(samples):
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr("smidgen.core.fit.default_collate", no_space)  # as torch does it where batches are put together
    with pytest.raises(TrainingError, match=rf"unable to allocate shared memory.*{way_out}") as caught:
        run.fit("again", Line())
    assert "Traceback" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_twenty_kills_while_saving_leave_a_whole_checkpoint(run):
    """Row b36: a kill in the middle of saving left half a checkpoint, on which the next start failed."""
    checkpoint, times, reached = run.folder / "01-line" / "last.pt", random.Random(0), [0]
    checkpoint.parent.mkdir()
    for _ in range(20):
        child = os.fork()
        if not child:
            try:
                saves_on_and_on(run, checkpoint)
            finally:
                os._exit(1)
        before, started = written(checkpoint), time.monotonic()
        while written(checkpoint) == before and time.monotonic() - started < 30:
            time.sleep(0.001)
        time.sleep(times.random() / 50)  # it is on its next saves now
        os.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        reached.append(read_checkpoint(checkpoint, torch.device("cpu"))["n"])
    assert reached == sorted(set(reached))
    line = run.fit("line", Line(width=300, steps=reached[-1] + 1))  # the next start goes on from there
    assert line.networks["line"].weight.isfinite().all()
    assert sorted(path.name for path in checkpoint.parent.iterdir()) == ["finished", "last.pt", "log.csv"]


def written(checkpoint: Path) -> int:
    """When, in ns; 0 = not yet."""
    return checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0


def saves_on_and_on(run: Run, checkpoint: Path) -> None:
    training = _Training(run.fabric, Line(width=300), checkpoint, (0,))
    for n in itertools.count(training.start + 1):
        training.save(n)


def test_pictures_that_can_not_be_prepared_are_named_whatever_the_batch(run):
    """Rows b01, e07: the one bad picture of a batch of four is named, not its batch."""
    samples = [SimpleNamespace(id=f"p{i}", x=i) for i in range(4)]
    with pytest.raises(TrainingError, match=r"^p2: could not be prepared"):
        run.fit("line", Line(samples, prepare=lambda one: {"x": torch.tensor(1 / (one.x - 2))}, size=4))
