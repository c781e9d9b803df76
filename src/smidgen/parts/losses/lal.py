"""Locally adaptive loss (Guo, Ren, Gu, Xu & Wu, arXiv 1802.08290, 2018): neighbors of one class are merged, and what they say is scored.

Reading order: lal, targets, surprises (eq. 1 to 3), minkowski (eq. 4). The sums over windows are in `merging`.
Differs: the paper leaves open what exactly is merged, over which classes and divided by what; each choice is a setting. Windows are pooled
per image unless `pool` says otherwise, and the exponent rises during training.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int16, Integer
from torch import Tensor

from smidgen.core.errors import SettingsError
from smidgen.parts.losses import settings as losses
from smidgen.parts.losses.merging import NOBODY, UNLABELED, Windows, coded, merged, merged_surprise
from smidgen.parts.losses.pixels import IGNORED, compared, placed


def lal(
    settings: losses.Lal,
    logits: Float[Tensor, "b k *h"],
    label: Integer[Tensor, "b *H"],
    confidence: Float[Tensor, "b *H"] | None = None,
    progress: float = 0.0,
) -> Float[Tensor, "b"]:
    """Generalized mean of the cross entropies of merged neighbors, per image.

    Args:
        settings: Windows, what is merged, how windows are pooled.
        logits: At any stride; labels are taken at their places, or they are upsampled (`settings.at`).
        label: Class indices, 255 = ignored.
        confidence: Factor of a window, in [0, 1], taken at its center; the sum is still divided by the number of windows.
        progress: Of the training, in [0, 1]: raises the exponent.

    Returns:
        One value per image; 0 where nothing is labeled. With `pool` = batch all are the batch's value.

    Raises:
        SettingsError: There are class weights, and not one per class.
    """
    windows = Windows.gaussian(settings.radius, settings.stride, settings.width, settings.norm == "count")
    with torch.autocast(logits.device.type, enabled=False):
        if settings.at == "logits":
            places = logits.shape[2:]
            logits, label = logits.float(), placed(label, places, IGNORED)
            confidence = None if confidence is None else placed(confidence, places, 0.0)
        else:
            logits, label = compared(logits, label)
        codes = coded(label, IGNORED, UNLABELED)
        asked = targets(codes, windows, everyone=settings.anchor == "all")
        values = [surprises(logits, codes, target, windows, settings.merge).flatten(1) for target in asked]
        weights = [importance(target, settings.class_weights, logits).flatten(1) for target in asked]
        trust = 1.0 if confidence is None else at_centers(confidence.float(), windows.stride).flatten(1).repeat(1, len(asked))
        found, weight = torch.cat(values, dim=1), torch.cat(weights, dim=1)
        power = exponent(settings, progress)
        if settings.pool == "batch":
            return minkowski(found.reshape(1, -1), (weight * trust).reshape(1, -1), weight.reshape(1, -1), power).expand(len(found))
        return minkowski(found, weight * trust, weight, power)


def at_centers(map: Tensor, stride: int) -> Tensor:
    """Every `stride`-th value along each axis of an image."""
    return map[(slice(None), *(slice(None, None, stride) for _ in map.shape[1:]))]


def targets(label: Int16[Tensor, "b *h"], windows: Windows, *, everyone: bool) -> list[Int16[Tensor, "b *n"]]:
    """The classes that each window is asked for: its center's, or one map after the other until each class in a window had its turn.

    Args:
        label: Class of each pixel; UNLABELED = none.
        windows: Where.
        everyone: All classes that a window holds, and not only its center's.
    """
    center = at_centers(label, windows.stride)
    center = torch.where(center == UNLABELED, NOBODY, center)
    found = [center]
    if not everyone:
        return found
    many = windows.centers(label.shape[1:])
    for _, there, place in windows.taps(label.shape[1:], 0, many[0]):
        class_ = torch.full_like(center, UNLABELED)
        class_[there] = label[place]
        new = class_ != UNLABELED
        for i, known in enumerate(found):
            new &= known != class_
            free = new & (known == NOBODY)
            found[i] = torch.where(free, class_, known)
            new &= ~free
        if new.any():
            found.append(torch.where(new, class_, NOBODY))
    return found


def surprises(
    logits: Float[Tensor, "b k *h"], label: Int16[Tensor, "b *h"], target: Int16[Tensor, "b *n"], windows: Windows, merge: str = "logit"
) -> Float[Tensor, "b *n"]:
    """Cross entropy of each window's merged prediction with the class that is asked for; 0 where none is.

    Args:
        logits: Per pixel.
        label: Class of each pixel; UNLABELED = none.
        target: Class of each window; NOBODY = none.
        windows: Where, and with which weights.
        merge: `logit`: softmax of mean logits (eq. 1 to 3). `prob`: mean of probabilities (eq. 8), of which only that of the class matters.
    """
    if merge == "logit":
        found = merged_surprise(logits, label, target, windows)
    else:
        known = label.long()
        probs = (-F.cross_entropy(logits, known, ignore_index=UNLABELED, reduction="none")).exp()
        mean = merged(probs[:, None], label, target, windows)[:, 0]
        found = -mean.clamp(min=torch.finfo(mean.dtype).tiny).log()
    return torch.where(target == NOBODY, 0.0, found)


def importance(target: Int16[Tensor, "b *n"], weights: Sequence[float], logits: Float[Tensor, "b k *h"]) -> Float[Tensor, "b *n"]:
    """Weight of each window: that of its class, 1 where there are no class weights; 0 where it has no class.

    Raises:
        SettingsError: There is another number of weights than of classes.
    """
    asked: Bool[Tensor, "b *n"] = target != NOBODY
    if not weights:
        return asked.to(logits.dtype)
    if len(weights) != logits.shape[1]:
        raise SettingsError(
            f"lal.class_weights: expected {logits.shape[1]} weights, one per class (background included), came {len(weights)}: "
            "name as many or none"
        )
    return logits.new_tensor(weights)[target.clamp(min=0).long()] * asked


def exponent(settings: losses.Lal, progress: float) -> float:
    """Minkowski's k: 1 until the ramp begins, then a straight line to its full value where the ramp ends."""
    begin, end = settings.ramp
    risen = min(1.0, max(0.0, (progress - begin) / (end - begin))) if end > begin else float(progress >= begin)
    return 1 + risen * (settings.exponent - 1)


def minkowski(values: Float[Tensor, "b n"], factor: Float[Tensor, "b n"], weight: Float[Tensor, "b n"], power: float) -> Float[Tensor, "b"]:
    """(Σ factor ℓ^k / Σ weight)^(1/k) (eq. 4): the mean for k = 1, ever more the maximum for larger k.

    Args:
        values: Loss of each window, 0 or more.
        factor: Weight in the upper sum.
        weight: Weight in the lower sum.
        power: k, 1 or more.

    Returns:
        One value per row; 0 where the weights are 0.
    """
    total = weight.sum(dim=1)
    share = factor / torch.where(total > 0, total, 1.0)[:, None]
    if power == 1:
        return (share * values).sum(dim=1)
    tiny = torch.finfo(values.dtype).tiny
    most = (values.detach() * (factor > 0)).amax(dim=1).clamp(min=tiny)  # powers of quotients do not overflow
    return most * (share * (values / most[:, None]) ** power).sum(dim=1).clamp(min=tiny) ** (1 / power) * (most > tiny)
