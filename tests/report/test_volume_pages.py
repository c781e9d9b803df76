"""Volumes on a page: where they are cut, how they are drawn, what the tables say."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from smidgen.parts.metrics.cases import Cases
from smidgen.parts.metrics.confusion import Confusion
from smidgen.parts.metrics.surface import structures
from smidgen.products.colors import PALETTE
from smidgen.products.sample import Classes
from smidgen.report import pictures, volumes
from smidgen.report.content import ScoreRow
from smidgen.report.training import TrainingReport, html, verdict
from smidgen.report.volumes import VolumePicture, case_rows, cuts, notes

CLASSES = Classes(("background", "<b>atrium</b>", "wall"))


def volume():
    """5 slices of 6 x 8; the largest area of class 1 is in slice 3, its center at row 2 and column 5."""
    label = np.zeros((5, 6, 8), np.uint8)
    label[2, 2, 5] = 1
    label[3, 1:4, 4:7] = 1
    label[0] = 255
    return label


def decoded(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")).astype(int)


def test_it_is_cut_where_the_truth_is_largest_and_through_its_center():
    image = np.random.default_rng(0).normal(size=(1, 5, 6, 8)).astype(np.float32)
    z, y, x = cuts(image, volume(), volume(), (10.0, 1.5, 2))
    assert [(one.plane, one.at, one.of) for one in (z, y, x)] == [("z", 3, 5), ("y", 2, 6), ("x", 5, 8)]
    assert [one.spacing for one in (z, y, x)] == [(1.5, 2), (10, 2), (10, 1.5)]
    assert_array_equal(z.truth, volume()[3])
    assert_array_equal(y.truth, volume()[:, 2])
    assert_array_equal(x.prediction, volume()[:, :, 5])
    assert z.image.min() >= 0
    assert z.image.max() <= 1


def test_without_a_true_structure_the_prediction_says_where_to_cut_and_else_the_middle():
    nothing, image = np.zeros((5, 6, 8), np.uint8), np.zeros((1, 5, 6, 8), np.float32)
    assert [one.at for one in cuts(image, volume(), nothing)] == [3, 2, 5]
    assert [one.at for one in cuts(image, nothing, None)] == [2, 3, 4]


def test_head_and_front_are_up_where_axes_point_somewhere():
    image = np.zeros((1, 5, 6, 8), np.float32)
    axial, coronal, sagittal = cuts(image, None, volume(), oriented=True)
    assert (axial.plane, coronal.plane, sagittal.plane) == ("axial", "coronal", "sagittal")
    assert_array_equal(axial.truth, volume()[3, ::-1, ::-1])
    assert_array_equal(coronal.truth, volume()[::-1, 2, ::-1])
    assert_array_equal(sagittal.truth, volume()[::-1, ::-1, 5])


def test_pictures_have_the_proportions_of_the_voxels():
    image = np.zeros((1, 4, 20), np.float32)
    _, size = pictures.with_outlines(image, None, None, PALETTE, aspect=2.5, longest=200)
    assert size == (200, 100)


def test_truth_is_tinted_within_white_and_the_prediction_a_line_of_its_color():
    image, truth, said = np.full((1, 40, 40), 0.4, np.float32), np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    truth[5:35, 5:20], said[5:35, 22:38] = 1, 1
    drawn = decoded(pictures.with_outlines(image, truth, said, PALETTE)[0])
    redness = drawn[..., 0] - drawn[..., 1:].max(axis=-1)  # class 1 is red
    assert drawn[160, 40].min() > 200, "the left rim of the truth is white"
    assert 20 < redness[160, 100] < 60 < redness[160, 176], "a tint inside of the truth; a line around the prediction"
    assert redness[160, 165] < 5
    assert np.abs(drawn[160, 240] - 102).max() < 12, "within the prediction the image is as it was"


@pytest.fixture(scope="module")
def row():
    cases, kept = Cases(CLASSES.names[1:], "voxels"), Cases(CLASSES.names[1:], "voxels")
    confusion = Confusion(CLASSES.names)
    for n in range(3):
        truth = volume()
        truth[truth == 255] = 0
        said = np.roll(truth, n, axis=2) if n < 2 else np.zeros_like(truth)
        confusion.add(truth, said)
        cases = cases.adding(f"case {n}", structures(truth, said, [1, 2]))
        kept = kept.adding(f"case {n}", structures(truth, truth, [1, 2]))
    return ScoreRow("val, model", confusion, cases=cases, largest=kept)


def page_of(row, **more):
    image = np.random.default_rng(0).normal(size=(1, 5, 6, 8)).astype(np.float32)
    shown = VolumePicture("case <i>0</i>", cuts(image, volume(), volume()), 0.875, {"<b>atrium</b>": 0.875, "wall": None}, None, "best")
    return TrainingReport("x", CLASSES, volumes=(shown,), scores=(row,), **more)


def test_the_page_tells_all_of_it(row):
    report = page_of(row)
    text = html(report)
    for words in ("HD95", "ASSD", "voxels", "case 2: &lt;b&gt;atrium&lt;/b&gt; was missed", "largest piece", "z, 4 of 5", "mean Dice 87.5"):
        assert words in text, words
    assert "<b>atrium" not in text
    assert "<i>0" not in text
    assert "boundary F" not in text, "outlines are counted in pictures only"
    assert verdict(report) == f"Val {volumes.headline(row.cases)}."


def test_tables_put_the_worst_case_first(row):
    rows = case_rows(row.cases)
    assert [one["case"] for one in rows] == ["case 2", "case 1", "case 0"]
    assert rows[0]["found"][0]["only"] == "truth"
    assert rows[0]["found"][1] is None
    assert case_rows(None) == []


def test_misses_units_and_islands_are_distrusted(row):
    told = " ".join(note.text for note in notes(row))
    for words in ("1 structure is in truth or prediction only", "in voxels", "largest piece"):
        assert words in told


def test_pictures_of_images_are_as_they_were(row):
    text = html(TrainingReport("x", CLASSES, scores=(ScoreRow("val, model", row.confusion),)))
    for words in ("Structures, over", "HD95", "voxels", 'id="cases"'):
        assert words not in text
