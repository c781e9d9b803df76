"""From tags to places, end to end: red squares on the left, green ones on the right, known only by their tags."""

from __future__ import annotations

import numpy as np
import torch

from smidgen.data.dataset import Dataset
from smidgen.methods.classify.gap import gap
from smidgen.methods.classify.settings import Gap
from smidgen.methods.localize.advcam import advcam
from smidgen.methods.localize.cam import cam
from smidgen.methods.localize.settings import Advcam, Cam
from smidgen.parts.networks.encoders import EncoderFactory
from smidgen.parts.networks.settings import Encoder

SIZE, SQUARE = 48, 20


def scene(tags: tuple[int, ...], generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    image = generator.random((SIZE, SIZE, 3)).astype(np.float32) * 0.2 + 0.3
    label = np.zeros((SIZE, SIZE), np.uint8)
    for tag in tags:
        y, x = generator.integers(0, SIZE - SQUARE), generator.integers(0, 4) + SIZE // 2 * (tag - 1)
        image[y : y + SQUARE, x : x + SQUARE] = np.eye(3, dtype=np.float32)[tag - 1]
        label[y : y + SQUARE, x : x + SQUARE] = tag
    return image, label


def test_squares_are_found_where_they_are(run):
    generator = np.random.default_rng(0)
    kinds = ((), (1,), (2,), (1, 2))
    scenes = {str(n): scene(kinds[n % 4], generator) for n in range(16)}
    data = Dataset(
        images={id: image for id, (image, _) in scenes.items()},
        tags={id: list(kinds[int(id) % 4]) for id in scenes},
        classes=["background", "red", "green"],
    )
    training = Gap(
        optimizer="adamw", rate=3e-3, head_rate=3e-2, steps=25, batch=8, long_side=(48, 48), crop=48, schedule="cosine", score_size=0
    )
    torch.manual_seed(0)  # as a stage does when it starts
    classifier = gap(run, training, data, EncoderFactory(Encoder(name="test_efficientnet", weights="none", stride=8)))
    found = [cam(run._inside(run.folder / "cam", "cam"), Cam(scales=(1.0,)), data, classifier)]
    for point in ("pixels", "blocks.1"):
        settings = Advcam(scales=(1.0,), steps=4, point=point, step_unit="half-range", step_size=0.02)
        found.append(advcam(run._inside(run.folder / point, point), settings, data, classifier))
    for maps in found:
        contrast = []
        for id, (_, label) in scenes.items():
            for tag, heat in zip(maps[id].ids, maps[id].maps, strict=True):
                here = label[2::4, 2::4] == tag
                contrast.append(heat[here].mean() - heat[~here].mean())
        assert len(contrast) == 16
        assert np.mean(contrast) > 0.2, contrast
