"""Walk (IRN: Ahn et al., CVPR 2019): edges learned from what heatmaps are sure of, then evidence walks about until it meets them.

Reading order: walk; seeds, EdgeLearner.terms, affinity_costs; edges_of, walked, refined. The network is in parts/networks/edges, paths and
steps are in parts/imaging/random_walk, seeds in parts/imaging/certainty. Settings: settings.Walk.
Differs: no displacement field (it only serves to tell instances apart); all pairs within an image teach (the original leaves out those near
its border); images of any size (the original cuts them to 512 x 512); the common maximum is that of the maps as they are (the original
enlarges them first).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from smidgen.core.errors import NeedError
from smidgen.core.fit import Step, Stream
from smidgen.core.run import Results, Run
from smidgen.data.dataset import Dataset
from smidgen.data.transforms import Augmentation
from smidgen.methods.refine import settings
from smidgen.parts.imaging import random_walk
from smidgen.parts.imaging.affinity import ends, strongest_edges
from smidgen.parts.imaging.certainty import by_crf, by_thresholds
from smidgen.parts.imaging.channels import as_channels
from smidgen.parts.imaging.views import GRID, grid, resized, unmirrored, with_mirror
from smidgen.parts.networks.edges import EdgeNetwork
from smidgen.parts.networks.encoders import Encoder
from smidgen.products.heatmaps import Heatmaps
from smidgen.products.sample import IGNORED, Sample

TINY = 1e-5
"""Keeps logarithms and quotients finite (IRN)."""
WEIGHTS = {"background": 0.25, "foreground": 0.25, "boundary": 0.5}
"""Of the three kinds of pairs: half for what belongs together, half for what does not (IRN)."""


def walk(
    run: Run, settings: settings.Walk, data: Dataset, heatmaps: Mapping[str, Heatmaps], encoder: Callable[[], Encoder]
) -> Results[Heatmaps]:
    """Learn edges from all images with a class in them, then walk in every image that has heatmaps.

    Raises:
        NeedError: No image has a class.
    """
    taught = {id: data.samples[id] for id in sorted(set(data.samples).intersection(heatmaps)) if heatmaps[id].ids}
    if not taught:
        raise NeedError(
            "walk: no heatmap speaks of a class, so there are no edges to learn: tag some images with a class, or use --refine none"
        )
    network = encoder()
    sure = run.map(
        "seeds", partial(seeds, settings=settings, channels=network.in_channels, background=data.classes.background), taught, heatmaps
    )
    pictures = [Seeded(sample, sure) for sample in taught.values()]
    learner = run.fit("edges", EdgeLearner(network, settings, pictures, data.classes.background))
    asked = partial(refined, run=run, settings=settings, network=learner.network)
    return run.map("heatmaps", asked, data.samples, heatmaps)


def seeds(sample: Sample, heatmaps: Heatmaps, settings: settings.Walk, channels: int, background: int | None) -> UInt8[np.ndarray, "h w"]:
    """Label of the pixels of one image that its heatmaps are sure of, 255 elsewhere. Found at the size of the walk."""
    image = torch.from_numpy(as_channels(sample.image(), channels, sample.path or sample.id))
    stored = int(image.shape[1]), int(image.shape[2])
    size = canvas(stored, settings.size) if settings.size else stored
    maps = resized(torch.from_numpy(heatmaps.maps), size).numpy()
    limits = heatmaps.ids, settings.foreground_above, settings.background_below, background
    label = by_crf(resized(image, size).numpy(), maps, *limits) if settings.seed_crf else by_thresholds(maps, *limits)
    return _at(label, stored)


@dataclass(frozen=True)
class Seeded:
    """An image with its seeds, read when asked for.

    Args:
        sample: The image.
        seeds: By image id.
    """

    sample: Sample
    seeds: Mapping[str, UInt8[np.ndarray, "h w"]]

    @property
    def id(self) -> str:
        """Names the image in messages."""
        return self.sample.id

    @property
    def path(self) -> str:
        """Names the image in messages."""
        return self.sample.path


def prepare(picture: Seeded, settings: settings.Walk, channels: int) -> dict[str, Tensor]:
    """A random view of one image and its seeds at a quarter of the view's size. Runs in loader workers."""
    image = as_channels(picture.sample.image(), channels, picture.path or picture.id)
    factor = settings.size / max(image.shape[1:]) if settings.size else 1.0
    scale = (settings.scale[0] * factor, settings.scale[1] * factor)
    view = Augmentation(settings.crop, scale=scale, flip=settings.flip, color=settings.color)(image, picture.seeds[picture.id])
    middle = (torch.arange(grid((settings.crop,) * 2)[0]) * GRID + GRID // 2).clamp(max=settings.crop - 1)
    return {"image": view.image.contiguous(), "seeds": view.label[middle][:, middle]}


class EdgeLearner:
    """The learner: heads on a frozen encoder, which learn where affinity ends.

    Args:
        encoder: With its initial weights.
        settings: How it is trained.
        pictures: Images with seeds.
        background: Label value of the background; None where there is none.
    """

    def __init__(self, encoder: Encoder, settings: settings.Walk, pictures: Sequence[Seeded], background: int | None):
        self.settings, self.background = settings, background
        self.network = EdgeNetwork(encoder)
        self.networks = nn.ModuleDict({"edges": self.network})
        heads = [*self.network.levels.parameters(), *self.network.merge.parameters()]
        self.optimizers = {"all": optimizer(settings, heads)}
        ready = partial(prepare, settings=settings, channels=encoder.in_channels)
        self.streams = {"seeded": Stream(pictures, settings.batch, ready)}
        self.steps = settings.steps or max(1, math.ceil(settings.epochs * len(pictures) / settings.batch))

    def schedule(self, progress: float) -> float:
        """Polynomial fall of the learning rate."""
        return (1 - progress) ** self.settings.power

    def terms(self, batch: dict[str, Any], turn: str, at: Step) -> Mapping[str, Tensor]:
        """Costs of the three kinds of pairs."""
        views = batch["seeded"]
        edges = self.network(views["image"]).float().sigmoid()
        costs = affinity_costs(edges, views["seeds"], self.settings.radius, self.background)
        return {kind: WEIGHTS[kind] * cost for kind, cost in costs.items()}


def optimizer(settings: settings.Walk, parameters: Sequence[nn.Parameter]) -> Optimizer:
    """For the heads; the encoder stays as it is."""
    if settings.optimizer == "adamw":
        return AdamW(parameters, lr=settings.rate, weight_decay=settings.decay)
    return SGD(parameters, lr=settings.rate, momentum=settings.momentum, weight_decay=settings.decay)


def affinity_costs(
    edges: Float[Tensor, "b h w"], seeds: UInt8[Tensor, "b h w"], radius: int, background: int | None
) -> dict[str, Float[Tensor, ""]]:
    """Mean cost per kind of pair: both background, both of one class, of different classes. A kind without pairs costs 0.

    With affinity a: -log a where two places belong together, -log(1 - a) where they do not.
    Source: IRN, as in its code, which averages background and foreground pairs apart; AdvCAM keeps it.

    Args:
        edges: In [0, 1].
        seeds: Label per place, 255 = not known.
        radius: Pairs closer than this count, in places.
        background: Label value of the background; None where there is none.
    """
    sums = {kind: edges.new_zeros(()) for kind in WEIGHTS}
    counts = {kind: edges.new_zeros(()) for kind in WEIGHTS}
    for path in random_walk.paths(radius):
        if not path.fits((edges.shape[1], edges.shape[2])):
            continue
        edge = strongest_edges(edges, path)
        together, apart = -(1 - edge + TINY).log(), -(edge + TINY).log()
        for kind, (pairs, cost) in _by_kind(*ends(seeds, path), together, apart, background).items():
            sums[kind] = sums[kind] + (cost * pairs).sum()
            counts[kind] = counts[kind] + pairs.sum()
    return {kind: sums[kind] / (counts[kind] + TINY) for kind in WEIGHTS}


def _by_kind(first: Tensor, second: Tensor, together: Tensor, apart: Tensor, background: int | None) -> dict[str, tuple[Tensor, Tensor]]:
    known = (first != IGNORED) & (second != IGNORED)
    alike = known & (first == second)
    nothing = alike & (first == (IGNORED if background is None else background))
    return {"background": (nothing, together), "foreground": (alike & ~nothing, together), "boundary": (known & ~alike, apart)}


def canvas(size: tuple[int, ...], longer: int) -> tuple[int, int]:
    """The size at which an image is walked on: multiples of 4 pixels, so that its mirror image has its places at the same spots."""
    factor = longer / max(size) if longer else 1.0
    height, width = grid(tuple(max(1, round(side * factor)) for side in size))
    return GRID * height, GRID * width


def edges_of(image: Float[Tensor, "c h w"], run: Run, network: EdgeNetwork) -> Float[np.ndarray, "i j"]:
    """Edges in [0, 1] of an image; its logits and those of its mirror image are averaged."""
    with torch.no_grad(), run.autocast():
        logits = network(with_mirror(image[None].to(run.device))[0]).float()
    return unmirrored(logits[None]).mean(dim=1)[0].sigmoid().cpu().numpy()


def walked(maps: Float[np.ndarray, "k h w"], edges: Float[np.ndarray, "h w"], settings: settings.Walk) -> Float[np.ndarray, "k h w"]:
    """Evidence after the walk: (maps^power ⊙ (1 - edges)) T^steps.

    Source: IRN; the power is AdvCAM's.
    """
    start = maps.astype(np.float64) ** settings.heat_power * (1 - edges)
    return random_walk.walk(start, random_walk.transition(edges, settings.walk_radius, settings.sharpness), settings.walk_steps)


def refined(sample: Sample, heatmaps: Heatmaps, run: Run, settings: settings.Walk, network: EdgeNetwork) -> Heatmaps:
    """Heatmaps of one image after the walk, divided by their common maximum or by their own."""
    size = canvas(sample.size, settings.size)
    places = grid(size)
    maps, peak = np.zeros((0, *places), np.float32), np.zeros(0, np.float32)
    if heatmaps.ids:
        image = torch.from_numpy(as_channels(sample.image(), network.encoder.in_channels, sample.path or sample.id))
        edges = edges_of(resized(image, size), run, network)
        raw = walked(resized(torch.from_numpy(heatmaps.maps), places).numpy(), edges, settings).astype(np.float32)
        peak = raw.max(axis=(1, 2))
        limit = peak if settings.strongest == "class" else np.full_like(peak, peak.max())
        maps = raw / np.maximum(limit, TINY)[:, None, None]
    background = None if heatmaps.background is None else np.full(places, settings.background, np.float32)
    ignore = None if heatmaps.ignore is None else _at(heatmaps.ignore, places)
    return Heatmaps(maps=maps, ids=heatmaps.ids, background=background, peak=peak, size=heatmaps.size, ignore=ignore)


def _at(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask at another size: the nearest place's value."""
    rows, columns = ((np.arange(new) + 0.5) * old // new for new, old in zip(size, mask.shape, strict=True))
    return mask[rows.astype(int)][:, columns.astype(int)]
