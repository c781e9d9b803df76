"""`train --calibrate`: a network that is too sure by a known amount gets exactly that back, from masks that it did not see."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

import smidgen
from smidgen.core.errors import SettingsError
from smidgen.core.screen import Silent
from smidgen.data.dataset import Dataset
from smidgen.data.splits import folds

SHIFT = 0.65
METHOD = '''
"""Sees everything and is too sure of the foreground (nobody, nowhere 2026): known without training."""
import json
from pathlib import Path

import torch
from torch import nn

from smidgen.core.settings import Frozen
from smidgen.parts.networks.encoders import Encoder
from smidgen.parts.networks.network import Network
from smidgen.parts.networks.prediction import Prediction
from smidgen.parts.networks.settings import Encoder as Settings
from smidgen.parts.networks.heads.settings import Point
from smidgen.products.segmenter import Architecture, Segmenter


class TooSure(Frozen):
    """Nothing to say."""

    shift: float = 0.65
    """Added to the logit of the foreground."""


class Values(Encoder):
    def __init__(self, dims):
        nn.Module.__init__(self)
        self.channels, self.strides, self.dims = (1,), (1,), dims

    def forward(self, x):
        return [x]


class Brighter(nn.Module):
    stride = 1

    def __init__(self, shift, middle):
        super().__init__()
        self.shift, self.middle = nn.Parameter(torch.tensor(shift)), middle

    def forward(self, features, size):
        bright = 5 * (features[0] - self.middle)
        return Prediction(torch.cat([torch.zeros_like(bright), bright + self.shift], dim=1))


def too_sure(run, settings, data) -> Segmenter:
    with Path("seen.jsonl").open("a") as file:
        seen = {kind: sorted(getattr(data, kind)) for kind in ("train", "labeled")}
        file.write(json.dumps(seen) + "\\n")
    about = {"dims": data.dims, "zscored": data.zscored, "patch": 8}
    architecture = Architecture(Settings(name="resunet", weights="none"), "point", Point(), data.classes, 1, **about)
    return Segmenter(Network(Values(data.dims), Brighter(settings.shift, 0.0 if data.zscored else 0.5)), architecture)
'''


def scene(seed: int):
    """Gray values of which those above the middle are the foreground; every value is there once."""
    image = np.random.default_rng(seed).permutation(np.linspace(0, 1, 400)).reshape(20, 20).astype(np.float32)
    return image, (image > 0.5).astype(np.uint8)


@pytest.fixture
def scenes(tmp_path, monkeypatch):
    """Six images of three patients with masks, one patient without, and one image to validate."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "knows.py").write_text(METHOD)
    monkeypatch.delitem(sys.modules, "knows", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    made = {f"p{n}": scene(n) for n in range(9)}
    masks = {id: mask for id, (_, mask) in made.items() if id not in ("p6", "p7")}
    return Dataset(
        images={id: image for id, (image, _) in made.items()},
        masks=masks,
        classes=["background", "bright"],
        split={id: "val" if id == "p8" else "train" for id in made},
        groups={id: f"patient {n // 2}" for n, id in enumerate(made)},
    )


def trained(data, folder, **more):
    settings = {"too_sure": {"shift": SHIFT}} | more.pop("settings", {})
    return smidgen.train(
        data, out=folder, recipe="masks", segment="knows:too_sure", preset="small", settings=settings, screen=Silent(), **more
    )


def biases(run):
    return json.loads((run.folder / "model" / "model.json").read_text())["biases"]


def test_the_known_shift_comes_back_from_masks_that_were_held_out(scenes, tmp_path):
    run = trained(scenes, tmp_path / "run", calibrate=3)
    assert biases(run) == [0.0, -SHIFT]
    told = json.loads((tmp_path / "run" / "calibration.json").read_text())
    assert told["biases"] == told["tried"] == {"background": 0.0, "bright": -SHIFT}
    assert told["dice"] < 0.96 and told["dice_calibrated"] == told["dice_crossed"] == 1
    assert set(told["per_case"]) == {f"p{n}" for n in range(6)}
    first, *shares = map(json.loads, (tmp_path / "seen.jsonl").read_text().splitlines())
    assert first["train"] == [f"p{n}" for n in range(8)]
    left_out = [set(first["train"]) - set(share["train"]) for share in shares]
    assert sorted(map(sorted, left_out)) == [["p0", "p1"], ["p2", "p3"], ["p4", "p5"]]  # patients stay together
    assert run.scores["val"]["miou"] < 0.96 and run.scores["val_calibrated"]["miou"] == 1
    assert "val, model with class biases" in (tmp_path / "run" / "report.html").read_text()


def test_it_is_done_once_and_changes_nothing_unless_wished(scenes, tmp_path):
    plain = trained(scenes, tmp_path / "plain")
    run = trained(scenes, tmp_path / "run", calibrate=2)
    before = (tmp_path / "run" / "calibration.json").stat().st_mtime_ns
    trained(scenes, tmp_path / "run", calibrate=2)
    assert (tmp_path / "run" / "calibration.json").stat().st_mtime_ns == before
    assert len((tmp_path / "seen.jsonl").read_text().splitlines()) == 1 + 3 + 3  # methods run again and fall through what is mapped and fit
    assert plain.scores["val"] == run.scores["val"]
    assert biases(plain) == []
    wished = trained(scenes, tmp_path / "wished", calibrate=2, settings={"windows": {"calibrated": True}})
    assert wished.scores["val"] == run.scores["val_calibrated"]
    assert "val_calibrated" not in wished.scores


def test_val_is_never_read(scenes, tmp_path):
    masks = {id: 1 - sample.label() if id == "p8" else sample.label() for id, sample in scenes.samples.items() if sample.read_label}
    images = {id: sample.image()[0] for id, sample in scenes.samples.items()}
    split, groups = ({id: getattr(sample, name) for id, sample in scenes.samples.items()} for name in ("split", "group"))
    run = trained(Dataset(images, masks, classes=scenes.classes.names, split=split, groups=groups), tmp_path / "run", calibrate=2)
    assert biases(run) == [0.0, -SHIFT]
    assert run.scores["val_calibrated"]["miou"] == 0


@pytest.mark.parametrize("dims", [2, 3])
def test_volumes_are_held_out_case_by_case_and_only_labeled_ones(scenes, tmp_path, dims):
    """Four volumes of three patients, of which one has no mask; a network of slices learns slices, and whole cases are predicted."""
    rng = np.random.default_rng(0)
    made = {f"v{n}": rng.permutation(np.linspace(0, 1, 6 * 9 * 10)).reshape(6, 9, 10) for n in range(5)}
    masks = {id: (volume > 0.5).astype(np.uint8) for id, volume in made.items() if id != "v3"}
    groups = {"v0": "a", "v1": "a", "v2": "b", "v3": "b", "v4": "c"}
    split = {id: "val" if id == "v4" else "train" for id in made}
    data = Dataset(made, masks, classes=["background", "bright"], split=split, groups=groups, dims=3)
    run = trained(data, tmp_path / "run", calibrate=2, dims=dims)
    assert biases(run) == [0.0, -SHIFT]
    assert set(json.loads((run.folder / "calibration.json").read_text())["per_case"]) == {"v0", "v1", "v2"}
    assert run.scores["val_calibrated"]["volumes"]["mean_dice"]["mean"] == 1
    seen = [{id[:2] for id in json.loads(line)["train"]} for line in (tmp_path / "seen.jsonl").read_text().splitlines()]
    assert sorted(map(sorted, seen)) == [["v0", "v1"], ["v0", "v1", "v2", "v3"], ["v2", "v3"]]


def test_what_does_not_help_cases_that_did_not_choose_it_is_not_kept(scenes, tmp_path):
    """Masks of one half lie above the middle, of the other half below: either half would choose the wrong bias for the other one."""
    images = {id: sample.image()[0] for id, sample in scenes.train.items()}
    data = Dataset(images, {id: image > 0.5 for id, image in images.items()}, classes=["background", "bright"])
    first = folds(data.train, 2, 0)[0]
    masks = {id: (image > (0.45 if id in first else 0.55)).astype(np.uint8) for id, image in images.items()}
    data = Dataset(images, masks, classes=["background", "bright"])
    run = trained(data, tmp_path / "run", calibrate=2, settings={"too_sure": {"shift": 0.0}})
    told = json.loads((tmp_path / "run" / "calibration.json").read_text())
    assert told["dice_crossed"] <= told["dice"]
    assert biases(run) == [0.0, 0.0]
    assert "val_calibrated" not in run.scores


def test_what_can_not_be_calibrated_is_refused_before_anything_is_trained(scenes, tmp_path):
    for changed, what in (
        ({"calibrate": 4}, "calibrate = 4: only 3 groups"),
        ({"calibrate": 1}, "expected at least 2"),
        ({"calibrate": 2, "minutes": 5.0}, "leave one of them out"),
        ({"settings": {"windows": {"calibrated": True}}}, r"windows\.calibrated: nothing measures"),
    ):
        with pytest.raises(SettingsError, match=what):
            trained(scenes, tmp_path / "run", **changed)
    assert not (tmp_path / "seen.jsonl").exists()
