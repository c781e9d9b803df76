"""FPN head (Kirillov et al., Panoptic Feature Pyramid Networks, CVPR 2019): a top-down pyramid whose levels are summed at stride 4.

The decoder is that of segmentation-models-pytorch.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from smidgen.core.errors import SettingsError
from smidgen.parts.networks.heads import settings as heads
from smidgen.parts.networks.prediction import Prediction

STRIDES = (4, 8, 16, 32)


class Fpn(nn.Module):
    """A feature pyramid network.

    Args:
        settings: Channels and dropout.
        channels: Of each level of the encoder's pyramid.
        strides: Of each level, ascending; 4, 8, 16 and 32 must be among them.
        classes: Number of logits.

    Raises:
        SettingsError: The pyramid lacks one of these levels.
    """

    stride = STRIDES[0]

    def __init__(self, settings: heads.Fpn, channels: Sequence[int], strides: Sequence[int], classes: int):
        if not set(STRIDES) <= set(strides):
            raise SettingsError(f"head 'fpn': expected features of strides 4, 8, 16 and 32, came {list(strides)}: set --encoder.stride 32")
        from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder  # seconds to import

        super().__init__()
        self.levels = [list(strides).index(stride) for stride in STRIDES]
        self.decoder = FPNDecoder(
            [channels[level] for level in self.levels],
            encoder_depth=len(STRIDES),
            pyramid_channels=settings.pyramid_channels,
            segmentation_channels=settings.channels,
            dropout=settings.dropout,
        )
        self.scores = nn.Conv2d(settings.channels, classes, 1)

    def forward(self, features: Sequence[Tensor], size: Sequence[int]) -> Prediction:
        """Logits at stride 4.

        Args:
            features: The pyramid; each level twice as large as the next.
            size: Of the image.
        """
        return Prediction(self.scores(self.decoder([features[level] for level in self.levels])))
