"""Argmax (as in IRN, Ahn et al., CVPR 2019): each pixel gets the class whose evidence is strongest there, background being one of them.

Reading order: argmax, decided, confidence. Settings: settings.Argmax.
Differs: pixels near a tie can be ignored; every label says how sure it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
from jaxtyping import Float, Float16, UInt8

from smidgen.core.run import Results, Run
from smidgen.data.dataset import Dataset
from smidgen.methods.label import settings
from smidgen.products.heatmaps import Heatmaps
from smidgen.products.labels import LabelMap
from smidgen.products.sample import IGNORED


def argmax(run: Run, settings: settings.Argmax, data: Dataset, heatmaps: Mapping[str, Heatmaps]) -> Results[LabelMap]:
    """A label per pixel of every image that has heatmaps."""
    return run.map("labels", partial(decided, settings=settings, background=data.classes.background), heatmaps)


def decided(heatmaps: Heatmaps, settings: settings.Argmax, background: int | None) -> LabelMap:
    """The label map of one image, at the image's size. An image without any class is background all over.

    Args:
        heatmaps: Evidence of the classes that may be present.
        settings: How.
        background: Label value of the background; None where there is none.
    """
    evidence, ids = heatmaps.maps, heatmaps.ids
    if heatmaps.background is not None and background is not None:
        evidence, ids = np.concatenate([heatmaps.background[None], evidence]), (background, *ids)
    if not ids:
        return LabelMap(np.full(heatmaps.size, IGNORED, np.uint8), np.zeros(heatmaps.size, np.float16))
    label, best, second = ranked(enlarged(evidence.astype(np.float32, copy=False), heatmaps.size), np.array(ids, np.uint8))
    unsure = best - second < settings.margin
    unsure |= best <= 0
    if heatmaps.ignore is not None:
        unsure |= enlarged(heatmaps.ignore[None].astype(np.float32), heatmaps.size)[0] > 0.5
    label[unsure] = IGNORED
    sure = confidence(best, second)
    sure[unsure] = 0
    return LabelMap(label, sure)


def ranked(
    evidence: Float[np.ndarray, "k *space"], ids: UInt8[np.ndarray, " k"]
) -> tuple[UInt8[np.ndarray, "*space"], Float[np.ndarray, "*space"], Float[np.ndarray, "*space"]]:
    """The winner's label value at each place, its evidence and the second's (0 where there is no second). The first of equals wins.

    Running maxima: several times as fast as sorting.
    """
    best, second = evidence[0].copy(), np.zeros_like(evidence[0])
    label = np.full(best.shape, ids[0])
    for one, id in zip(evidence[1:], ids[1:], strict=True):
        np.maximum(second, np.minimum(best, one), out=second)
        label[one > best] = id
        np.maximum(best, one, out=best)
    return label, best, second


def confidence(best: Float[np.ndarray, "*space"], second: Float[np.ndarray, "*space"]) -> Float16[np.ndarray, "*space"]:
    """How sure the winner is: the share of its evidence by which it exceeds the second. 0 at a tie, 1 where nothing else speaks."""
    return (1 - second / np.maximum(best, np.finfo(np.float32).tiny)).astype(np.float16)


def enlarged(maps: Float[np.ndarray, "k *space"], size: tuple[int, ...]) -> Float[np.ndarray, "k *big"]:
    """Maps of a whole image at the image's size, linear between the middles of places, constant beyond the outer ones."""
    for axis, (old, new) in enumerate(zip(maps.shape[1:], size, strict=True), 1):
        if old == new:
            continue
        at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = np.minimum(at.astype(int), max(old - 2, 0))
        share = (at - low).astype(np.float32).reshape(-1, *(1,) * (maps.ndim - 1 - axis))
        first, second = maps.take(low, axis), maps.take(np.minimum(low + 1, old - 1), axis)
        second -= first
        second *= share
        maps = np.add(first, second, out=first)
    return maps
