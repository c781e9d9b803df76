"""What the report shows of a head that reasons by object regions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import smidgen
from smidgen.actions.reporting import Outcome, _val_pictures
from smidgen.parts.networks import settings as networks
from smidgen.parts.networks.encoders import EncoderFactory
from smidgen.parts.networks.factories import HeadFactory
from smidgen.parts.networks.heads.settings import Ocr
from smidgen.parts.networks.network import Network
from smidgen.products.sample import Classes
from smidgen.products.segmenter import Architecture, Segmenter
from smidgen.report.training import TrainingReport, html

CLASSES = Classes(("background", "cat", "dog"))


def report(head: HeadFactory) -> str:
    torch.manual_seed(0)
    encoder = networks.Encoder(weights="none")
    body = EncoderFactory(encoder)()
    network = Network(body, head(body.channels, body.strides, 3))
    model = Segmenter(network, Architecture(encoder, head.name, head.settings, CLASSES))
    images = [np.full((32, 40, 3), 40 * n, np.uint8) for n in range(3)]
    val = smidgen.Dataset(images, masks=[np.ones((32, 40), np.uint8)] * 3, classes=CLASSES.names, split=["val"] * 3)
    said = {id: model.predict(sample.image()) for id, sample in val.samples.items()}
    outcome = Outcome(val, val, {"val": said}, None, None, None, {}, None, segmenter=model)
    pictures = tuple(_val_pictures(outcome, {id: float(one.confidence.mean()) for id, one in said.items()}))
    return html(TrainingReport("x", CLASSES, pictures=pictures))


@pytest.mark.parametrize("with_regions", [True, False])
def test_regions_are_shown_where_the_head_has_them(with_regions):
    page = report(HeadFactory("ocr", Ocr(width=16, key_width=8)) if with_regions else HeadFactory("fcn"))
    assert ("object regions" in page) == with_regions
    assert ("evidence, none to strong" in page) == with_regions
