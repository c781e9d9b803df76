"""U-shaped trunks for images and volumes, trained from scratch: down by strides, up again with the map of each level beside.

`resunet`: residual units and concatenation (Kerfoot et al., STACOM 2018; Ronneberger et al., MICCAI 2015). `vnet`: the V-Net that dual-task
consistency is published with (Luo et al., AAAI 2021, code), without residuals and with sums (Milletari et al., 3DV 2016).

Reading order: ResUnet, VNet; then the units they are made of.
Differs: see each. Any number of levels; two or three spatial axes.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from smidgen.parts.networks import settings as networks
from smidgen.parts.networks.layers import CONVOLUTIONS, DROPOUTS, TRANSPOSED, Norm, norm

SLOPE = 0.01
"""Of the activation below zero (Isensee et al., Nature Methods 2021)."""
CONVOLUTIONS_MOST = 3
"""Convolutions of a level of the V-Net; level n has n of them up to this."""
DROPPED = 0.5
"""Share of channels that the V-Net leaves out in training."""


class ResUnet(nn.Module):
    """A residual U-Net whose widths double from level to level.

    Where the first level has stride 2, as in volumes, nothing but one transposed convolution works at every voxel: an eighth of the cost.
    Differs: shortcuts are 1x1 convolutions where shapes differ; the last level is normalized and cut off like all others, as a head
        follows.

    Args:
        settings: Width of the first level, number of levels, normalization, stride of the first level.
        in_channels: Of the image.
        dims: Spatial axes.
    """

    def __init__(self, settings: networks.Encoder, in_channels: int, dims: int):
        super().__init__()
        self.width, first = settings.width, settings.first or dims - 1
        self.multiple = first * 2 ** (settings.depth - 1)
        widths = [settings.width * 2**level for level in range(settings.depth)]
        entering = zip([in_channels, *widths], widths, [first, *[2] * (settings.depth - 1)], strict=False)
        self.down = nn.ModuleList(Unit(came, width, stride, 2, settings.norm, dims) for came, width, stride in entering)
        falling = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.enlarged = nn.ModuleList(nn.Sequential(*enlarging(came, width, settings.norm, dims)) for came, width in falling)
        self.up = nn.ModuleList(Unit(2 * width, width, 1, 1, settings.norm, dims) for _, width in falling)
        self.finest = nn.Sequential(*(enlarging(self.width, self.width, settings.norm, dims) if first == 2 else ()))

    def forward(self, x: Float[Tensor, "b c *space"]) -> Float[Tensor, "b width *space"]:
        """Features at every place.

        Args:
            x: An image whose sides are multiples of `multiple`.
        """
        skips: list[Tensor] = []
        for unit in self.down:
            x = unit(x)
            skips.append(x)
        skips.pop()
        for enlarged, unit in zip(self.enlarged, self.up, strict=True):
            x = unit(torch.cat([skips.pop(), enlarged(x)], dim=1))
        return self.finest(x)


class VNet(nn.Module):
    """The V-Net variant of dual-task consistency: plain convolutions, two at a time down and up, skips that are added.

    With batch normalization, width 16, five levels and two heads of one channel it has the 9,448,866 parameters of the authors' network.

    Args:
        settings: Width of the first level, number of levels, normalization.
        in_channels: Of the image.
        dims: Spatial axes.
    """

    def __init__(self, settings: networks.Encoder, in_channels: int, dims: int):
        super().__init__()
        self.width, self.multiple = settings.width, 2 ** (settings.depth - 1)
        widths = [settings.width * 2**level for level in range(settings.depth)]
        counts = [min(level + 1, CONVOLUTIONS_MOST) for level in range(settings.depth)]
        several = partial(convolving, kind=settings.norm, dims=dims)
        entering = [in_channels, *widths[1:]]
        self.down = nn.ModuleList(nn.Sequential(*several(*level)) for level in zip(entering, widths, counts, strict=True))
        steps = list(pairwise(widths))
        self.shrunk = nn.ModuleList(nn.Sequential(*shrinking(one, other, settings.norm, dims)) for one, other in steps)
        self.enlarged = nn.ModuleList(nn.Sequential(*raising(other, one, settings.norm, dims)) for one, other in reversed(steps))
        self.up = nn.ModuleList(
            nn.Sequential(*several(*level)) for level in zip(widths[-2::-1], widths[-2::-1], counts[-2::-1], strict=True)
        )
        self.dropout = DROPOUTS[dims](DROPPED)

    def forward(self, x: Float[Tensor, "b c *space"]) -> Float[Tensor, "b width *space"]:
        """Features at every place.

        Args:
            x: An image whose sides are multiples of `multiple`.
        """
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(self.shrunk[level - 1](x) if level else x)
            skips.append(x)
        x = self.dropout(skips.pop())
        for enlarged, block in zip(self.enlarged, self.up, strict=True):
            x = block(enlarged(x) + skips.pop())
        return self.dropout(x)


TRUNKS: dict[str, type[ResUnet] | type[VNet]] = {"resunet": ResUnet, "vnet": VNet}
"""By encoder name."""


class Unit(nn.Module):
    """A residual unit (He et al., CVPR 2016): convolutions beside a shortcut.

    Args:
        came: Channels that come in.
        width: Channels that go out.
        stride: Of the first convolution.
        convolutions: How many.
        kind: Of normalization.
        dims: Spatial axes.
    """

    def __init__(self, came: int, width: int, stride: int, convolutions: int, kind: Norm, dims: int):
        super().__init__()
        layers: list[nn.Module] = []
        for n in range(convolutions):
            convolution = CONVOLUTIONS[dims](width if n else came, width, 3, 1 if n else stride, padding=1, bias=False)
            layers += [convolution, norm(kind, width, dims), nn.LeakyReLU(SLOPE, inplace=True)]
        self.convolved = nn.Sequential(*layers[:-1])
        alike = came == width and stride == 1
        # A stride of its own would give the same numbers: but in the layout used here the gradient of a strided 1x1 convolution of few
        # channels writes beyond its memory on CPUs (torch 2.14.1).
        self.shortcut = nn.Identity() if alike else CONVOLUTIONS[dims](came, width, 1, bias=False)
        self.every = (..., *(slice(None, None, stride),) * dims)
        self.activation = nn.LeakyReLU(SLOPE, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """The sum, cut off."""
        return self.activation(self.convolved(x) + self.shortcut(x[self.every]))


def enlarging(came: int, width: int, kind: Norm, dims: int) -> list[nn.Module]:
    """Twice as many places along each axis, for the residual U-Net."""
    return [TRANSPOSED[dims](came, width, 2, 2, bias=False), norm(kind, width, dims), nn.LeakyReLU(SLOPE, inplace=True)]


def convolving(came: int, width: int, count: int, kind: Norm, dims: int) -> list[nn.Module]:
    """Convolutions of the V-Net with what follows each; with biases, as in the authors' code."""
    layers: list[nn.Module] = []
    for n in range(count):
        layers += [CONVOLUTIONS[dims](width if n else came, width, 3, padding=1), norm(kind, width, dims), nn.ReLU(inplace=True)]
    return layers


def shrinking(came: int, width: int, kind: Norm, dims: int) -> list[nn.Module]:
    """Half as many places along each axis."""
    return [CONVOLUTIONS[dims](came, width, 2, 2), norm(kind, width, dims), nn.ReLU(inplace=True)]


def raising(came: int, width: int, kind: Norm, dims: int) -> list[nn.Module]:
    """Twice as many places along each axis."""
    return [TRANSPOSED[dims](came, width, 2, 2), norm(kind, width, dims), nn.ReLU(inplace=True)]
