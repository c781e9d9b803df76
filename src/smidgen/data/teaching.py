"""What a teacher says of weak views, and strong views with boxes of others: the two halves of weak-to-strong learning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from smidgen.core.conventions import IGNORED
from smidgen.data.strong import cut
from smidgen.parts.networks.network import Network
from smidgen.parts.networks.upsample import to_size


@runtime_checkable
class Boxes(Protocol):
    """Settings that say how often views get boxes of others."""

    cutmix: float
    paste: float
    box: tuple[float, float]


class Taught(NamedTuple):
    """Views to learn from.

    Args:
        image: What is seen.
        label: Class indices, 255 = unknown or beyond the image.
        sure: Weight of each pixel's label, in [0, 1].
    """

    image: Float[Tensor, "b c *h"]
    label: Integer[Tensor, "b *h"]
    sure: Float[Tensor, "b *h"]


@torch.no_grad()
def said(
    teacher: Network, many: Mapping[str, Tensor], allowed: Bool[Tensor, "b k"] | None = None
) -> tuple[Integer[Tensor, "b *h"], Float[Tensor, "b *h"]]:
    """The teacher's class of each pixel of weak views, 255 beyond the image, and its probability. The teacher looks in evaluation mode.

    Args:
        teacher: Is asked.
        many: Weak views: `image`, and `label`, which is 255 beyond the image.
        allowed: Classes that each image can hold; probabilities are divided by the sum of theirs. None: all.
    """
    was = teacher.training
    probs = to_size(teacher.eval()(many["image"]).logits.float(), many["label"].shape[1:]).softmax(dim=1)
    teacher.train(was)
    if allowed is not None:
        probs = probs * allowed.view(*allowed.shape, *(1,) * (probs.ndim - 2))
        probs = probs / probs.sum(dim=1, keepdim=True).clamp(min=torch.finfo(probs.dtype).tiny)
    sure, label = probs.max(dim=1)
    return torch.where(many["label"] == IGNORED, many["label"], label.to(many["label"].dtype)), sure


def mixed(
    many: Mapping[str, Tensor], label: Integer[Tensor, "b *h"], sure: Float[Tensor, "b *h"], few: Mapping[str, Tensor], settings: Boxes
) -> Taught:
    """The first strong view of each image with boxes of each other, then with boxes of labeled ones; labels and weights alike.

    Args:
        many: The views.
        label: Of them.
        sure: Of their labels.
        few: Labeled views; people are sure.
        settings: How often, how large.
    """
    size, image = label.shape[1:], many["strong"][:, 0]
    boxes = cut(len(image), size, settings.cutmix, settings.box).to(image.device)
    image, label, sure = (boxes.mix(one, one) for one in (image, label, sure))
    boxes = cut(len(image), size, settings.paste, settings.box, len(few["label"])).to(image.device)
    whole = torch.ones_like(few["label"], dtype=sure.dtype)
    return Taught(boxes.mix(image, few["strong"][:, 0]), boxes.mix(label, few["label"]), boxes.mix(sure, whole))
