"""The tag classifier: its loss and schedules by hand, and a toy it must solve."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from pytest import approx
from torch import tensor

from smidgen.core.errors import DataError, ShapeError
from smidgen.data.dataset import Dataset
from smidgen.methods.classify.gap import Tagging, balance, gap, rate_factor, tag_loss, view
from smidgen.methods.classify.settings import Gap
from smidgen.parts.networks.encoders import EncoderFactory
from smidgen.parts.networks.settings import Encoder
from smidgen.products.sample import Sample
from smidgen.products.tag_classifier import TagClassifier, leaner

TOY = Gap(
    optimizer="adamw",
    rate=3e-3,
    head_rate=3e-2,
    decay=0.0,
    steps=60,
    batch=8,
    long_side=(24, 40),
    crop=32,
    schedule="cosine",
    warmup=0.1,
    score_size=32,
)


def encoder() -> EncoderFactory:
    return EncoderFactory(Encoder(name="test_efficientnet", weights="none"))


def picture(tags: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Gray noise with a red square for tag 1 on its left half and a green one for tag 2 on its right half."""
    image = generator.random((3, 32, 32)).astype(np.float32) * 0.2 + 0.3
    for tag in tags:
        y, x = generator.integers(0, 18), generator.integers(0, 4) + 16 * (tag - 1)
        image[:, y : y + 14, x : x + 12] = np.eye(3, dtype=np.float32)[tag - 1][:, None, None]
    return image


@pytest.fixture
def data() -> Dataset:
    generator = np.random.default_rng(0)
    kinds = ((), (1,), (2,), (1, 2))
    tags = {f"{part}{n}": kinds[n % 4] for part in ("train", "val") for n in range(16)}
    images = {id: picture(kind, generator).transpose(1, 2, 0) for id, kind in [*tags.items(), ("unknown", ())]}
    split = {id: "val" if id.startswith("val") else "train" for id in images}
    return Dataset(images=images, tags={id: list(kind) for id, kind in tags.items()}, classes=["background", "red", "green"], split=split)


def sample(tags: tuple[int, ...] | None, size: tuple[int, int] = (20, 30), channels: int = 3) -> Sample:
    values = np.linspace(0, 1, channels * size[0] * size[1], dtype=np.float32).reshape(channels, *size)
    return Sample("one", lambda: values, size, channels, tags)


def test_loss_is_one_question_per_class():
    logits, tags = tensor([[np.log(3), 0.0]]).float(), tensor([[1.0, 0.0]])
    assert tag_loss(logits, tags, torch.ones(2)).item() == approx((np.log(4 / 3) + np.log(2)) / 2)
    assert tag_loss(logits, tags, tensor([5.0, 5.0])).item() == approx((5 * np.log(4 / 3) + np.log(2)) / 2)


def test_rare_tags_weigh_more_up_to_the_limit():
    samples = [sample((1, 3))] + [sample((1,))] * 7 + [sample((2,))] * 8
    assert balance(samples, (1, 2, 3, 4), 0.5, 20.0).tolist() == approx([1, 1, 15**0.5, 1])
    assert balance(samples, (1, 2, 3, 4), 1.0, 10.0).tolist() == [1, 1, 10, 1]
    assert balance(samples, (1, 2, 3, 4), 0.0, 20.0).tolist() == [1, 1, 1, 1]


def test_rates_rise_and_fall():
    assert rate_factor(0.5, 0.1, Gap(power=0.9)) == approx(0.5**0.9)
    assert [rate_factor(p, 0.1, Gap(schedule="cosine")) for p in (0.0, 0.5)] == approx([1, 0.5])
    assert [rate_factor(p, 0.1, Gap(schedule="constant", warmup=0.4)) for p in (0.0, 0.1, 0.3, 0.9)] == approx([0.25, 0.5, 1, 1])


def test_a_view_has_the_crops_size_and_the_tags():
    torch.manual_seed(0)
    seen = view(sample((3,)), Gap(long_side=(12, 18), crop=24, color=0.2), (1, 3), 3)
    assert seen["image"].shape == (3, 24, 24) and seen["image"].min() >= 0 and seen["image"].max() <= 1
    assert seen["tags"].tolist() == [0, 1]
    gray = view(sample((), channels=1), Gap(crop=24, flip=False), (1, 3), 3)
    assert torch.equal(gray["image"][0], gray["image"][2]) and gray["tags"].tolist() == [0, 0]


def test_steps_follow_epochs_unless_they_are_given():
    samples = {str(n): sample((1,)) for n in range(10)}
    assert [Tagging(encoder()(), Gap(batch=4, epochs=e, steps=s), samples, (1,)).steps for e, s in ((2, 0), (0.1, 0), (2, 7))] == [5, 1, 7]


def test_encoder_and_head_have_their_own_rates():
    learner = Tagging(encoder()(), Gap(), {"a": sample((1,))}, (1, 2))
    groups = learner.optimizers["all"].param_groups
    assert [group["lr"] for group in groups] == [0.1, 1.0] and [group["momentum"] for group in groups] == [0, 0]
    assert sum(p.numel() for p in groups[1]["params"]) == 2 * learner.networks["encoder"].final_channels
    frozen = EncoderFactory(Encoder(name="test_efficientnet", weights="none", frozen=2))()
    fewer = Tagging(frozen, Gap(), {"a": sample((1,))}, (1, 2)).optimizers["all"].param_groups
    assert len(fewer[0]["params"]) < len(groups[0]["params"])


def test_views_travel_to_workers(data):
    stream = Tagging(encoder()(), Gap(), data.tagged, (1, 2)).streams["tagged"]
    assert pickle.loads(pickle.dumps(stream.prepare))(stream.samples[0])["image"].shape == (3, 512, 512)


def test_without_tags_nothing_can_be_learned():
    with pytest.raises(DataError, match=r"tags\.csv"):
        Tagging(encoder()(), Gap(), {}, (1,))


def test_volumes_are_refused_in_words():
    volume = Sample("v", lambda: np.zeros((1, 4, 8, 8), np.float32), (4, 8, 8), tags=(1,), path="scan.nii.gz")
    with pytest.raises(ShapeError, match=r"scan\.nii\.gz: expected a 2D image, found 3 dimensions"):
        Tagging(encoder()(), Gap(), {"v": volume}, (1,))


def test_learns_which_color_is_there_and_where(run, data):
    torch.manual_seed(0)  # as a stage does when it starts
    classifier = gap(run, TOY, data, encoder())
    assert isinstance(classifier, TagClassifier)
    assert classifier.ids == (1, 2) and classifier.head_weights.shape == (2, classifier.encoder.final_channels)
    known = set(data.tagged) | set(data.val)
    assert set(classifier.tag_probs) == known and "unknown" not in known
    right = [(probs[tag - 1] > 0.5) == (tag in data.samples[id].tags) for id, probs in classifier.tag_probs.items() for tag in (1, 2)]
    assert len(right) == 64 and np.mean(right) > 0.9
    image = classifier.prepare(data.samples["val1"].image())[None]
    logits = classifier.class_maps(image)
    both = torch.cat([logits, classifier.class_maps(image.flip(-1))]).mean(dim=(2, 3))
    assert classifier.tag_probs["val1"] == approx(both.sigmoid().mean(dim=0).numpy(), abs=1e-4)
    middle = classifier.features(image, to=classifier.points[1])
    assert torch.allclose(classifier.class_maps(middle, at=classifier.points[1]), logits, atol=1e-5)


def test_same_run_twice_is_bit_equal(run, data):
    few = TOY.model_copy(update={"steps": 3, "color": 0.3})
    results = []
    for name in "ab":
        torch.manual_seed(0)  # as a stage does when it starts
        results.append(gap(run._inside(run.folder / name, name), few, data, encoder()))
    one, two = results
    for id in one.tag_probs:
        assert np.array_equal(one.tag_probs[id], two.tag_probs[id])


def test_the_shorter_way_gives_the_same_logits(run, data):
    classifier = gap(run, TOY.model_copy(update={"steps": 1}), data, encoder())
    short = leaner(classifier)
    assert short is leaner(classifier) and isinstance(short, TagClassifier) and short.ids == classifier.ids
    image = classifier.prepare(data.samples["val1"].image())[None]
    before, after = classifier.class_maps(image), short.class_maps(image)
    assert float((before - after).abs().max()) <= 1e-4 * float(before.abs().max())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in short.networks["encoder"].modules())


def test_gradients_reach_the_pixels_and_only_them(run, data):
    classifier = gap(run, TOY.model_copy(update={"steps": 1}), data, encoder())
    x = classifier.prepare(data.samples["val1"].image())[None].requires_grad_()
    (gradient,) = torch.autograd.grad(classifier.class_maps(x).sum(), x)
    assert gradient.abs().max() > 0
    assert not any(p.requires_grad for p in classifier.networks.parameters()) and not classifier.networks.training
