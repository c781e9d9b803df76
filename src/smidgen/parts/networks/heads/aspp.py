"""ASPP head (DeepLabV3+: Chen et al., ECCV 2018): one map looked at in several widths at once, then refined by features of stride 4.

Differs: normalization is by groups, so that a batch of one image trains; rates follow the encoder's stride; the branch that averages the
whole image is normalized over all its channels, as it has one place.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from smidgen.core.errors import SettingsError
from smidgen.parts.networks.group_norm import normalized
from smidgen.parts.networks.heads import settings as heads
from smidgen.parts.networks.prediction import Prediction

STRIDE = 4
RATES_STRIDE = 16
"""The stride of the features that `rates` speaks of."""


class Aspp(nn.Module):
    """The pyramid over the deepest level, and a decoder of two convolutions.

    Args:
        settings: Rates, widths, kind of convolutions.
        channels: Of each level of the encoder's pyramid.
        strides: Of each level, ascending; 4 must be among them.
        classes: Number of logits.

    Raises:
        SettingsError: The pyramid has no level of stride 4.
    """

    stride = STRIDE

    def __init__(self, settings: heads.Aspp, channels: Sequence[int], strides: Sequence[int], classes: int):
        super().__init__()
        if STRIDE not in strides:
            raise SettingsError(f"head 'aspp': expected an encoder with features of stride 4, came {list(strides)}: choose another encoder")
        self.low = list(strides).index(STRIDE)
        rates = [max(1, round(rate * RATES_STRIDE / strides[-1])) for rate in settings.rates]
        self.pyramid = Pyramid(channels[-1], settings.width, rates, settings.separable)
        self.dropout = nn.Dropout(settings.dropout)
        self.reduced = nn.Sequential(*normalized(nn.Conv2d(channels[self.low], settings.low, 1, bias=False)))
        self.refined = nn.Sequential(
            *spread(settings.low + settings.width, settings.width, 1, settings.separable),
            *spread(settings.width, settings.width, 1, settings.separable),
        )
        self.scores = nn.Conv2d(settings.width, classes, 1)

    def forward(self, features: Sequence[Tensor], size: Sequence[int]) -> Prediction:
        """Logits at stride 4.

        Args:
            features: The pyramid.
            size: Of the image.
        """
        low = self.reduced(features[self.low])
        deep = self.dropout(self.pyramid(features[-1]))
        deep = F.interpolate(deep, size=low.shape[-2:], mode="bilinear", align_corners=False)
        return Prediction(self.scores(self.refined(torch.cat([deep, low], dim=1))))


class Pyramid(nn.Module):
    """Atrous spatial pyramid pooling: a 1x1 branch, a 3x3 branch per rate and one for the whole image, merged by a 1x1 convolution.

    Args:
        channels: Of the map.
        width: Of each branch and of the result.
        rates: Distance between the places that a 3x3 branch sees, in places of the map.
        separable: Whether those branches are done in two steps.
    """

    def __init__(self, channels: int, width: int, rates: Sequence[int], separable: bool = False):
        super().__init__()
        point = nn.Sequential(*normalized(nn.Conv2d(channels, width, 1, bias=False)))
        self.branches = nn.ModuleList([point, *(nn.Sequential(*spread(channels, width, rate, separable)) for rate in rates)])
        self.image = nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.GroupNorm(1, width), nn.ReLU(inplace=True))
        self.merged = nn.Sequential(*normalized(nn.Conv2d((len(rates) + 2) * width, width, 1, bias=False)))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """The map seen in all widths."""
        whole = self.image(x.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, *x.shape[-2:])
        return self.merged(torch.cat([*(branch(x) for branch in self.branches), whole], dim=1))


def spread(channels: int, width: int, rate: int, separable: bool) -> list[nn.Module]:
    """A 3x3 convolution of this rate with what follows it; in two steps where it is separable."""
    if not separable:
        return normalized(nn.Conv2d(channels, width, 3, padding=rate, dilation=rate, bias=False))
    each = nn.Conv2d(channels, channels, 3, padding=rate, dilation=rate, groups=channels, bias=False)
    return [*normalized(each), *normalized(nn.Conv2d(channels, width, 1, bias=False))]
