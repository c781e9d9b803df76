"""Evidence of classes per place: enlarged to the image, and ranked."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float16, UInt8


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
