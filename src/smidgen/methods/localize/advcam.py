"""AdvCAM (Lee et al., CVPR 2021): a frozen classifier's maps, added up while the image climbs on one class's logit.

Reading order: advcam, ascent (the loop), then the equations it calls, numbered as in docs/methods/advcam.md: averaged (1), on_places (2),
objective and kept (3), ascend (4), summed (5); then Climber, which says what climbs together. Settings: settings.Advcam.
Differs: one backward pass per step, to the image only; the restraint is in the paper's unit for any encoder (PAPER_POSITIVES); the two
views weigh the same unless `views: weighted`; the step that would follow the last map is not taken; sizes are rounded to the
encoder's stride.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from smidgen.core.errors import NeedError, ShapeError
from smidgen.core.memory import hand_back
from smidgen.core.run import Results, Run
from smidgen.data.dataset import Dataset
from smidgen.methods.localize import settings
from smidgen.parts.imaging.views import grid, normalized, onto_grid, resized, unmirrored, with_mirror, working_size
from smidgen.products.heatmaps import Heatmaps
from smidgen.products.sample import Sample
from smidgen.products.tag_classifier import TagClassifier, leaner

PAPER_POSITIVES = 1024
"""Features that speak for a class in the paper's classifier: half of ResNet-50's 2048. Its maps are logits divided by this number, and
λ = 7 is made for them; a fixed number makes λ independent of how many features another encoder has."""
PAPER_PLACES = 768
"""Places of the paper's map: 375 x 500 pixels at stride 16."""
TINY = 1e-12
"""Keeps a gradient of nothing from being divided by zero (the official code's number)."""


@dataclass(frozen=True)
class Climb:
    """What climbing found for one image, one entry per class of its tags; averages over scales, except for the maps.

    Args:
        maps: Weighted mean of all maps of all steps and scales, in logits.
        ids: Label value of each map.
        size: Height and width of the image.
        logit_first: Mean positive logit before climbing.
        logit_last: The same at the last step; it must have risen.
        on: Share of places that are on at the last step; it grows slowly and stays well under 1.
        clipped: Share of values that the last step wanted to move out of their range.
    """

    maps: Float[np.ndarray, "k h w"]
    ids: tuple[int, ...]
    size: tuple[int, ...]
    logit_first: Float[np.ndarray, " k"]
    logit_last: Float[np.ndarray, " k"]
    on: Float[np.ndarray, " k"]
    clipped: Float[np.ndarray, " k"]


@dataclass(frozen=True)
class Rung:
    """One step of g climbs, each with v views; all without gradients.

    Args:
        x: Where the climb is.
        maps: The class's evidence there, averaged over views.
        on: Places whose evidence is kept as it was.
        logits: Mean positive logit of the class, averaged over views.
        objective: What is climbed on.
        gradient: Its gradient; None at the last rung.
        clipped: Share of values that reached the limit of their range in the step from here.
    """

    x: Float[Tensor, "g v c h w"]
    maps: Float[Tensor, "g y z"]
    on: Bool[Tensor, "g y z"]
    logits: Float[Tensor, " g"]
    objective: Float[Tensor, " g"]
    gradient: Float[Tensor, "g v c h w"] | None
    clipped: Float[Tensor, " g"]


def advcam(run: Run, settings: settings.Advcam, data: Dataset, classifier: TagClassifier) -> Results[Heatmaps]:
    """Maps of the classes in each tagged training image's tags."""
    if settings.point not in classifier.points:
        raise NeedError(f"advcam.point: this classifier has no '{settings.point}': choose one of {', '.join(classifier.points)}")
    climber = Climber(classifier, settings, run.device, run.autocast)
    climbs = run.map("climbs", partial(climb, climber=climber), data.tagged, together=climber.shape, size=settings.batch)
    threshold = None if data.classes.background is None else settings.threshold
    return run.map("heatmaps", partial(heatmaps, threshold=threshold), climbs)


def climb(samples: Sequence[Sample], climber: Climber) -> list[Climb]:
    """Climbs of images that share a working size."""
    return climber(samples)


def heatmaps(climb: Climb, threshold: float | None) -> Heatmaps:
    """Each class scaled to maximum 1 beside a constant background."""
    maps, peak = normalized(climb.maps)
    nothing = None if threshold is None else np.full(maps.shape[1:], threshold, np.float32)
    return Heatmaps(maps=maps, ids=climb.ids, background=nothing, peak=peak, size=climb.size)


# ------------------------------------------------------------------ the climb


def ascent(
    class_maps: Callable[[Tensor], Tensor],
    start: Float[Tensor, "g v c h w"],
    target: Int[Tensor, " g"],
    rivals: Bool[Tensor, "g k"],
    settings: settings.Advcam,
    *,
    steps: int,
    restraint: float,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Iterator[Rung]:
    """Climb from `start`; g climbs do not know of each other.

    Args:
        class_maps: From activations to logits per place.
        start: Activations (pixels or features) of an image and its mirror image, per climb.
        target: Row of the class that is climbed on.
        rivals: Classes that are pushed down.
        settings: How to step.
        steps: Number of rungs; the last one takes no step, its gradient would be of no use.
        restraint: λ per place, for maps in logits.
        autocast: Precision of the network; everything else stays in 32 bits.
    """
    x, first, velocity = start.detach(), None, torch.zeros_like(start)
    size = step_size(start, settings)
    limits = span(start)
    for t in range(steps):
        last = t + 1 == steps
        x = x.detach().requires_grad_(not last)
        with torch.set_grad_enabled(not last), autocast():
            logits = class_maps(x.flatten(0, 1)).float().unflatten(0, x.shape[:2])
        with torch.set_grad_enabled(not last):
            maps = averaged(logits[torch.arange(len(x)), :, target], settings.views)
            first = maps.detach() if first is None else first
            on = on_places(maps.detach(), settings.on_above)
            score = objective(logits.relu().mean(dim=(3, 4)).sum(dim=1), target, rivals) - restraint * kept(maps, first, on)
        gradient = None if last else gradient_of(score, x, maps[0].numel())
        x = x.detach()
        moved, clipped = x, torch.zeros_like(score)
        if gradient is not None:
            velocity = settings.momentum * velocity + direction(gradient) if settings.momentum else gradient
            moved, clipped = ascend(x, velocity, size, limits if settings.clip == "original" else span(x))
        own = logits.detach()[torch.arange(len(x)), :, target].relu().mean(dim=(1, 2, 3))
        yield Rung(x, maps.detach(), on, own, score.detach(), gradient, clipped.detach())
        x = moved


def averaged(logits: Float[Tensor, "g v h w"], views: str) -> Float[Tensor, "g h w"]:
    """Positive evidence of one class, the views averaged (eq. 1).

    "weighted" is what a Grad-CAM over both views comes to for a linear head: each view counts by its number of positive places.
    """
    evidence = unmirrored(logits.relu())
    if views == "even":
        return evidence.mean(dim=1)
    count = (logits.detach() > 0).sum(dim=(2, 3), keepdim=True).float()
    return (evidence * count / count.sum(dim=1, keepdim=True).clamp(min=1)).sum(dim=1)


def on_places(maps: Float[Tensor, "g h w"], above: float) -> Bool[Tensor, "g h w"]:
    """Places that exceed a share of their map's maximum (eq. 2)."""
    return maps > above * maps.amax(dim=(1, 2), keepdim=True)


def objective(logits: Float[Tensor, "g k"], target: Int[Tensor, " g"], rivals: Bool[Tensor, "g k"]) -> Float[Tensor, " g"]:
    """The class's logit less its rivals' (eq. 3, first half)."""
    return logits[torch.arange(len(logits)), target] - (logits * rivals).sum(dim=1)


def kept(maps: Float[Tensor, "g h w"], first: Float[Tensor, "g h w"], on: Bool[Tensor, "g h w"]) -> Float[Tensor, " g"]:
    """How far places that are on have moved away from the first map (eq. 3, second half)."""
    return ((maps - first).abs() * on).sum(dim=(1, 2))


def gradient_of(score: Float[Tensor, " g"], x: Float[Tensor, "g v c h w"], places: int) -> Float[Tensor, "g v c h w"]:
    """The gradient with respect to x alone; a power of two keeps it from vanishing in 16 bits on its way."""
    lift = 2.0 ** places.bit_length()
    (gradient,) = torch.autograd.grad(score.sum() * lift, x)
    return gradient.float() / lift


def direction(gradient: Float[Tensor, "g v c h w"]) -> Float[Tensor, "g v c h w"]:
    """Scaled so that each climb's largest entry over both views is 1; not its sign."""
    return gradient / (gradient.abs().amax(dim=(1, 2, 3, 4), keepdim=True) + TINY)


def span(x: Float[Tensor, "g v c h w"]) -> tuple[Float[Tensor, "g 1 1 1 1"], Float[Tensor, "g 1 1 1 1"]]:
    """Smallest and largest value of each climb, over both views and all channels."""
    return x.amin(dim=(1, 2, 3, 4), keepdim=True), x.amax(dim=(1, 2, 3, 4), keepdim=True)


def step_size(start: Float[Tensor, "g v c h w"], settings: settings.Advcam) -> Float[Tensor, "g 1 1 1 1"]:
    """ξ of each climb in the values it moves."""
    low, high = span(start)
    return settings.step_size * ((high - low) / 2 if settings.step_unit == "half-range" else torch.ones_like(low))


def ascend(
    x: Float[Tensor, "g v c h w"],
    gradient: Float[Tensor, "g v c h w"],
    size: Float[Tensor, "g 1 1 1 1"],
    limits: tuple[Float[Tensor, "g 1 1 1 1"], Float[Tensor, "g 1 1 1 1"]],
) -> tuple[Float[Tensor, "g v c h w"], Float[Tensor, " g"]]:
    """One step within limits (eq. 4), and the share of values that wanted to leave them."""
    wanted = x + size * direction(gradient)
    moved = wanted.clamp(*limits)
    return moved, (moved != wanted).float().mean(dim=(1, 2, 3, 4))


# ------------------------------------------------------------------ what climbs together


@dataclass(frozen=True)
class Level:
    """One scale of an image.

    Args:
        scale: Relative to the working size.
        steps: Number of maps that are summed.
        weight: Weight of their sum.
    """

    scale: float
    steps: int
    weight: float


def levels(settings: settings.Advcam) -> tuple[Level, ...]:
    """Half the steps at scale 0.5, as in the official code; "balanced" makes up for it, "compat" keeps what came of it.

    There a factor of 2 for scale 0.5 is never set back, so it holds for all scales that follow and makes up for nothing.
    """
    found, factor = [], 1.0
    for scale in settings.scales:
        steps = settings.steps
        if scale == 0.5 and steps > 5:
            steps = steps // 2 if steps > 10 else 5
            factor = 2.0 if settings.steps > 10 else 1.0
        found.append(Level(scale, steps, settings.steps / steps if settings.scale_weights == "balanced" else factor))
    return tuple(found)


class Climber:
    """Climbs all classes of images that share a working size.

    Args:
        classifier: Whose logits are climbed on.
        settings: How.
        device: Where.
        autocast: Precision of the network.
    """

    def __init__(
        self,
        classifier: TagClassifier,
        settings: settings.Advcam,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    ):
        self.classifier = leaner(classifier) if settings.fold else classifier
        self.settings, self.device, self.autocast = settings, device, autocast
        self.levels = levels(settings)

    def shape(self, sample: Sample) -> tuple[int, int]:
        """The working size of a sample."""
        if len(sample.size) != 2:
            raise ShapeError(
                f"{sample.path or sample.id}: expected a 2D image, found {len(sample.size)} dimensions: export the slices as images"
            )
        return working_size(sample.size, self.settings.size, self.classifier.stride)

    def __call__(self, samples: Sequence[Sample]) -> list[Climb]:
        """One result per sample."""
        base = self.shape(samples[0])
        images = [self.classifier.prepare(sample.image()).to(self.device) for sample in samples]
        pairs = [(n, self.classifier.ids.index(id)) for n, sample in enumerate(samples) for id in sample.tags or ()]
        totals = [torch.zeros(grid(samples[n].size), device=self.device) for n, _ in pairs]
        facts = torch.zeros(len(pairs), 4)
        share = sum(level.weight * level.steps for level in self.levels)
        for level in self.levels if pairs else ():  # an image that is known to hold nothing has nothing to climb
            size = working_size(base, 0, self.classifier.stride, level.scale)
            scaled = torch.stack([resized(image, size) for image in images])
            maps, found = self._level(scaled, pairs, [sample.tags or () for sample in samples], level)
            facts += found / len(self.levels)
            for (n, _), total, seen in zip(pairs, totals, maps, strict=True):
                total += onto_grid(seen[None], samples[n].size)[0] * level.weight / share
        mine = [[p for p, pair in enumerate(pairs) if pair[0] == n] for n in range(len(samples))]
        if self.device.type == "cpu":
            hand_back()
        return [self._result(sample, [totals[p] for p in some], facts[some]) for sample, some in zip(samples, mine, strict=True)]

    def _level(
        self, images: Float[Tensor, "b c h w"], pairs: Sequence[tuple[int, int]], tags: Sequence[tuple[int, ...]], level: Level
    ) -> tuple[Float[Tensor, "p y z"], Float[Tensor, "p 4"]]:
        """Sum of the maps of each pair (image, class) at one scale, and its signals."""
        starts = self._start(images)
        restraint = self._restraint(images.shape[-2] * images.shape[-1] / self.classifier.stride**2)
        at_once = max(1, int(self.settings.batch / level.scale**2))
        found = []
        for some in torch.arange(len(pairs)).tensor_split(-(-len(pairs) // at_once)):
            chosen = [pairs[p] for p in some.tolist()]
            target = torch.tensor([row for _, row in chosen], device=self.device)
            ways = ascent(
                partial(self.classifier.class_maps, at=self.settings.point),
                starts[torch.tensor([n for n, _ in chosen], device=self.device)],
                target,
                torch.stack([self._rivals(row, tags[n]) for n, row in chosen]).to(self.device),
                self.settings,
                steps=level.steps,
                restraint=restraint,
                autocast=self.autocast,
            )
            found.append(summed(ways))
        return torch.cat([total for total, _ in found]), torch.cat([signals for _, signals in found]).cpu()

    def _start(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 2 d y x"]:
        """Both views of each image, as activations at the point of the climb."""
        views = with_mirror(images)
        if self.settings.point == "pixels":
            return views
        with torch.no_grad(), self.autocast():
            return self.classifier.features(views.flatten(0, 1), to=self.settings.point).float().unflatten(0, views.shape[:2])

    def _restraint(self, places: float) -> float:
        """λ per place for maps in logits."""
        share = PAPER_PLACES / places if self.settings.restraint_over == "mean" else 1.0
        return self.settings.restraint / PAPER_POSITIVES * share

    def _rivals(self, row: int, tags: Sequence[int]) -> Bool[Tensor, " k"]:
        """Classes that are pushed down while `row` climbs."""
        present = tags if self.settings.competitors == "absent" else ()
        return torch.tensor([other != row and id not in present for other, id in enumerate(self.classifier.ids)])

    @staticmethod
    def _result(sample: Sample, maps: Sequence[Tensor], facts: Float[Tensor, "k 4"]) -> Climb:
        first, last, on, clipped = facts.numpy().T
        empty = np.zeros((0, *grid(sample.size)), np.float32)
        found = torch.stack(list(maps)).cpu().numpy() if maps else empty
        return Climb(found, tuple(sample.tags or ()), tuple(sample.size), first, last, on, clipped)


def summed(ways: Iterator[Rung]) -> tuple[Float[Tensor, "g h w"], Float[Tensor, "g 4"]]:
    """Sum of all maps (eq. 5), and the signals of `Climb`: logit first and last, on, clipped."""
    maps: list[Tensor] = []
    notes: list[tuple[Tensor, Tensor, Tensor]] = []
    for rung in ways:
        maps.append(rung.maps)
        notes.append((rung.logits, rung.on.float().mean(dim=(1, 2)), rung.clipped))
    clipped = notes[-2 if len(notes) > 1 else -1][2]
    return torch.stack(maps).sum(dim=0), torch.stack([notes[0][0], notes[-1][0], notes[-1][1], clipped], dim=1)
