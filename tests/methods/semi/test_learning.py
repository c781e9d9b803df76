"""Each method of few labels learns a toy, and reads no label that it must not see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from smidgen.core.errors import NeedError
from smidgen.data.dataset import Dataset
from smidgen.methods.semi import settings
from smidgen.methods.semi.cotraining import cotraining
from smidgen.methods.semi.cps import cps
from smidgen.methods.semi.mean_teacher import mean_teacher
from smidgen.methods.semi.weak_to_strong import weak_to_strong

QUICK: dict[str, Any] = {
    "crop": 20,
    "scale": (0.9, 1.1),
    "batch": 2,
    "batch_unlabeled": 4,
    "steps": 40,
    "optimizer": "adamw",
    "lr_encoder": 0.02,
    "lr_head": 0.02,
    "weight_decay": 0.0,
}
KINDS: dict[str, tuple[Callable[..., Any], Any]] = {
    "mean_teacher": (mean_teacher, settings.MeanTeacher(**QUICK, weight=5.0, ema=0.9, ramp=(0.0, 0.5))),
    "cps": (cps, settings.Cps(**QUICK, ramp=(0.2, 0.5))),
    "cps with boxes": (cps, settings.Cps(**QUICK, ramp=(0.2, 0.5), cutmix=1.0, chance=0.5, paste=0.5)),
    "weak_to_strong": (weak_to_strong, settings.WeakToStrong(**QUICK, ema=0.9, confidence=0.8, paste=0.5)),
    "control": (weak_to_strong, settings.WeakToStrong(**QUICK, ema=0.9, unlabeled_weight=0.0, labeled_weight=1.0)),
    "cotraining": (cotraining, settings.Cotraining(**QUICK, agreement_weight=2.0, overlap=0.0)),
    "virtual attacks": (cotraining, settings.Cotraining(**QUICK, attack="vat", networks=3, every=2)),
    "crossed": (cotraining, settings.Cotraining(**QUICK, agreement="cross", strong=True, cutmix=0.5, paste=0.5, ema=0.9, confidence=0.7)),
    "distilled": (cotraining, settings.Cotraining(**QUICK, keep="distilled", distill_steps=60, strong=True, agreement="vote", ema=0.9)),
}
QUICKEST = ("weak_to_strong",)
"""The others take longer together than they tell."""
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.mark.parametrize("kind", [name if name in QUICKEST else pytest.param(name, marks=pytest.mark.slow) for name in KINDS])
def test_shapes_are_found_with_two_masks(kind, few, run):
    method, chosen = KINDS[kind]
    found = method(run, chosen, few.data, **few.factories)
    assert few.overlap(found) > 0.6
    assert found.architecture.patch == 20
    assert not found.network.training


@pytest.mark.parametrize("kind", ["mean_teacher", "cps with boxes", "weak_to_strong", "cotraining"])
def test_labels_of_unlabeled_images_are_never_read(kind, few, run, tmp_path):
    """All masks are there, and withheld; those that nobody may see are nonsense in one of two runs."""
    method, chosen = KINDS[kind]
    short, states = chosen.model_copy(update={"steps": 3}), []
    for n in range(2):
        masks = few.masks if n == 0 else {id: mask if id in ("s00", "s01") else np.full_like(mask, 2) for id, mask in few.masks.items()}
        full = Dataset(few.images, masks, classes=["background", "square", "disc"], split=dict.fromkeys(few.images, "train"))
        withheld = full._map_train(lambda sample: sample if sample.id in ("s00", "s01") else sample.without_label())
        torch.manual_seed(0)
        states.append(method(run._inside(tmp_path / str(n), "0"), short, withheld, **few.factories).network.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@every_kind
def test_without_unlabeled_images_it_says_what_to_do(kind, few, run):
    method, chosen = KINDS[kind]
    data = few.data.only(ids=("s00", "s01"))
    if kind == "control":
        assert method(run, chosen.model_copy(update={"steps": 2}), data, **few.factories)
        return
    with pytest.raises(NeedError, match="choose --recipe masks"):
        method(run, chosen, data, **few.factories)


def test_the_vote_and_each_network_can_be_used(few, run):
    found = cps(run, settings.Cps(**{**QUICK, "steps": 5}), few.data, **few.factories)
    image = torch.from_numpy(few.images["s05"])[None, None]
    probs = {name: one.probs(image) for name, one in found.peers.items()}
    assert list(probs) == ["1", "2", "vote"]
    assert torch.allclose(probs["vote"], (probs["1"] + probs["2"]) / 2, atol=1e-6)
    assert torch.equal(probs["1"], found.probs(image))
    assert not torch.allclose(probs["1"], probs["2"], atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mean_teacher", "cps", "weak_to_strong", "crossed"])
def test_scribbles_count_as_unlabeled_beside_what_they_say(kind, few, run):
    masks = {id: np.where(np.random.default_rng(0).random(mask.shape) < 0.1, mask, 255).astype(np.uint8) for id, mask in few.masks.items()}
    data = Dataset(few.images, masks, classes=["background", "square", "disc"], split=dict.fromkeys(few.images, "train"))
    assert all(sample.sparse for sample in data.train.values())
    method, chosen = KINDS[kind]
    assert few.overlap(method(run, chosen, data, **few.factories)) > 0.6
