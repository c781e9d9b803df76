"""Settings of encoders."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from smidgen.core.settings import Frozen


class Encoder(Frozen):
    """The network that turns pixels into features."""

    name: str = "tf_efficientnet_lite0"
    """Model name as timm knows it; the default's ImageNet weights are installed with smidgen."""
    weights: str = "auto"
    """Initial weights: auto (an installed package, else a download), none (random), or the path of a .safetensors or .pth state dict."""
    stride: Literal[32, 16, 8] = 32
    """Pixels per place of the deepest feature map."""
    dilate: bool = True
    """Below stride 32: convolutions are dilated and keep their field of view (Yu & Koltun 2016); false leaves only the stride away."""
    frozen: int = Field(default=0, ge=0)
    """The stem and so many first stages are not trained; 0 = all is trained."""
