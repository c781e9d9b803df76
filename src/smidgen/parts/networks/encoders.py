"""Encoders: any timm model as a pyramid of features, and where it is a chain of stages, runnable piece by piece; or a U-shaped trunk.

Reading order: EncoderFactory, Encoder; then how a model is built (`_built`), cut into stages (`_chain`) and stopped from shrinking
(`_without_dilation`). The trunks are in `ushaped`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage] (there is no public name for all of them)

from smidgen.core.errors import SettingsError
from smidgen.core.keys import key, source
from smidgen.core.registry import nearest
from smidgen.parts.imaging.channels import ChannelStatistics
from smidgen.parts.networks import settings as networks
from smidgen.parts.networks import weights
from smidgen.parts.networks.layers import LAYOUTS
from smidgen.parts.networks.simple_pyramid import SimplePyramid
from smidgen.parts.networks.ushaped import TRUNKS, ResUnet, VNet

PIXELS = "pixels"
"""The point before everything."""
FULL_STRIDE = 32
PHOTO_MEAN, PHOTO_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of red, green and blue in ImageNet's photos, which most weights were trained on."""
OF_TRUNKS = {"width", "depth", "norm", "first"}
"""Settings that only those have."""


class EncoderFactory:
    """Makes equal encoders.

    Args:
        settings: Which model, which weights; None = the defaults.
        in_channels: Of the images; other numbers than 3 adapt the first convolution.
        frozen_statistics: Batch statistics stay as they are in training (small batches, exact results on several processes); those of
            trunks, which start at random, never do.
        pixels: What each channel of the training images is like, where they are neither color nor gray; see `Normalize`.
        dims: Spatial axes of the images, 2 or 3.

    Raises:
        WeightsError: The weights are not where the settings say.
        SettingsError: The model takes images only, and volumes are given.
    """

    def __init__(
        self,
        settings: networks.Encoder | None = None,
        in_channels: int = 3,
        frozen_statistics: bool = True,
        pixels: ChannelStatistics | None = None,
        dims: int = 2,
    ):
        self.settings = networks.Encoder() if settings is None else settings
        self.in_channels, self.frozen_statistics, self.pixels, self.dims = in_channels, frozen_statistics, pixels, dims
        if dims != 2 and self.settings.name not in TRUNKS:
            what = f"encoder.name: '{self.settings.name}' takes images, and these are volumes"
            raise SettingsError(f"{what}: choose {' or '.join(TRUNKS)}, or work on slices with --dims 2")
        self._weights = weights.resolve(self.settings)

    @property
    def key(self) -> str:
        """What the encoders depend on: settings, the weights' contents, the code."""
        others = {"stride", "dilate", "frozen"} if self.settings.name in TRUNKS else OF_TRUNKS
        plain = self.settings.model_dump(mode="json", exclude={"weights"} | others)
        more = () if self.pixels is None else (self.pixels.mean, self.pixels.deviation)
        more += () if self.dims == 2 else (self.dims,)
        return key("encoder", plain, self._weights.fingerprint, self.in_channels, self.frozen_statistics, *more, source(__name__))

    @property
    def origin(self) -> str:
        """One line: which weights an encoder starts with."""
        if self.settings.name in TRUNKS:
            return self._weights.origin
        channels = "1 channel" if self.in_channels == 1 else f"{self.in_channels} channels"
        adapted = "" if self.in_channels == 3 else f", first convolution adapted to {channels}"
        adapted += "" if self.pixels is None else ", each normalized by its mean and deviation in training images"
        return self._weights.origin + adapted

    def with_stride(self, stride: int, dilate: bool) -> EncoderFactory:
        """The same encoders with another stride; 0, or trunks, which have a map of every pixel = this factory itself."""
        if not stride or self.settings.name in TRUNKS:
            return self
        settings = self.settings.model_copy(update={"stride": stride, "dilate": dilate})
        return EncoderFactory(settings, self.in_channels, self.frozen_statistics, self.pixels, self.dims)

    def __call__(self) -> Encoder:
        """A new encoder with its initial weights.

        Raises:
            SettingsError: timm does not know the model, or it can't have this stride.
            WeightsError: The weights can't be read or do not fit.
        """
        if self.settings.name in TRUNKS:
            trunk = TRUNKS[self.settings.name](self.settings, self.in_channels, self.dims)
            weights.load_trunk(trunk, self._weights)
            return Encoder(trunk, self.in_channels, 0, False, self.pixels, self.dims)
        model = _built(self.settings, self._weights, self.in_channels)
        return Encoder(model, self.in_channels, self.settings.frozen, self.frozen_statistics, self.pixels)


class Encoder(nn.Module):
    """Pixels in [0, 1], or z-scored ones, to features. The normalization that the model was trained with is the first layer.

    It works in the channels-last layout, which is several times as fast on CPUs.

    Args:
        model: A timm model without classifier, or a trunk.
        in_channels: Of the images.
        frozen: The stem and so many first stages are not trained.
        frozen_statistics: Batch statistics stay as they are in training.
        pixels: What each channel of the images is like; None: like that of photos.
        dims: Spatial axes of the images.

    Raises:
        SettingsError: There are fewer stages than should be frozen.
    """

    kind: Literal["pyramid", "plain"]
    """Maps of several strides; or of one, from which a simple feature pyramid is made."""
    points: tuple[str, ...]
    """Where `features` can start and end: "pixels", then the stages where the model is a chain."""
    channels: tuple[int, ...]
    """Of each level of the pyramid."""
    strides: tuple[int, ...]
    """Pixels per place of each level, ascending."""
    final_channels: int
    """Of the last feature map."""
    final_stride: int
    """Pixels per place of the last feature map."""
    dims: int = 2
    """Spatial axes of an image."""

    def __init__(
        self,
        model: nn.Module,
        in_channels: int = 3,
        frozen: int = 0,
        frozen_statistics: bool = True,
        pixels: ChannelStatistics | None = None,
        dims: int = 2,
    ):
        super().__init__()
        self.in_channels, self.frozen_statistics, self.dims = in_channels, frozen_statistics, dims
        self.pyramid: SimplePyramid | None = None
        self._scale = 1.0
        if isinstance(model, ResUnet | VNet):
            self._of_trunk(model, pixels)
            return
        levels: list[dict[str, Any]] = list(model.feature_info)  # pyright: ignore[reportArgumentType, reportCallIssue]
        config: dict[str, Any] = model.pretrained_cfg  # pyright: ignore[reportAssignmentType]
        self.normalize = Normalize(config["mean"], config["std"], in_channels, pixels)
        self.model = model
        self._chain = _chain(model)
        self.points = (PIXELS, *self._chain)
        deepest = levels[-1]
        if len({level["reduction"] for level in levels}) == 1:
            self.kind = "plain"
            self.final_channels, self.final_stride = deepest["num_chs"], 2 ** round(math.log2(deepest["reduction"]))
            self._scale = deepest["reduction"] / self.final_stride  # patches of 14 pixels: the image shrinks, so that a patch spans 16
            self.pyramid = SimplePyramid(self.final_channels, self.final_stride)
            self.channels, self.strides = self.pyramid.channels, self.pyramid.strides
        else:
            self.kind = "pyramid"
            last_of = {level["reduction"]: n for n, level in enumerate(levels)}  # of several maps of one stride, the deepest
            self._taken = [last_of[stride] for stride in sorted(last_of)]
            self._taps = [_stage_of(levels[n]["module"]) for n in self._taken]
            self.channels = tuple(levels[n]["num_chs"] for n in self._taken)
            self.strides = tuple(sorted(last_of))
            self.final_channels = int(model.num_features) if self._chain else deepest["num_chs"]  # pyright: ignore[reportArgumentType]
            self.final_stride = deepest["reduction"]
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        if frozen:
            _freeze(model, frozen)

    def _of_trunk(self, model: ResUnet | VNet, pixels: ChannelStatistics | None) -> None:
        like = pixels or ChannelStatistics(PHOTO_MEAN, PHOTO_DEVIATION)
        self.kind, self.points, self._chain = "pyramid", (PIXELS,), {}
        self.normalize = Normalize(like.mean, like.deviation, self.in_channels, dims=self.dims)
        self.model = model
        self.channels, self.strides = (model.width,), (1,)
        self.final_channels, self.final_stride = model.width, 1
        self.to(memory_format=LAYOUTS[self.dims])  # pyright: ignore[reportCallIssue]

    @property
    def multiple(self) -> int:
        """What the sides of the images it is given are multiples of: the largest stride that it works at."""
        model = getattr(self, "model", None)
        return model.multiple if isinstance(model, ResUnet | VNet) else max(self.strides)

    @property
    def stages(self) -> tuple[str, ...]:
        """The chain's names in order; empty where the model is none."""
        return self.points[1:]

    def train(self, mode: bool = True) -> Encoder:
        """Training mode, except for batch statistics that are frozen."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm) and (self.frozen_statistics or _is_frozen(module)):
                module.eval()
        return self

    def forward(self, image: Float[Tensor, "b c *space"]) -> list[Tensor]:
        """The pyramid, finest level first.

        Args:
            image: Values in [0, 1], or z-scored; ceil(size / stride) places per level where the model pads, so give multiples of
                `multiple`.
        """
        x = self._entered(image)
        if isinstance(self.model, ResUnet | VNet):
            return [self.model(x)]
        if self.pyramid is not None:
            return self.pyramid(self._last(x))
        if not self._chain:
            return self.model.forward_intermediates(x, indices=self._taken, intermediates_only=True)  # pyright: ignore[reportCallIssue]
        levels: list[Tensor] = []
        for stage in self.stages[: self.stages.index(self._taps[-1]) + 1]:
            x = self._through(stage, x)
            if stage in self._taps:
                levels.append(x)
        return levels

    def features(self, x: Float[Tensor, "b c *h"], at: str = PIXELS, to: str | None = None) -> Float[Tensor, "b d *i"]:
        """From the activations at one point to those at another.

        Args:
            x: Activations at `at`; pixels in [0, 1].
            at: One of `points`.
            to: One of `points`, not before `at`; None = the last feature map.

        Raises:
            SettingsError: There is no such point, or `to` comes before `at`.
        """
        start, end = self._place(at), len(self.points) - 1 if to is None else self._place(to)
        if end < start:
            raise SettingsError(f"features from '{at}' to '{to}': '{to}' comes first: exchange them")
        if to == at:
            return x
        if not self._chain:
            return self._last(self._entered(x))
        x = self._entered(x) if start == 0 else x.contiguous(memory_format=torch.channels_last)
        for stage in self.stages[start:end]:
            x = self._through(stage, x)
        return x

    def _place(self, point: str) -> int:
        if point not in self.points:
            raise SettingsError(f"this encoder has no point '{point}': {nearest(point, self.points)}")
        return self.points.index(point)

    def _entered(self, image: Tensor) -> Tensor:
        if self._scale != 1:
            size = [max(1, round(n * self._scale)) for n in image.shape[-2:]]
            image = F.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)
        return self.normalize(image.contiguous(memory_format=LAYOUTS[self.dims]))

    def _through(self, stage: str, x: Tensor) -> Tensor:
        for name in self._chain[stage]:
            x = self.model.get_submodule(name)(x)
        return x

    def _last(self, x: Tensor) -> Tensor:
        """The last map of a model that is no chain; a transformer's is normalized."""
        if isinstance(self.model, ResUnet | VNet):
            return self.model(x)
        plain = self.kind == "plain"
        return self.model.forward_intermediates(x, indices=1, norm=plain, intermediates_only=True)[-1]  # pyright: ignore[reportCallIssue]


class Normalize(nn.Module):
    """Pixels in [0, 1] to what the model was trained with.

    Channels that are no colors (infrared, height, stains) are first given the mean and deviation that a color has in photos, so that the
    pretrained weights meet values of the size they are made for.

    Args:
        mean: Of red, green, blue.
        std: Likewise.
        channels: 3, 1 (their average), or more (they repeat, as the adapted weights do).
        pixels: What each channel is like; None: like that of photos.
        dims: Spatial axes.

    Example:
        >>> infrared = ChannelStatistics(mean=(0.9,), deviation=(0.02,))
        >>> seen = Normalize([0.5] * 3, [0.5] * 3, 1, infrared)(torch.tensor([0.9, 0.92]).view(2, 1, 1, 1))
        >>> [round(x, 2) for x in seen.flatten().tolist()]
        [-0.1, 0.35]
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], channels: int, pixels: ChannelStatistics | None = None, dims: int = 2):
        super().__init__()
        means, stds = _spread(mean, channels), _spread(std, channels)
        if pixels is not None:
            photo = zip(_spread(PHOTO_MEAN, channels), _spread(PHOTO_DEVIATION, channels), strict=True)
            # (x - m') / s' has the mean (photo - mean) / std and the deviation photo's / std
            scales = [std * own / like for own, (_, like), std in zip(pixels.deviation, photo, stds, strict=True)]
            shifts = [(like - mean) / std for like, mean, std in zip(_spread(PHOTO_MEAN, channels), means, stds, strict=True)]
            means = [own - scale * shift for own, scale, shift in zip(pixels.mean, scales, shifts, strict=True)]
            stds = scales
        for name, values in (("mean", means), ("std", stds)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, *(1,) * dims))

    def forward(self, image: Float[Tensor, "b c *space"]) -> Float[Tensor, "b c *space"]:
        """Subtract the mean, divide by the deviation."""
        return (image - self.mean) / self.std


def _spread(values: Sequence[float], channels: int) -> list[float]:
    """Of red, green, blue to any number of channels."""
    return [sum(values) / len(values)] if channels == 1 else [values[i % len(values)] for i in range(channels)]


def _built(settings: networks.Encoder, found: weights.Weights, in_channels: int) -> nn.Module:
    import timm  # seconds to import

    if not timm.is_model(settings.name.partition(".")[0]):
        raise SettingsError(f"encoder.name: timm has no model '{settings.name}': {nearest(settings.name, timm.list_models())}")
    config = timm.get_pretrained_cfg(settings.name, allow_unregistered=True)
    fixed = config is not None and config.fixed_input_size
    options: dict[str, Any] = {"num_classes": 0}
    if fixed:
        options |= {"dynamic_img_size": True, "dynamic_img_pad": True}
    if settings.stride != FULL_STRIDE:
        options |= {"output_stride": settings.stride}
    try:
        if found.kind == "download":
            model = weights.downloaded(settings.name, options, in_channels)
        else:
            model = timm.create_model(settings.name, in_chans=in_channels, **options)
    except TypeError as error:
        remedy = "choose another encoder" if fixed else f"set --encoder.stride {FULL_STRIDE}"
        raise SettingsError(f"encoder '{settings.name}' can't have another size or stride than its own ({error}): {remedy}") from error
    if not hasattr(model, "forward_intermediates") or not hasattr(model, "feature_info"):
        raise SettingsError(f"encoder '{settings.name}' does not give intermediate features: choose another encoder")
    weights.load(model, found, in_channels)
    if settings.stride != FULL_STRIDE and not settings.dilate:
        _without_dilation(model)
    return model


def _without_dilation(model: nn.Module) -> None:
    """Strides stay away, but convolutions see as little as before: the classic stride 16 of class activation maps."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and max(module.dilation) > 1:
            module.dilation = (1, 1)
            if any(module.padding):  # where it is 0, the module pads for itself, from its dilation
                module.padding = tuple((n - 1) // 2 for n in module.kernel_size)


def _chain(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Stage name -> its modules in order, for families that are a chain; their composition is the model."""
    from timm.models.efficientnet import EfficientNet
    from timm.models.mobilenetv3 import MobileNetV3
    from timm.models.resnet import ResNet

    if isinstance(model, ResNet):
        layers = {f"layer{n}": (f"layer{n}",) for n in (2, 3, 4)}
        return {"stem": ("conv1", "bn1", "act1"), "layer1": ("maxpool", "layer1"), **layers}
    if not isinstance(model, EfficientNet | MobileNetV3):
        return {}
    blocks = {f"blocks.{n}": (f"blocks.{n}",) for n in range(len(model.blocks))}
    head = {"head": ("conv_head", "bn2")} if isinstance(model, EfficientNet) else {}  # MobileNetV3's comes after pooling
    return {"stem": ("conv_stem", "bn1"), **blocks, **head}


def _stage_of(module: str) -> str:
    """The stage whose output timm means by a module's name."""
    return "stem" if module in ("bn1", "act1", "conv_stem") else module


def _freeze(model: nn.Module, frozen: int) -> None:
    from timm.models import group_parameters

    groups = group_parameters(model, model.group_matcher(coarse=True))  # pyright: ignore[reportCallIssue]
    stages = sorted(groups)
    if frozen >= len(stages):
        raise SettingsError(f"encoder.frozen: the encoder has {len(stages) - 1} stages after its stem, {frozen} can't be frozen: lower it")
    own = dict(model.named_parameters())
    for stage in stages[: frozen + 1]:
        for name in groups[stage]:
            own[name].requires_grad_(False)


def _is_frozen(module: nn.Module) -> bool:
    return not any(parameter.requires_grad for parameter in module.parameters())
