"""CAM against a hand-computed map and the network asked directly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pytest import approx
from torch import tensor
from torch.nn.functional import interpolate

from smidgen.core.errors import ShapeError
from smidgen.methods.localize.cam import activation, cam, shape
from smidgen.methods.localize.settings import Cam
from smidgen.products.sample import Sample


def test_evidence_is_the_mean_of_positive_logits_of_both_views():
    logits = tensor([[[[[2.0, -1]]], [[[3.0, 4]]]]])  # the second view is a mirror image: 3 belongs to the right place
    assert activation(logits).flatten().tolist() == [(2 + 4) / 2, (0 + 3) / 2]


def test_map_of_one_scale_is_the_networks_own(run, data, classifier):
    found = cam(run, Cam(scales=(1.0,)), data, classifier)["c"]  # 20 x 16 pixels, stride 4: places are those of the heatmap
    image = torch.from_numpy(data.tagged["c"].image())[None]
    straight, mirrored = classifier.class_maps(image)[0, 1].relu(), classifier.class_maps(image.flip(-1))[0, 1].relu().flip(-1)
    expected = (straight + mirrored) / 2
    assert found.ids == (2,) and found.maps.shape == (1, 5, 4)
    assert found.maps[0] == approx((expected / (expected.max() + 1e-5)).numpy(), abs=1e-6)
    assert found.peak == approx([float(expected.max())])


def test_scales_are_added_on_the_grid(run, data, classifier):
    found = cam(run, Cam(scales=(1.0, 2.0)), data, classifier)["c"]
    image = torch.from_numpy(data.tagged["c"].image())[None]
    total = 0
    for size in ((20, 16), (40, 32)):
        view = interpolate(image, size=size, mode="bilinear", antialias=True)
        seen = (classifier.class_maps(view)[:, 1:2].relu() + classifier.class_maps(view.flip(-1))[:, 1:2].relu().flip(-1)) / 4
        total = total + interpolate(seen, size=(5, 4), mode="bilinear")
    assert found.maps[0] == approx((total / (total.max() + 1e-5))[0, 0].numpy(), abs=1e-5)


def test_an_image_known_to_hold_nothing_has_background_alone(run, data, classifier):
    found = cam(run, Cam(threshold=0.2), data, classifier)["d"]
    assert found.ids == () and found.maps.shape == (0, 6, 8)
    assert (found.background == np.float32(0.2)).all()


def test_volumes_are_refused_in_words():
    sample = Sample("v", lambda: np.zeros((1, 4, 8, 8), np.float32), (4, 8, 8), tags=(1,), path="scan.nii.gz")
    with pytest.raises(ShapeError, match=r"scan\.nii\.gz: expected a 2D image, found 3 dimensions"):
        shape(sample, Cam(), 4)
