"""Tags, pictures and pseudo-masks that teach nothing, or lose what they taught."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from smidgen.data.checks import content_remarks, examine, remarks, verify
from smidgen.data.dataset import Dataset
from smidgen.methods.label import settings as labeling
from smidgen.methods.label.argmax import decided
from smidgen.parts.imaging.certainty import by_crf, by_thresholds
from smidgen.parts.imaging.views import normalized
from smidgen.parts.metrics.confusion import count
from smidgen.parts.metrics.presence import false_alarms, without_a_pixel
from smidgen.products.heatmaps import Heatmaps


@pytest.mark.parametrize("level", [0.0, 1e-30, 0.7])
def test_an_activation_that_is_equal_everywhere_is_finite(level):
    """Row b47: a constant gray picture gave 0/0 where maps are scaled to their range."""
    maps, peak = normalized(np.full((2, 5, 6), level, np.float32))
    assert np.isfinite(maps).all() and ((maps >= 0) & (maps <= 1)).all() and peak == pytest.approx(level)
    heat = Heatmaps(maps, (1, 2), np.full((5, 6), 0.3, np.float32), peak, (20, 24))
    label = decided(heat, labeling.Argmax(), 0)
    assert np.isfinite(label.confidence).all() and set(np.unique(label.label)) <= {0, 1, 2, 255}
    gray = np.full((3, 5, 6), 0.5, np.float32)
    for seeds in (by_thresholds(maps, (1, 2), 0.6, 0.3, 0), by_crf(gray, maps, (1, 2), 0.6, 0.3, 0)):
        assert set(np.unique(seeds)) <= {0, 1, 2, 255}
    if level < 0.1:  # it shows nothing, and is counted
        assert (label.label == 0).all()
        assert without_a_pixel([(label.label, (1, 2))], ("background", "a", "b")) == {
            "a": {"tagged": 1, "without_a_pixel": 1},
            "b": {"tagged": 1, "without_a_pixel": 1},
        }


def test_pixels_of_each_tag_are_counted_so_that_a_class_that_vanishes_shows():
    """Row b23: after some rounds pseudo-masks held background only, and nobody saw it."""
    names = ("background", "common", "rare")
    first = [(np.array([[0, 1, 2]]), (1, 2)), (np.array([[0, 0, 1]]), (1,)), (np.array([[0, 0, 0]]), ())]
    later = [(np.array([[0, 1, 1]]), (1, 2)), (np.array([[0, 255, 1]]), (1,)), (np.array([[0, 0, 0]]), ())]
    assert without_a_pixel(first, names)["rare"] == {"tagged": 1, "without_a_pixel": 0}
    assert without_a_pixel(later, names) == {"common": {"tagged": 2, "without_a_pixel": 0}, "rare": {"tagged": 1, "without_a_pixel": 1}}


def test_false_alarms_on_images_without_objects_are_told_apart():
    """Row b17: what is wrong on all-background pictures vanishes in a mean over all."""
    clean = np.zeros((10, 10), np.uint8)
    thing, alarm = clean.copy(), clean.copy()
    thing[:5], alarm[0, :4] = 1, 1
    pairs = [(clean, clean), (clean, alarm), (thing, clean), (np.full((10, 10), 255, np.uint8), alarm)]
    counts = [count(truth, said, 2) for truth, said in pairs]
    assert false_alarms(counts, 0) == {"images": 2, "with_false_alarms": 1, "share_of_pixels": 4 / 200}
    assert false_alarms(counts[2:], 0) is None and false_alarms(counts, None) is None


def arrays(count: int, **labels) -> Dataset:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (8, 8, 3), np.uint8) for _ in range(count)]
    return Dataset(images, **labels)


def test_tags_without_a_picture_that_lacks_them_are_remarked():
    """Row b26: with the one tag on every picture heatmaps come out black or white; tags object / none are fine."""
    every = arrays(12, tags=[["object"]] * 12)
    assert remarks(every) == ["tags: object in every train image: without images that lack it, tags can't tell where it is"]
    assert remarks(arrays(12, tags=[["object"], []] * 6)) == []


def test_a_class_that_validation_lacks_is_remarked():
    """Rows b31 and b53: masks of val without a single pixel of a class, and a class that no mask of train holds."""
    one, none = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    one[:3] = 1
    split = ["train"] * 5 + ["val"] * 3
    data = arrays(8, masks=[one] * 5 + [none] * 3, classes=["background", "building", "road"], split=split)
    assert content_remarks(data, examine(data)) == [
        "masks: road in no train mask: can't be learned from masks",
        "masks: building, road in no val mask: can't be scored",
    ]


def test_copies_across_the_split_are_counted(photos):
    """Row b33: neighbors and copies on both sides of the split make scores too good."""
    for n in range(6):
        photos.image(f"images/{n}.png", np.full((12, 16, 3), n, np.uint8))
        photos.mask(f"masks/{n}.png")
    photos.image("images/copy.png", np.full((12, 16, 3), 0, np.uint8))
    photos.mask("masks/copy.png")
    photos.text("classes.txt", "background\nthing\n")
    photos.text("split.csv", "filename,split\n" + "".join(f"{n}.png,train\n" for n in range(5)) + "5.png,val\ncopy.png,val\n")
    data = Dataset.open(photos.path)
    assert content_remarks(data, examine(data)) == ["images: 1 of val are copies of images of train (copy): scores may be too good"]
    photos.text("split.csv", "filename,split\n" + "".join(f"{n}.png,train\n" for n in range(6)) + "copy.png,train\n")
    data = Dataset.open(photos.path)
    assert content_remarks(data, examine(data)) == []


@pytest.mark.parametrize("count", [1, 2])
def test_one_and_two_labeled_pictures_are_enough_and_what_can_be_scored_is_said(tmp_path, count):
    """Row b27: two cases could not be split in five, so training stopped. Row b31: and what the masks of val lack is said."""
    import smidgen
    from smidgen.core.screen import Silent

    class Words(Silent):
        def __init__(self):
            self.said: list[str] = []

        def say(self, text):
            self.said.append(text)

    torch.set_num_threads(1)
    mask = np.zeros((32, 32), np.uint8)
    mask[8:20, 8:20] = 1
    rng, words = np.random.default_rng(0), Words()
    images = [rng.integers(0, 256, (32, 32, 3), np.uint8) for _ in range(count)]
    data = Dataset(images, [mask, 0 * mask][:count], classes=["background", "thing"]).drawn(val=0.2)
    assert len(data.labeled) == 1 and len(data.val) == count - 1
    settings = {"encoder": {"weights": "none"}, "supervised": {"steps": 1, "epochs": 0, "batch": 2, "crop": 32}}
    if count == 2 and "thing" not in {data.classes.names[i] for one in data.labeled.values() for i in np.unique(one.label())}:
        data = Dataset(images[::-1], [0 * mask, mask], classes=["background", "thing"]).drawn(val=0.2)
    run = smidgen.train(data, out=tmp_path / "run", preset="paper", settings=settings, screen=words)
    assert run.segmenter.classes.names == ("background", "thing")
    if count == 1:
        assert run.scores == {}
    else:
        assert run.scores["val"]["unseen"] == ["thing"] and run.scores["val"]["intervals"] is None
        assert run.scores["val"]["images_without_objects"]["images"] == 1
        assert "note      masks: thing in no val mask: can't be scored" in words.said


def test_nothing_is_wrong_with_pictures_of_one_gray(photos):
    """Row b47: a constant picture with a tag is data like any other."""
    photos.image("images/gray.png", np.full((12, 16), 128, np.uint8))
    photos.image("images/noise.png")
    photos.text("tags.csv", "filename,tags\ngray.png,A\nnoise.png,\n")
    assert verify(Dataset.open(photos.path)) == []
