"""Warm start: parameters carried over, rows of known classes by name, and what does not fit is refused."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from smidgen.core.errors import WeightsError
from smidgen.products.warm import Origin, WarmStart, start_from


def head(classes: int, width: int = 3) -> nn.Module:
    """One layer with a row for each class, behind one that has as many rows whatever the classes are."""
    return nn.Sequential(nn.Linear(2, width), nn.Linear(width, classes))


def network(classes: int, width: int = 3) -> nn.Module:
    return nn.ModuleDict({"encoder": nn.Linear(4, 2), "head": head(classes, width)})


def numbered(made: nn.Module) -> nn.Module:
    """Every parameter counts up from 0."""
    with torch.no_grad():
        for value in made.state_dict().values():
            value.copy_(torch.arange(value.numel()).reshape(value.shape))
    return made


def test_known_classes_keep_their_rows_wherever_they_stand():
    # The old network has three classes, as many as its hidden layer has rows: those are no rows of classes.
    old, new = numbered(network(3)), network(4)
    fresh = {name: value.clone() for name, value in new.state_dict().items()}
    origin = Origin("runs/old", "toy", ("background", "cat", "dog"), old.state_dict)
    start_from(new, origin, ("background", "ant", "dog", "cat"), head)
    found = new.state_dict()
    for name in ("encoder.weight", "encoder.bias", "head.0.weight", "head.0.bias"):
        assert torch.equal(found[name], old.state_dict()[name])
    assert found["head.1.weight"][[0, 2, 3]].tolist() == [[0, 1, 2], [6, 7, 8], [3, 4, 5]]
    assert found["head.1.bias"][[0, 2, 3]].tolist() == [0, 2, 1]
    assert torch.equal(found["head.1.weight"][1], fresh["head.1.weight"][1])
    assert torch.equal(found["head.1.bias"][1], fresh["head.1.bias"][1])


def test_a_class_that_is_gone_is_left_behind():
    old, new = numbered(network(3)), network(2)
    start_from(new, Origin("runs/old", "toy", ("background", "cat", "dog"), old.state_dict), ("background", "dog"), head)
    assert new.state_dict()["head.1.bias"].tolist() == [0, 2]


@pytest.mark.parametrize(
    "other",
    [network(3, width=5), nn.ModuleDict({"encoder": nn.Linear(4, 2), "head": nn.Linear(2, 3)}), network(2)],
    ids=["another width", "another head", "another number of classes than it says"],
)
def test_another_architecture_is_refused_with_the_encoder_it_needs(other):
    origin = Origin("runs/old", "resnet18", ("background", "cat", "dog"), other.state_dict)
    with pytest.raises(WeightsError, match=r"--warm-from runs/old: its network has another architecture.*encoder is resnet18"):
        start_from(network(3), origin, ("background", "cat", "dog"), partial(head))


def test_a_segmenter_at_hand_is_a_warm_start():
    from smidgen.parts.networks.factories import HeadFactory
    from smidgen.parts.networks.settings import Encoder
    from smidgen.products.sample import Classes
    from smidgen.products.segmenter import Architecture, Segmenter

    settings = HeadFactory("fcn").settings
    architecture = Architecture(Encoder(weights="none"), "fcn", settings, Classes(("background", "cat")))
    segmenter = Segmenter(architecture.build(), architecture, key="abc")
    warm = WarmStart.of(segmenter)
    assert (warm.key, warm.networks) == ("abc", ("segmenter",))
    fresh = architecture.build()
    body = fresh.encoder
    start_from(fresh, warm.segmenter, ("background", "cat"), partial(HeadFactory("fcn", settings), body.channels, body.strides))
    for name, value in segmenter.network.state_dict().items():
        assert torch.equal(value, fresh.state_dict()[name])
