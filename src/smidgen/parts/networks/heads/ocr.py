"""OCR head (Yuan, Chen & Wang, Object-Contextual Representations, ECCV 2020): each place looks at one summary per class of the whole image.

Nothing in it reads text. Coarse scores say softly where each class is: its region. A region is summed up in one vector, the mean of its
places; each place then mixes these few vectors, weighted by how alike it and they are, and is classified with the mixture beside it.

Reading order: Ocr, ObjectContext, then its steps `soft_regions`, `gathered`, `related`, `mixed`. Settings: settings.Ocr.
Differs: works on levels of the encoder's pyramid side by side, as the paper does over HRNet; normalization is by groups of channels, and
for regions over the channels of each (the paper's batch statistics of classes times images are noise for two classes and one image, and
fail for one class); the coarse scores' first convolution is 1x1, as in HRNet's code; similarity is divided by the square root of the key's
width, as in all code of the authors; resizing does not align corners.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor, nn

from smidgen.parts.networks.group_norm import normalized
from smidgen.parts.networks.heads import settings as heads
from smidgen.parts.networks.layers import CONVOLUTIONS, DROPOUTS, LAYOUTS
from smidgen.parts.networks.prediction import Aux, Prediction
from smidgen.parts.networks.upsample import MODES


class ObjectRegions(NamedTuple):
    """Where the regions of the classes are, and which of them each place draws from.

    Args:
        soft: Weight of each place in the summary of each class; sums to 1 over places.
        relation: Weight of each class's summary at each place; sums to 1 over classes.
    """

    soft: Float[Tensor, "b k *space"]
    relation: Float[Tensor, "b k *space"]


class Ocr(nn.Module):
    """Coarse scores, object context, final scores.

    Args:
        settings: Widths, the weight of the coarse scores' own loss, and switches for controls.
        channels: Of each level of the encoder's pyramid.
        strides: Of each level, ascending.
        classes: Number of logits; works for one and two as well.
        dims: Dimensions of space, 2 or 3.
    """

    stride: int
    """Of the finest level that takes part."""

    def __init__(self, settings: heads.Ocr, channels: Sequence[int], strides: Sequence[int], classes: int, dims: int = 2):
        super().__init__()
        self.settings, self.dims = settings, dims
        self.levels = [level for level, stride in enumerate(strides) if stride >= settings.finest] or [len(strides) - 1]
        self.stride = strides[self.levels[0]]
        entering = sum(channels[level] for level in self.levels)
        self.coarse = nn.Sequential(
            *convolved(entering, settings.width, dims, settings.coarse_kernel), CONVOLUTIONS[dims](settings.width, classes, 1)
        )
        self.pixels = nn.Sequential(*convolved(entering, settings.width, dims, 3))
        self.context = ObjectContext(settings.width, settings.key_width, dims, settings.sharpness) if settings.context else None
        fused = settings.width * (2 if settings.context else 1)
        self.fused = nn.Sequential(*convolved(fused, settings.width, dims), DROPOUTS[dims](settings.dropout))
        self.scores = CONVOLUTIONS[dims](settings.width, classes, 1)
        if settings.start == "coarse":
            nn.init.zeros_(self.scores.weight)
            nn.init.zeros_(self.scores.bias)  # pyright: ignore[reportArgumentType]
        self.to(memory_format=LAYOUTS[dims])  # pyright: ignore[reportCallIssue]

    def forward(self, features: Sequence[Tensor], size: Sequence[int]) -> Prediction:
        """Logits at the stride of the finest level, and in training the coarse ones.

        Args:
            features: The pyramid.
            size: Of the image.
        """
        x = self._beside(features)
        coarse, pixels = self.coarse(x), self.pixels(x)
        if self.context is not None:
            pixels = torch.cat([self.context(pixels, coarse)[0], pixels], dim=1)
        logits = self.scores(self.fused(pixels))
        if self.settings.start == "coarse":
            logits = logits + coarse
        trained = self.training and self.settings.aux_weight > 0
        return Prediction(logits, (Aux("coarse", coarse, self.settings.aux_weight),) if trained else ())

    def regions(self, features: Sequence[Tensor]) -> ObjectRegions | None:
        """What the head looked at, for people; None for a head that was built without context.

        Args:
            features: The pyramid.
        """
        if self.context is None:
            return None
        x = self._beside(features)
        return self.context(self.pixels(x), self.coarse(x))[1]

    def _beside(self, features: Sequence[Tensor]) -> Tensor:
        """The levels side by side, the coarser ones enlarged to the finest."""
        finest, *coarser = (features[level] for level in self.levels)
        enlarged = [F.interpolate(one, size=finest.shape[2:], mode=MODES[finest.ndim], align_corners=False) for one in coarser]
        x = torch.cat([finest, *enlarged], dim=1) if enlarged else finest
        return x.contiguous(memory_format=LAYOUTS[self.dims])


class ObjectContext(nn.Module):
    """The context of each place: a mixture of one summary per class.

    Nothing here knows where a place is: exchange places, and the result is exchanged likewise.

    Args:
        width: Channels of the features, and of their context.
        key_width: Channels in which places and regions are compared.
        dims: Dimensions of space.
        sharpness: Factor on the coarse scores before they become regions.
    """

    def __init__(self, width: int, key_width: int, dims: int = 2, sharpness: float = 1.0):
        super().__init__()
        self.sharpness = sharpness
        self.queries = nn.Sequential(*convolved(width, key_width, dims), *convolved(key_width, key_width, dims))
        self.keys = nn.Sequential(*transformed(width, key_width), *transformed(key_width, key_width))
        self.values = nn.Sequential(*transformed(width, key_width))
        self.widened = nn.Sequential(*convolved(key_width, width, dims))

    def forward(self, pixels: Float[Tensor, "b c *space"], coarse: Float[Tensor, "b k *space"]) -> tuple[Tensor, ObjectRegions]:
        """The context, in the shape of `pixels`, and the regions that it came from.

        Args:
            pixels: Features.
            coarse: Scores of the classes, attached: what the regions are used for teaches them as well.
        """
        soft = soft_regions(coarse, self.sharpness)
        summaries = gathered(soft, pixels)
        relation = related(self.queries(pixels), self.keys(summaries))
        return self.widened(mixed(relation, self.values(summaries))), ObjectRegions(soft, relation)


def soft_regions(coarse: Float[Tensor, "b k *space"], sharpness: float = 1.0) -> Float[Tensor, "b k *space"]:
    """Regions: each class's scores, by softmax over all places (not over classes: a region's weights sum to 1, however small it is).

    In 32 bits: among 10,000 places and more a weight is too small for 16.
    Source: paper, soft object regions.

    Args:
        coarse: Scores.
        sharpness: Factor on them; 0 makes every region the whole image.
    """
    return (sharpness * coarse.float()).flatten(2).softmax(dim=2).view(coarse.shape)


def gathered(soft: Float[Tensor, "b k *space"], pixels: Float[Tensor, "b c *space"]) -> Float[Tensor, "b k c"]:
    """The summary of each region: the mean of its places, by weight. One matrix product, in 32 bits as the weights are.

    A class that is not there gets a summary too; the relation learns to leave it alone.
    Source: paper, object region representations.

    Args:
        soft: Weights, summing to 1 over places.
        pixels: Features.
    """
    with torch.autocast(pixels.device.type, enabled=False):
        return soft.flatten(2) @ pixels.float().flatten(2).transpose(1, 2)


def related(queries: Float[Tensor, "b d *space"], keys: Float[Tensor, "b k d"]) -> Float[Tensor, "b k *space"]:
    """How much each place draws from each region: similarity over the square root of the width, by softmax over regions.

    Source: paper, pixel-region relation.

    Args:
        queries: Of the places.
        keys: Of the regions.
    """
    similarity = keys @ queries.flatten(2) / keys.shape[2] ** 0.5
    return similarity.float().softmax(dim=1).view(len(keys), -1, *queries.shape[2:])


def mixed(relation: Float[Tensor, "b k *space"], values: Float[Tensor, "b k d"]) -> Float[Tensor, "b d *space"]:
    """The mixture of the regions' values at each place, places outermost in memory (channels last).

    Args:
        relation: Weights, summing to 1 over regions.
        values: Of the regions.
    """
    return (relation.flatten(2).transpose(1, 2).to(values.dtype) @ values).transpose(1, 2).unflatten(2, relation.shape[2:])


def class_means(label: Integer[Tensor, "b *space"], pixels: Float[Tensor, "b c *space"], classes: int) -> Float[Tensor, "b k c"]:
    """Summaries of the true regions: what `gathered` would give if the coarse scores were right; 0 for a class that is not there.

    An upper bound, for study (GT-OCR in the authors' code).
    Differs: ignored places belong to no region (the authors give them one of their own).

    Args:
        label: Class indices, 255 = ignored, at the size of the features.
        pixels: Features.
        classes: Number of classes.
    """
    of_class = torch.arange(classes, device=label.device).view(1, classes, *(1,) * (label.ndim - 1))
    inside = (label[:, None] == of_class).float()
    places = inside.flatten(2).sum(dim=2).clamp(min=1)
    return gathered(inside / places.view(*places.shape, *(1,) * (label.ndim - 1)), pixels)


def convolved(channels: int, width: int, dims: int, kernel: int = 1) -> list[nn.Module]:
    """A convolution over space, normalized by groups and cut off at zero."""
    return normalized(CONVOLUTIONS[dims](channels, width, kernel, padding=kernel // 2, bias=False))


def transformed(channels: int, width: int) -> list[nn.Module]:
    """The same for summaries, each for itself: no number of classes or images is too small."""
    return [nn.Linear(channels, width, bias=False), nn.LayerNorm(width), nn.ReLU(inplace=True)]
