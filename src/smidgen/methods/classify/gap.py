"""GAP (Zhou et al., CVPR 2016; trained as in IRN, Ahn et al., CVPR 2019): a multi-label classifier whose logits have a place.

Reading order: gap, Tagging.terms (the loss), GapClassifier.class_maps. The last feature map is averaged over all places and goes through a
linear layer without bias; so the same layer, asked before the average, tells where the evidence is. Settings: settings.Gap.
Differs: any encoder instead of ResNet-50; padding is an image's mean color; optionally other optimizers, color changes and class weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from smidgen.core.errors import DataError, ShapeError
from smidgen.core.fit import Step, Stream
from smidgen.core.run import Run
from smidgen.data.dataset import Dataset
from smidgen.data.transforms import Augmentation
from smidgen.methods.classify import settings
from smidgen.parts.imaging.channels import as_channels
from smidgen.parts.imaging.views import resized, with_mirror, working_size
from smidgen.parts.networks.encoders import Encoder, EncoderFactory
from smidgen.parts.networks.folding import lean
from smidgen.products.sample import Sample
from smidgen.products.tag_classifier import TagClassifier
from smidgen.products.warm import WarmStart, start_from

TOGETHER = 8
"""Images of equal size whose tags are predicted at once."""


def gap(run: Run, settings: settings.Gap, data: Dataset, encoder: EncoderFactory, warm_from: WarmStart | None = None) -> TagClassifier:
    """Train on the training images with known tags, then predict tags for them and for val."""
    ids = data.classes.foreground
    body = encoder.with_stride(settings.stride, settings.dilate)()
    tagging = Tagging(body, settings, data.tagged, ids)
    if warm_from is not None and warm_from.classifier is not None:
        names = [data.classes.names[i] for i in ids]
        start_from(tagging.networks, warm_from.classifier, names, lambda k: nn.Conv2d(body.final_channels, k, 1, bias=False))
    learner = run.fit("classifier", tagging)
    classifier = GapClassifier(learner.networks, ids)
    known = {id: sample for part in (data.train, data.val) for id, sample in part.items() if sample.tags is not None}
    asked = partial(tag_probs, run=run, settings=settings, classifier=classifier)
    together = partial(_working_size, settings=settings, stride=classifier.stride)
    classifier.tag_probs = run.map("tag-probs", asked, known, together=together, size=TOGETHER)
    return classifier


class GapClassifier:
    """A trained classifier: what `products.tag_classifier.TagClassifier` promises.

    Args:
        networks: "encoder" and "head", as they are in the stage's checkpoint.
        ids: Label value that each logit speaks of.
    """

    tag_probs: Mapping[str, Float32[np.ndarray, " k"]]
    """Image id -> probability of each class in `ids`, for train and val images with known tags."""

    def __init__(self, networks: nn.ModuleDict, ids: tuple[int, ...]):
        self.networks, self.ids, self.key, self.tag_probs = networks, ids, "", {}
        self._lean: GapClassifier | None = None
        self.encoder: Encoder = networks["encoder"]  # pyright: ignore[reportAttributeAccessIssue] (a module dict forgets the class)
        self.points, self.stride = self.encoder.points, self.encoder.final_stride
        weights: Tensor = networks["head"].weight  # pyright: ignore[reportAssignmentType]
        self.head_weights: Float[Tensor, "k c"] | None = weights.detach()[:, :, 0, 0]

    def prepare(self, image: Float32[np.ndarray, "c h w"]) -> Float[Tensor, "c h w"]:
        """The image as a tensor with the encoder's number of channels."""
        return torch.from_numpy(np.array(as_channels(image, self.encoder.in_channels, "image"), order="C"))

    def features(self, x: Float[Tensor, "b ..."], at: str = "pixels", to: str | None = None) -> Float[Tensor, "b c h w"]:
        """From the activations at one point to those at another (None: the last feature map)."""
        return self.encoder.features(x, at=at, to=to)

    def class_maps(self, x: Float[Tensor, "b ..."], at: str = "pixels", companions: Tensor | None = None) -> Float[Tensor, "b k h w"]:
        """Logits per place. Companions are of no use to a classifier that looks at one image at a time."""
        return place_logits(self.networks, x, at)

    def lean(self) -> GapClassifier:
        """The same function in fewer steps: batch statistics are folded into convolutions. Made when first asked for."""
        if self._lean is None:
            networks = nn.ModuleDict({"encoder": lean(self.encoder), "head": self.networks["head"]})
            self._lean = GapClassifier(networks, self.ids)
            self._lean.key, self._lean.tag_probs = self.key, self.tag_probs
        return self._lean

    def layers(self) -> Sequence[nn.Module] | None:
        """None: the encoders' blocks have branches, they are no plain chain."""
        return None


class Tagging:
    """The learner: one stream of tagged images, one loss.

    Args:
        encoder: With its initial weights.
        settings: How it is trained.
        samples: Images with known tags.
        ids: Classes that get a logit, in this order.
    """

    def __init__(self, encoder: Encoder, settings: settings.Gap, samples: Mapping[str, Sample], ids: tuple[int, ...]):
        if not samples:
            raise DataError("no training image has known tags: add tags.csv, or choose a recipe that learns from masks")
        for sample in samples.values():
            if len(sample.size) != 2:
                raise ShapeError(
                    f"{sample.path or sample.id}: expected a 2D image, found {len(sample.size)} dimensions: export the slices as images"
                )
        head = nn.Conv2d(encoder.final_channels, len(ids), 1, bias=False)
        # channels-last is the faster layout on CPUs and GPUs; it does not change what is computed
        self.networks = nn.ModuleDict({"encoder": encoder, "head": head}).to(memory_format=torch.channels_last)
        self.settings = settings
        self.optimizers = {"all": optimizer(settings, [p for p in encoder.parameters() if p.requires_grad], head.parameters())}
        pictures = tuple(samples.values())
        prepare = partial(view, settings=settings, ids=ids, channels=encoder.in_channels)
        self.streams = {"tagged": Stream(pictures, settings.batch, prepare)}
        self.steps = settings.steps or max(1, math.ceil(settings.epochs * len(pictures) / settings.batch))
        self.clip = settings.clip or None
        self.weights = balance(pictures, ids, settings.balance, settings.balance_limit)

    def schedule(self, progress: float) -> float:
        """Warm-up times decay."""
        return rate_factor(progress, 1 / self.steps, self.settings)

    def terms(self, batch: dict[str, Any], turn: str, at: Step) -> Mapping[str, Tensor]:
        """Tags from the mean over all places."""
        images, tags = batch["tagged"]["image"], batch["tagged"]["tags"]
        logits = place_logits(self.networks, images).mean(dim=(2, 3))
        return {"tags": tag_loss(logits.float(), tags, self.weights.to(logits.device))}


def place_logits(networks: nn.ModuleDict, x: Float[Tensor, "b c h w"], at: str = "pixels") -> Float[Tensor, "b k i j"]:
    """Logits per place; their mean is the image's logit."""
    return networks["head"](networks["encoder"].features(x, at=at))  # pyright: ignore[reportCallIssue]


def tag_loss(logits: Float[Tensor, "b k"], tags: Float[Tensor, "b k"], weights: Float[Tensor, " k"]) -> Float[Tensor, ""]:
    """Multi-label soft-margin loss: each class a yes-or-no question; `weights` make a yes count more."""
    return binary_cross_entropy_with_logits(logits, tags, pos_weight=weights)


def balance(samples: Sequence[Sample], ids: Sequence[int], exponent: float, limit: float) -> Float[Tensor, " k"]:
    """Weight of a present tag: (absent / present)^exponent within [1, limit]; 1 for a class that is never there."""
    present = torch.tensor([float(sum(id in (sample.tags or ()) for sample in samples)) for id in ids])
    weights = ((len(samples) - present) / present.clamp(min=1)).pow(exponent).clamp(1, limit)
    return torch.where(present > 0, weights, torch.ones_like(weights))


def optimizer(settings: settings.Gap, trunk: Iterable[nn.Parameter], head: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The encoder and the new layer at their own rates."""
    groups = [{"params": list(trunk), "lr": settings.rate}, {"params": list(head), "lr": settings.head_rate}]
    groups = [group for group in groups if group["params"]]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, weight_decay=settings.decay)
    return torch.optim.SGD(groups, momentum=settings.momentum, weight_decay=settings.decay)


def rate_factor(progress: float, step: float, settings: settings.Gap) -> float:
    """Factor on the learning rates.

    Args:
        progress: Share of the steps that are done, in [0, 1).
        step: One step as such a share; the first step of a warm-up already moves.
        settings: Shape of the curve.
    """
    rise = min(1.0, (progress + step) / settings.warmup) if settings.warmup else 1.0
    fall = {"poly": (1 - progress) ** settings.power, "cosine": 0.5 * (1 + math.cos(math.pi * progress)), "constant": 1.0}
    return rise * fall[settings.schedule]


def view(sample: Sample, settings: settings.Gap, ids: Sequence[int], channels: int) -> dict[str, Tensor]:
    """A random view of an image and its tags as zeros and ones. Runs in loader workers."""
    image = as_channels(sample.image(), channels, sample.path or sample.id)
    factor = float(torch.empty(()).uniform_(*map(float, settings.long_side))) / max(image.shape[1:])
    augmentation = Augmentation(crop=settings.crop, scale=(factor, factor), flip=settings.flip, color=settings.color)
    seen = augmentation(image, np.zeros(image.shape[1:], np.uint8)).image
    tags = torch.tensor([float(id in (sample.tags or ())) for id in ids])
    return {"image": seen.contiguous(), "tags": tags}


def _working_size(sample: Sample, settings: settings.Gap, stride: int) -> tuple[int, int]:
    return working_size(sample.size, settings.score_size, stride)


def tag_probs(samples: Sequence[Sample], run: Run, settings: settings.Gap, classifier: GapClassifier) -> list[Float32[np.ndarray, " k"]]:
    """Probability of each class, averaged over an image and its mirror image."""
    size = _working_size(samples[0], settings, classifier.stride)
    images = torch.stack([resized(classifier.prepare(sample.image()), size) for sample in samples]).to(run.device)
    with torch.no_grad(), run.autocast():
        logits = classifier.class_maps(with_mirror(images).flatten(0, 1)).float().mean(dim=(2, 3))
    return list(logits.sigmoid().unflatten(0, (len(samples), 2)).mean(dim=1).cpu().numpy())
