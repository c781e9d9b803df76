"""Settings of the methods that train a segmentation network. Torch-free."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from smidgen.core.settings import Frozen, Length


class Supervised(Frozen):
    """Training from dense, sparse or generated labels. Defaults: the DeepLab-v2 recipe that AdvCAM's masks are trained with."""

    size: int = Field(0, ge=0)
    """Longest side in pixels that pictures are shrunk to before anything else, here and in prediction; 0 = full size (AdvCAM, sec. 5)."""
    crop: int = Field(321, ge=8)
    """Side of a training view in pixels (DeepLab-v2 base configuration); of volumes and slices see `patch`."""
    scale: tuple[PositiveFloat, PositiveFloat] = (0.5, 2.0)
    """Smallest and largest random factor on an image; drawn evenly, the paper draws in steps of .25 (AdvCAM, sec. 5)."""
    flip: bool = True
    """Mirror half of the views of pictures left to right (DeepLab-v2)."""
    color: float = Field(0.0, ge=0, le=1)
    """Strength of random brightness, contrast and saturation: factors in 1 ± color; 0 = none (DeepLab-v2)."""
    patch: tuple[PositiveInt, ...] = ()
    """Volumes and slices: sides of a training view in voxels, (d, h, w) or (h, w), and of the windows of prediction in 3D; () = `crop` in
    every direction (Luo et al. 2021: 80, 112, 112 for atria)."""
    degrees: float = Field(15.0, ge=0, le=180)
    """Volumes and slices: largest random angle by which rows and columns are turned (Luo et al. 2021: by 90; 15 for the
    pancreas)."""
    foreground: float = Field(0.5, ge=0, le=1)
    """Volumes and slices: share of views that are centered on the foreground, each class as often as any other (nnU-Net: 0.33)."""
    flips: tuple[bool, ...] = ()
    """Volumes and slices: axes along which half of the views are mirrored; () = none, for organs have a left and a right."""
    batch: int = Field(10, ge=1)
    """Views in a step (AdvCAM, sec. 5)."""
    steps: Annotated[int, Length(least=60)] = Field(30_000, ge=1)
    """Training steps (AdvCAM, sec. 5)."""
    epochs: Annotated[float, Length(least=2, rounds=True, overrides=True, least_steps=60)] = Field(0.0, ge=0)
    """Rounds over the labeled images; above 0 it takes the place of `steps`."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """How weights move: SGD with momentum (DeepLab-v2), or AdamW."""
    lr_encoder: float = Field(2.5e-4, gt=0)
    """Learning rate of the encoder (AdvCAM, sec. 5)."""
    lr_head: float = Field(2.5e-3, gt=0)
    """Learning rate of the head, ten times the encoder's (DeepLab-v2)."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of SGD (DeepLab-v2); AdamW uses its own."""
    weight_decay: float = Field(5e-4, ge=0)
    """Pull of the weights towards zero (DeepLab-v2)."""
    power: float = Field(0.9, gt=0)
    """Learning rates fall as (1 - progress) to this power (DeepLab-v2)."""
    warmup: int = Field(0, ge=0)
    """First steps in which learning rates rise evenly from zero; 0 = none (DeepLab-v2)."""
    clip: float = Field(0.0, ge=0)
    """Largest norm of the gradient; 0 = not limited (DeepLab-v2)."""
    use_confidence: bool = False
    """Weigh each labeled pixel with the confidence of its label, where labels have one."""

    @field_validator("patch")
    @classmethod
    def _sides(cls, patch: tuple[int, ...]) -> tuple[int, ...]:
        if len(patch) not in (0, 2, 3):
            raise ValueError("give two sides for slices, three for volumes, or none")
        return patch

    @field_validator("scale")
    @classmethod
    def _ordered(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if scale[0] > scale[1]:
            raise ValueError("the smaller factor comes first")
        return scale
