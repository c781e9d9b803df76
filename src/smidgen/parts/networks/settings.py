"""Settings of encoders."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from smidgen.core.settings import Frozen


class Encoder(Frozen):
    """The network that turns pixels into features."""

    name: str = "tf_efficientnet_lite0"
    """Model name as timm knows it, for images and slices; the default's ImageNet weights are installed with smidgen. resunet or vnet:
    U-shaped networks for volumes too, which start at random."""
    weights: str = "auto"
    """Initial weights: auto (an installed package, else a download; resunet, vnet: random), none (random), or the path of a .safetensors or
    .pth state dict."""
    stride: Literal[32, 16, 8] = 32
    """Pixels per place of the deepest feature map."""
    dilate: bool = True
    """Below stride 32: convolutions are dilated and keep their field of view (Yu & Koltun 2016); false leaves only the stride away."""
    frozen: int = Field(default=0, ge=0)
    """The stem and so many first stages are not trained; 0 = all is trained."""
    width: int = Field(default=16, ge=1)
    """resunet, vnet: channels of the finest level; they double with every coarser one (Luo et al. 2021: 16)."""
    depth: int = Field(default=5, ge=2, le=8)
    """resunet, vnet: number of levels, each of half the resolution of the one above (Luo et al. 2021: 5)."""
    norm: Literal["batch", "instance", "group"] = "batch"
    """resunet, vnet: over which values layers normalize: those of a channel in the batch (Luo et al. 2021), of a channel in each image, of
    a group of channels in each image."""
    first: Literal[0, 1, 2] = 0
    """resunet: stride of the first level; 0 = 1 for images and slices, 2 for volumes, where a level at every voxel is most of the cost."""
