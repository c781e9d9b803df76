"""U-Net head (Ronneberger, Fischer & Brox, MICCAI 2015): back to fine resolution level by level, with the encoder's map of each beside.

The decoder is that of segmentation-models-pytorch.
Differs: it ends at the stride of the encoder's finest map instead of at every pixel; normalization is by groups (the paper has none);
maps are enlarged by repeating places (the paper learns it).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from smidgen.core.errors import SettingsError
from smidgen.parts.networks.group_norm import group_norm
from smidgen.parts.networks.heads import settings as heads
from smidgen.parts.networks.prediction import Prediction


class Unet(nn.Module):
    """The decoder of a U-Net over any encoder.

    Args:
        settings: Widths.
        channels: Of each level of the encoder's pyramid.
        strides: Of each level, ascending.
        classes: Number of logits.

    Raises:
        SettingsError: The pyramid has a single level.
    """

    stride: int

    def __init__(self, settings: heads.Unet, channels: Sequence[int], strides: Sequence[int], classes: int):
        if len(strides) < 2:
            raise SettingsError(f"head 'unet': expected an encoder with features of several strides, came {list(strides)}: choose another")
        from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder  # seconds to import

        super().__init__()
        self.stride = strides[0]
        widths = [min(settings.widest, settings.width * 2**level) for level in range(len(strides) - 1)]
        self.decoder = UnetDecoder([0, *channels], widths[::-1], n_blocks=len(widths))
        _normalize_by_groups(self.decoder)
        self.scores = nn.Conv2d(settings.width, classes, 1)

    def forward(self, features: Sequence[Tensor], size: Sequence[int]) -> Prediction:
        """Logits at the stride of the finest level.

        Args:
            features: The pyramid.
            size: Of the image.
        """
        return Prediction(self.scores(self.decoder([features[0], *features])))  # the first one stands for the image, which is not read


def _normalize_by_groups(decoder: nn.Module) -> None:
    """Batch statistics of a few images are noise, of one image they fail."""
    for parent in list(decoder.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, group_norm(child.num_features))
