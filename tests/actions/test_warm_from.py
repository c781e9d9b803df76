"""`--warm-from`: an earlier run's networks are where training starts; with added classes, and what is refused."""

from __future__ import annotations

import pytest
import torch

import smidgen
from smidgen.core.errors import SettingsError, UsageError, WeightsError
from smidgen.core.fit import read_checkpoint


def networks(run):
    """Parameters of the trained classifier and segmenter."""
    (path,) = run.folder.glob("stages/classify-*/01-classifier/last.pt")
    return read_checkpoint(path, torch.device("cpu"))["networks"], run.segmenter.network.state_dict()


def distance(one, other):
    return max(float((value - other[name]).abs().max()) for name, value in one.items())


def keys(run):
    return {path.name for path in (run.folder / "stages").iterdir()}


@pytest.mark.slow
def test_it_goes_on_from_both_networks_of_an_earlier_run(folder, tmp_path, quick):
    words = {"use": "tags", "preset": "small", "settings": quick}
    still = {"gap": {"steps": 1, "rate": 1e-9, "head_rate": 1e-9}, "supervised": {"steps": 1, "lr_encoder": 1e-9, "lr_head": 1e-9}}
    hardly = words | {"settings": quick | {name: quick[name] | values for name, values in still.items()}}
    first = smidgen.train(folder, out=tmp_path / "first", **words)
    cold = smidgen.train(folder, out=tmp_path / "cold", **hardly)
    warm = smidgen.train(folder, out=tmp_path / "warm", **hardly, warm_from=first.folder)
    for trained, left_alone, started in zip(networks(first), networks(cold), networks(warm), strict=True):
        assert distance(trained, started) < 1e-6 < 1e-4 < distance(trained, left_alone)
    assert not keys(warm) & keys(cold)
    again = smidgen.train(folder, out=tmp_path / "warm", **hardly, warm_from=first.folder)
    assert keys(again) == keys(warm)
    third = smidgen.train(folder, out=tmp_path / "third", **hardly, warm_from=cold.folder)
    assert not keys(third) & keys(warm)


def test_a_class_may_be_added_and_a_model_without_stages_does(folder, tmp_path, quick):
    few = {name: quick[name] for name in ("encoder", "supervised")}
    first = smidgen.train(folder, out=tmp_path / "first", preset="small", settings=few)
    (folder / "classes.txt").write_text("background\nstar\nsquare\ndisc\n")  # the masks' 1 and 2 mean something else now: only names count
    few["supervised"] = few["supervised"] | {"steps": 1, "lr_encoder": 1e-9, "lr_head": 1e-9}
    words = {"preset": "small", "settings": few, "warm_from": first.folder / "model"}
    run = smidgen.train(folder, out=tmp_path / "more", **words)
    assert run.segmenter.classes.names == ("background", "star", "square", "disc")
    before, after = (one.segmenter.network.state_dict() for one in (first, run))
    rows = [name for name in before if before[name].shape != after[name].shape]
    assert rows
    for name, value in before.items():
        there = after[name][[0, 2, 3]] if name in rows else after[name]
        assert torch.allclose(there, value, rtol=0, atol=1e-6)
    assert keys(smidgen.train(folder, out=tmp_path / "more", **words)) == keys(run)


def test_what_can_not_be_started_from_is_said(folder, tmp_path, quick):
    few = {name: quick[name] for name in ("encoder", "supervised")}
    words = {"preset": "small", "settings": few}
    first = smidgen.train(folder, out=tmp_path / "first", **words)
    with pytest.raises(UsageError, match="no trained network there"):
        smidgen.train(folder, out=tmp_path / "other", warm_from=tmp_path, **words)
    with pytest.raises(UsageError, match="choose another --out"):
        smidgen.train(folder, out=first.folder, warm_from=first.folder, **words)
    with pytest.raises(WeightsError, match=r"another architecture.*tf_efficientnet_lite0"):
        smidgen.train(folder, out=tmp_path / "other", warm_from=first.folder, head="fcn", **words)


def test_what_nothing_can_start_from_is_refused():
    from smidgen.actions.warming import used
    from smidgen.core.plan import Plan
    from smidgen.products.warm import WarmStart

    plan = Plan(("encoder", "head", "loss", "warm_from"))
    plan.stage("semi", "cps", None)
    with pytest.raises(SettingsError, match="nothing in this recipe \\(semi cps\\) can start from another network"):
        used(plan, WarmStart("key"))
    plan.stage("segment", "supervised", None)
    assert used(plan, WarmStart("key")) is plan and used(plan, None) is plan
