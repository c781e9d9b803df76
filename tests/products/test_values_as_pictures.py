"""Values show themselves in notebooks: as PNG data, small, with the right colors, without torch."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from smidgen.data.dataset import Dataset
from smidgen.products import pictures
from smidgen.products.colors import PALETTE
from smidgen.products.heatmaps import Heatmaps
from smidgen.products.labels import LabelMap
from smidgen.products.scores import Scores

LABEL = np.zeros((40, 60), np.uint8)
LABEL[10:30, 20:40] = 1
LABEL[:5] = 255


def opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def dataset(tags=None):
    images = {"cat": np.full((40, 60, 3), 128, np.uint8), "none": np.zeros((40, 60, 3), np.uint8)}
    return Dataset(images, masks={"cat": LABEL}, tags=tags, classes=["background", "<cat>"])


def test_a_label_map_has_the_colors_of_the_palette():
    shown = opened(LabelMap(LABEL)._repr_png_())
    assert shown.shape == (128, 192, 3)
    assert shown[64, 96].tolist() == PALETTE[1].tolist()
    assert shown[120, 10].tolist() == [0, 0, 0]
    assert shown[2, 2].tolist() == PALETTE[255].tolist()


def test_scores_show_the_confidence_beside_the_classes():
    shown = opened(Scores(LABEL, np.full((40, 60), 0.5, np.float32))._repr_png_())
    assert shown.shape == (128, 2 * 192 + pictures.GAP, 3)
    assert abs(int(shown[64, 300, 0]) - 128) < 3


def test_heatmaps_show_each_class_and_nothing_where_there_is_none():
    maps = np.stack([np.zeros((10, 15), np.float32), np.ones((10, 15), np.float32)])
    found = Heatmaps(maps, (1, 2), None, np.ones(2, np.float32), (40, 60))
    shown = opened(found._repr_png_())
    assert shown[64, 96].sum() < 30 < 500 < shown[64, 300].sum()
    assert Heatmaps(maps[:0], (), None, np.ones(0, np.float32), (40, 60))._repr_png_() is None


def test_volumes_show_their_middle_slice():
    volume = np.zeros((5, 40, 60), np.uint8)
    volume[2] = 1
    assert opened(LabelMap(volume)._repr_png_())[64, 96].tolist() == PALETTE[1].tolist()


def test_a_sample_shows_image_and_label():
    shown = opened(dataset().samples["cat"]._repr_png_())
    assert shown.shape == (128, 2 * 192 + pictures.GAP, 3)
    assert abs(int(shown[100, 20, 0]) - 128) < 3
    assert opened(dataset().samples["none"]._repr_png_()).shape == (128, 192, 3)


def test_a_dataset_is_a_page_whose_text_is_escaped_and_whose_pictures_are_small():
    page = dataset(tags={"cat": ["<cat>"], "none": []})._repr_html_()
    assert "&lt;cat&gt;" in page
    assert "<cat>" not in page
    assert "known to hold none" in page
    assert "tags unknown" in dataset()._repr_html_()
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(found) == 2
    seen = opened(base64.b64decode(found[0]))
    assert max(seen.shape[:2]) == pictures.LONGEST
    mixed = 128 * (1 - pictures.SHADE) + PALETTE[1] * pictures.SHADE
    assert np.abs(seen[64, 96] - mixed).max() < 3
    assert len(page) < 8000


def test_a_photo_stays_under_twenty_kilobytes():
    skimage = pytest.importorskip("skimage.data")
    photo = skimage.astronaut().transpose(2, 0, 1).astype(np.float32) / 255
    assert 2000 < len(pictures.png(pictures.small(pictures.of_image(photo)))) < 20_000


def test_nothing_of_it_needs_torch():
    code = (
        "import sys, numpy as np; from smidgen.data.dataset import Dataset; data = Dataset([np.zeros((8, 8, 3), np.uint8)], tags=[['a']]);"
        "data._repr_html_(); data.samples['000']._repr_png_(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_channels_that_are_no_colors_are_stretched_and_get_colors():
    ramp = np.linspace(0.1, 0.2, 101, dtype=np.float32)[None]
    flat = np.full_like(ramp, 0.7)
    five = pictures.of_image(np.stack([ramp, flat, 1 - ramp, flat, flat]))
    assert five[0, 50].tolist() == [128, 0, 128] or five[0, 50].tolist() == [127, 0, 127]
    assert five[0, 0].tolist() == [0, 0, 255] and five[0, 100].tolist() == [255, 0, 0]
    two = pictures.of_image(np.stack([ramp, 1 - ramp]))
    assert two[0, 0].tolist() == [255, 0, 255] and two[0, 100].tolist() == [0, 255, 0]
    assert pictures.of_image(ramp[None])[0, 50].tolist() == [38] * 3  # gray as it is: 0.15 * 255
    assert pictures.channels_shown(3) == pictures.channels_shown(1) == ""
