"""The same learners on volumes and on their slices: z-scored, any number of axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from smidgen.data.dataset import Dataset
from smidgen.methods.semi import settings
from smidgen.methods.semi.cotraining import cotraining
from smidgen.methods.semi.cps import cps
from smidgen.methods.semi.dtc import dtc
from smidgen.methods.semi.mean_teacher import mean_teacher
from smidgen.methods.semi.weak_plus_masks import weak_plus_masks
from smidgen.methods.semi.weak_to_strong import weak_to_strong
from smidgen.parts.losses.sums import LossFactory
from smidgen.parts.networks import settings as networks
from smidgen.parts.networks.encoders import EncoderFactory
from smidgen.parts.networks.factories import HeadFactory

SHORT: dict[str, Any] = {"crop": 8, "steps": 3, "batch": 1, "batch_unlabeled": 1, "scale": (0.9, 1.1)}
KINDS: dict[str, tuple[Callable[..., Any], Any]] = {
    "mean_teacher": (mean_teacher, settings.MeanTeacher(**SHORT)),
    "cps": (cps, settings.Cps(**SHORT, cutmix=1.0, chance=0.5)),
    "weak_to_strong": (weak_to_strong, settings.WeakToStrong(**SHORT, paste=0.5)),
    "dtc": (dtc, settings.Dtc(**SHORT)),
    "dtc in strong views": (dtc, settings.Dtc(**SHORT, strong=True, ema=0.9, labeled_weight=0.5, answer="both", target="exact", reach=3.0)),
    "decoders": (weak_plus_masks, settings.WeakPlusMasks(**SHORT, smooth_weight=0.1)),
    "pseudo-masks in strong views": (weak_plus_masks, settings.WeakPlusMasks(**SHORT, how="strong_views", paste=0.5, smooth_weight=0.1)),
    "virtual attacks": (cotraining, settings.Cotraining(**SHORT, attack="vat")),
    "distilled": (cotraining, settings.Cotraining(**SHORT, keep="distilled", distill_steps=2, strong=True, agreement="cross")),
}


def volumes() -> Dataset:
    """A bright block in each of four volumes, two of which have masks; values far from [0, 1]."""
    rng = np.random.default_rng(0)
    images, masks = {}, {}
    for n in range(4):
        label = np.zeros((8, 12, 12), np.uint8)
        z, y, x = rng.integers(0, 4), rng.integers(0, 6), rng.integers(0, 6)
        label[z : z + 4, y : y + 6, x : x + 6] = 1
        images[f"v{n}"], masks[f"v{n}"] = (300 + 200.0 * label + rng.normal(0, 20, label.shape)).astype(np.float32), label
    split = dict.fromkeys(images, "train")
    return Dataset(
        images, {id: masks[id] for id in ("v0", "v1")}, classes=["background", "block"], split=split, dims=3, spacing_mm=(4, 1, 1)
    )


def tiny(dims: int) -> dict[str, object]:
    encoder = EncoderFactory(networks.Encoder(name="resunet", width=4, depth=2), 1, dims=dims)
    return {"encoder": encoder, "head": HeadFactory("point", dims=dims), "loss": LossFactory("0.5*dice+ce")}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dims", [2, 3])
def test_volumes_and_slices_are_learned_from(kind, dims, run):
    method, chosen = KINDS[kind]
    data = volumes() if dims == 3 else volumes().slices()
    found = method(run, chosen.model_copy(update={"patch": (4, 8, 8) if dims == 3 else ()}), data, **tiny(dims))
    assert (found.architecture.dims, found.architecture.zscored) == (dims, True)
    assert found.architecture.spacing_mm == (4.0, 1.0, 1.0)[-dims:]
    assert found.architecture.patch == ((4, 8, 8) if dims == 3 else 8)
    assert all(value.isfinite().all() for value in found.network.state_dict().values() if value.is_floating_point())
    image = torch.randn(1, 1, *(8, 8, 8)[-dims:])
    assert found.probs(image).shape == (1, 2, *image.shape[2:])
