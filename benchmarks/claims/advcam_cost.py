"""advcam_cost: what a climb costs, against the official loop as the method's sheet describes it.

The official loop is transcribed below: one class at a time, an image and its mirror image as a batch of two, two full backward passes a
step (a Grad-CAM and the objective), both also computing the gradients of all weights. Ours climbs all classes of several images together,
takes one backward pass to the pixels alone, and no step after the last map. Same images, same classifier, same settings (27 steps at the
pixels, λ = 7, current clip range, views weighted), same maps to 1e-3.

The maps are compared after 4 steps. The climb multiplies any difference about sevenfold a step until it is a few percent (masks and signs
flip), so after 27 steps the official loop is as far from itself, started from an image that was changed by 1e-7, as it is from ours; both
are told.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from _records import Claim, Row, measured, record
from _voc_animals import NAME, opened, subset, tagged
from torch import Tensor

from smidgen.methods.localize import settings as localize
from smidgen.methods.localize.advcam import PAPER_POSITIVES, TINY, Climber
from smidgen.parts.imaging.views import onto_grid, resized, with_mirror

IMAGES = 8
EQUAL_STEPS, EQUAL = 4, 1e-3
"""After so many steps the maps may differ by so much, relative to their maxima."""
NOISE = 1e-7
"""Largest change of a pixel with which the official loop is compared with itself."""
SETTINGS = {
    "steps": 27,
    "step_size": 0.018,
    "restraint": 7.0,
    "on_above": 0.5,
    "scales": [1.0],
    "size": 448,
    "views": "weighted",
    "batch": 4,
}

CLAIM = Claim(
    name="advcam_cost",
    claim="The same climb for less than half of the official loop's time",
    question="How many seconds does one class of one image take, 27 steps at 448 pixels?",
    data=NAME,
    split=f"{IMAGES} training images with their tags",
    metric="seconds per class",
    higher_is_better=False,
    paper=None,
    settings={"images": IMAGES, "compared_after": EQUAL_STEPS, **SETTINGS},
)


def official(classifier: Any, pair: Tensor, target: int, settings: localize.Advcam) -> Tensor:
    """Sum of the maps of one class, climbed as the official code does."""
    encoder, head = classifier.networks["encoder"], classifier.networks["head"]
    for parameter in classifier.networks.parameters():
        parameter.requires_grad_(True)
    x, first, total = pair.clone(), None, torch.zeros(())
    for _ in range(settings.steps):
        x = x.detach().requires_grad_(True)
        features = encoder.features(x)
        features.retain_grad()
        logits = head(features)
        scores = logits.relu().mean(dim=(2, 3))
        classifier.networks.zero_grad()
        scores[:, target].sum().backward(retain_graph=True)  # the first backward pass: a Grad-CAM of the last stage
        channels = features.grad.mean(dim=(2, 3), keepdim=True)
        places = logits.shape[2] * logits.shape[3]
        evidence = (channels * features).sum(dim=1).relu() * places**2  # each view: positive logits times their number
        count = (logits[:, target] > 0).sum()
        maps = (evidence[0] + evidence[1].flip(-1)) / count.clamp(min=1)
        first = maps.detach() if first is None else first
        total = total + maps.detach()
        on = (maps / maps.max() > settings.on_above).detach()
        kept = ((maps - first).abs() * on).sum()
        aim = 2 * scores[:, target].sum() - scores.sum() - settings.restraint / PAPER_POSITIVES * kept
        classifier.networks.zero_grad()
        x.grad = None
        aim.backward()  # the second one
        gradient = x.grad
        low, high = x.detach().min(), x.detach().max()
        x = (x.detach() + settings.step_size * gradient / (gradient.abs().max() + TINY)).clamp(low, high)
    return total / settings.steps


def compared() -> dict[str, dict[str, Any]]:
    """Seconds per class of both and of plain CAM, one after the other in one process, on the same images."""
    run = opened(0, {})
    classifier = run.stage("classify", "gap", tagged())
    samples = list(subset(IMAGES).samples.values())
    settings = localize.Advcam(**SETTINGS)  # pyright: ignore[reportArgumentType]
    climber = Climber(classifier, settings, run.device)
    classes = sum(len(sample.tags or ()) for sample in samples)
    groups: dict[tuple[int, int], list[Any]] = {}
    for sample in samples:
        groups.setdefault(climber.shape(sample), []).append(sample)
    batches = [some[i : i + settings.batch] for some in groups.values() for i in range(0, len(some), settings.batch)]

    def climbed(climber: Climber) -> tuple[dict[str, Any], float]:
        start = time.perf_counter()
        found = {sample.id: one for some in batches for sample, one in zip(some, climber(some), strict=True)}
        return found, (time.perf_counter() - start) / classes

    plain = Climber(classifier, settings.model_copy(update={"steps": 1}), run.device)
    climbed(plain)  # warm
    _, cam = climbed(plain)
    ours, seconds = climbed(climber)
    pairs = {one.id: with_mirror(resized(classifier.prepare(one.image()), climber.shape(one))[None])[0] for one in samples}

    def theirs(settings: localize.Advcam, noise: float = 0.0) -> dict[str, list[Any]]:
        found = {}
        for one in samples:
            pair = (pairs[one.id] + noise * torch.randn_like(pairs[one.id]).clamp(-1, 1)) if noise else pairs[one.id]
            maps = [official(classifier, pair, classifier.ids.index(id), settings) for id in one.tags or ()]
            found[one.id] = [onto_grid(each[None], one.size)[0].numpy() for each in maps]
        return found

    start = time.perf_counter()
    whole = theirs(settings)
    official_seconds = (time.perf_counter() - start) / classes
    few = settings.model_copy(update={"steps": EQUAL_STEPS})
    early, _ = climbed(Climber(classifier, few, run.device))
    facts = {
        "difference": apart({id: list(one.maps) for id, one in early.items()}, theirs(few)),
        "difference_after_all_steps": apart({id: list(one.maps) for id, one in ours.items()}, whole),
        "official_against_itself": apart(theirs(settings, NOISE), whole),
        "classes": classes,
        "times_cam": round(seconds / cam, 2),
    }
    print(f"  {facts}", flush=True)
    return {"official": {"value": official_seconds, **facts}, "ours": {"value": seconds, **facts}, "cam": {"value": cam}}


def apart(one: dict[str, list[Any]], other: dict[str, list[Any]]) -> float:
    """Largest difference of maps that are scaled to maximum 1."""
    pairs = [(a, b) for id in one for a, b in zip(one[id], other[id], strict=True)]
    return max(float(abs(a / a.max() - b / b.max()).max()) for a, b in pairs)


def main() -> None:
    """Measure all three side by side."""
    found: dict[str, dict[str, Any]] = {}

    def side(which: str) -> dict[str, Any]:
        if not found:
            found.update(compared())
        return found[which]

    cells = {arm: [measured(CLAIM, arm, 0, {}, lambda arm=arm: side(arm))] for arm in ("official", "ours", "cam")}
    told = cells["ours"][0]
    if told["difference"] > EQUAL:
        raise SystemExit(f"advcam_cost: the maps differ by {told['difference']:.2g}")
    facts = ("difference", "difference_after_all_steps", "official_against_itself", "times_cam")
    method = Row("one backward pass, classes and images together", cells["ours"], more={fact: told[fact] for fact in facts})
    record(CLAIM, Row("official loop, transcribed", cells["official"]), method, [Row("plain CAM, one scale, mirrored", cells["cam"])])


if __name__ == "__main__":
    main()
