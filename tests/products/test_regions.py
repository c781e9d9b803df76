from __future__ import annotations

import numpy as np
import pytest
import torch

from smidgen.parts.networks import settings as networks
from smidgen.parts.networks.encoders import EncoderFactory
from smidgen.parts.networks.factories import HeadFactory
from smidgen.parts.networks.heads.settings import Ocr
from smidgen.parts.networks.network import Network
from smidgen.products.regions import Regions, object_regions
from smidgen.products.sample import Classes
from smidgen.products.segmenter import Architecture, Segmenter


def segmenter(head: HeadFactory, size: int = 0) -> Segmenter:
    torch.manual_seed(0)
    encoder = networks.Encoder(weights="none")
    body = EncoderFactory(encoder)()
    network = Network(body, head(body.channels, body.strides, 3))
    return Segmenter(network, Architecture(encoder, head.name, head.settings, Classes(("background", "cat", "dog"), 0), size=size))


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).random((3, 40, 70), np.float32)


def test_regions_are_scaled_and_cover_the_image(image):
    model = segmenter(HeadFactory("ocr", Ocr(width=16, key_width=8)))
    found = object_regions(model, image)
    assert found.soft.shape == found.relation.shape == (3, 5, 9)  # ceil of 40 / 8 and 70 / 8
    assert found.soft.max(axis=(1, 2)).tolist() == [1, 1, 1]
    assert np.allclose(found.relation.sum(axis=0), 1, atol=1e-5)
    assert found.size == (40, 70)
    assert ((found.peak > 1 / (5 * 9 * 4)) & (found.peak < 1)).all()
    assert object_regions(segmenter(HeadFactory("ocr", Ocr(width=16, key_width=8)), size=32), image).soft.shape == (3, 3, 4)


def test_other_heads_have_none(image):
    assert object_regions(segmenter(HeadFactory("fcn")), image) is None
    assert object_regions(segmenter(HeadFactory("ocr", Ocr(width=16, key_width=8, context=False))), image) is None


def test_they_can_be_shown_as_evidence():
    soft = np.arange(12, dtype=np.float32).reshape(3, 2, 2) / 11
    regions = Regions(soft, soft, np.array([1, 2, 3], np.float32), (16, 16))
    shown = regions.heatmaps((0, 2), background=0)
    assert shown.ids == (2,) and shown.peak.tolist() == [3]
    assert np.array_equal(shown.maps, soft[2:]) and np.array_equal(shown.background, soft[0])
    assert regions.heatmaps((0, 2)).background is None
    assert regions._repr_png_().startswith(b"\x89PNG")
