"""`inspect` tells beforehand about how long it will take: by images for pictures, by steps for volumes."""

from __future__ import annotations

import numpy as np
import pytest

import smidgen
from smidgen.actions import inspect as inspecting
from smidgen.core.screen import Silent

PRESET = """
supervised: {epochs: 2}
seconds_per_image: {supervised: 3.0, windows: 1.0}
volumes:
  encoder: {name: resunet, weights: none}
  head: point
  supervised: {epochs: 0, steps: 60, patch: [8, 8, 8]}
  seconds_per_step: {supervised: 2.0}
  seconds_per_image: {windows: 30.0}
"""


def masked(shape: tuple[int, ...], count: int) -> smidgen.Dataset:
    label = np.zeros(shape, np.uint8)
    label[tuple(slice(2, 5) for _ in shape)] = 1
    images = {f"i{n}": label.astype(np.float32) for n in range(count)}
    return smidgen.Dataset(images, dict.fromkeys(images, label), dims=len(shape), split={"i0": "val"})


@pytest.fixture
def minutes(tmp_path, monkeypatch):
    path = tmp_path / "mine.yaml"
    path.write_text(PRESET)
    monkeypatch.setattr(inspecting, "cores", lambda: 2)
    return lambda data, preset=str(path): smidgen.inspect(data, preset=preset, screen=Silent())


def test_pictures_cost_by_image_and_volumes_by_step(minutes):
    assert minutes(masked((16, 16), 4)).minutes == pytest.approx(3 * (3 + 1) / 60)
    volumes = minutes(masked((8, 8, 8), 4))
    assert volumes.minutes == pytest.approx((60 * 2 + 3 * 30) / 60)
    assert "time      about 4 min on this machine (2 cores)" in volumes.lines


def test_what_a_preset_does_not_know_is_not_guessed(minutes, tmp_path):
    path = tmp_path / "other.yaml"
    path.write_text(PRESET.replace("seconds_per_step: {supervised: 2.0}", "seconds_per_step: {dtc: 2.0}"))
    assert minutes(masked((8, 8, 8), 4), str(path)).minutes is None
