"""What calls give back, in a notebook: a run's pictures, the least certain masks first."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
from PIL import Image

from smidgen.actions.predict import Predicted
from smidgen.actions.results import TrainedRun
from smidgen.actions.shown import write_sheet
from smidgen.products.masks import write_mask, write_strips

IMAGE = np.full((3, 20, 30), 0.5, np.float32)


def test_a_run_shows_its_score_and_twelve_pictures_from_best_to_worst(tmp_path):
    ids = [f"p{n:02}" for n in range(20)]
    samples = dict.fromkeys(ids, SimpleNamespace(shown=lambda: (IMAGE, None)))
    predictions = dict.fromkeys(ids, SimpleNamespace(label=np.ones((20, 30), np.uint8)))
    write_sheet(tmp_path, samples, predictions, {id: 1 - n / 20 for n, id in enumerate(ids)}, 0)
    (tmp_path / "scores.json").write_text(
        '{"val": {"miou": 0.5, "miou_is_mean_of": "2 classes", "iou": {"background": 0.75, "a<b": null}}}'
    )
    page = TrainedRun(tmp_path)._repr_html_()
    assert page.count("<img") == 12
    assert page.index("p00") < page.index("p10") < page.index("p19")
    for words in ("val mIoU 50.0, the mean over 2 classes", "<td>75.0</td>", "a&lt;b", "n/a", "report.html"):
        assert words in page


def test_a_run_without_pictures_or_scores_shows_where_it_is(tmp_path):
    page = TrainedRun(tmp_path)._repr_html_()
    assert str(tmp_path) in page
    assert "<img" not in page


def test_predicted_masks_lie_over_their_images_the_least_certain_first(tmp_path):
    confidence = {}
    for n, name in enumerate(("sure", "unsure", "moved")):
        Image.fromarray(np.full((20, 30, 3), 128, np.uint8)).save(tmp_path / f"{name}.jpg")
        write_mask(tmp_path / "masks" / f"{name}.png", np.ones((20, 30), np.uint8))
        confidence[str(tmp_path / f"{name}.jpg")] = 0.9 - 0.3 * n
    masks = {image: str(tmp_path / "masks" / image.rpartition("/")[2].replace("jpg", "png")) for image in confidence}
    (tmp_path / "moved.jpg").unlink()
    page = Predicted(tmp_path / "masks", masks, confidence, {})._repr_html_()
    assert re.findall(r'alt="(\w+)\.jpg  (\d+) % sure"', page) == [("unsure", "60"), ("sure", "90")]
    assert "3 masks" in page
    assert "no masks" in Predicted(tmp_path, {}, {}, {})._repr_html_()


def test_masks_in_the_numbers_of_the_data_have_the_colors_of_their_classes(tmp_path):
    """16-bit masks among them."""
    Image.fromarray(np.full((20, 30, 3), 128, np.uint8)).save(tmp_path / "a.png")
    write_mask(tmp_path / "plain.png", np.ones((20, 30), np.uint8))
    write_strips(tmp_path / "wide.png", (20, 30), [np.full((20, 30), 700, np.uint16)], wide=True)
    image = str(tmp_path / "a.png")
    pages = [
        Predicted(tmp_path, {image: str(tmp_path / name)}, {image: 0.5}, {}, values)._repr_html_()
        for name, values in (("plain.png", ()), ("wide.png", (0, 700)))
    ]
    assert pages[0] == pages[1]
