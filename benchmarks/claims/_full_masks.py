"""What claims about networks trained from full masks share: a run of the preset small, and what it reaches."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from _images import RUNS, by_class, compared, full, miou

from smidgen.core.processes import join
from smidgen.core.run import Run
from smidgen.core.settings import Machine, overlay
from smidgen.data.dataset import Dataset
from smidgen.recipes.choice import resolve
from smidgen.recipes.supplies import supplies


def halves(data: Dataset, held_out: str = "") -> tuple[Dataset, Mapping[str, Any]]:
    """What is trained on, and the samples that are scored.

    Args:
        data: All of it.
        held_out: A group of train that is scored in place of val and not trained on: whatever is tuned is tuned so. "" = val is scored.
    """
    masks = data.using("masks")
    if not held_out:
        return masks, data.val
    kept = [id for id, sample in data.train.items() if sample.group != held_out]
    scored = {id: sample for id, sample in data.train.items() if sample.group == held_out}
    if not scored or not kept:
        raise SystemExit(f"no group '{held_out}' in train, or no other: there are {sorted({str(s.group) for s in data.train.values()})}")
    return masks.only("train", kept), scored


def trained(
    name: str, seed: int, words: Mapping[str, Any], supplied: Mapping[str, Any], held_out: str = "", machine: Machine | None = None
) -> dict[str, Any]:
    """A network of the recipe `masks`, and what it reaches: mIoU over the classes that are there, in percent.

    Args:
        name: Of the data set.
        seed: Of the training.
        words: Over the preset small.
        supplied: In place of what the settings supply: a head of another library, say.
        held_out: See `halves`.
        machine: What it runs on, where not on the default.
    """
    learned, scored = halves(full(name), held_out)
    resolved = resolve("masks", "small", {"seed": seed, **words})
    run = Run(RUNS / name, join(machine or Machine()), resolved.methods, {**supplies(resolved, full(name)), **supplied}, seed=seed)
    start = time.monotonic()
    segmenter = run.stage("segment", resolved.choice.segment, learned)
    seconds = time.monotonic() - start
    seen = run.stage("predict", resolved.choice.predict, full(name).only(ids=list(scored)), segmenter=segmenter)
    names = full(name).classes.names
    counts = compared(scored, lambda id: seen[id].label, len(names))
    return {"value": miou(counts), "classes": by_class(counts, names), "training_seconds": round(seconds)}


def over(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Words, each layer over the one before, group by group."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = overlay(merged, layer)
    return merged


def gmacs(head: Any, channels: Sequence[int], strides: Sequence[int], classes: int, side: int) -> float:
    """Billions of multiplications of a head over an encoder's pyramid, for one square image; counted without doing them."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils.flop_counter import FlopCounterMode

    module = head(channels, strides, classes).eval()
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True), FlopCounterMode(display=False) as counter:
        levels = [torch.empty(1, width, side // stride, side // stride) for width, stride in zip(channels, strides, strict=True)]
        module(levels, (side, side))
    return round(counter.get_total_flops() / 2e9, 3)
