"""Throughput of class activation maps: ours against pytorch-grad-cam, with the same network, images and classes.

Both make a map of the image's size, scaled to [0, 1], for every class an image is tagged with; one view, no mirror image. GradCAM of a mean
and a linear layer is CAM, so the maps have to agree. Ours asks the last layer at every place, which gives all classes at once and needs no
gradients; GradCAM goes forward and back once for each class.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from _records import Question, in_turn, measured, missing, record
from torch import Tensor, nn
from torch.nn.functional import interpolate

from smidgen.methods.classify.gap import GapClassifier
from smidgen.parts.imaging.views import normalized
from smidgen.parts.networks.encoders import EncoderFactory
from smidgen.parts.networks.settings import Encoder

BATCH, SIDE, CLASSES, ROUNDS = 8, 224, 12, 6

ASKED = Question(
    name="cam",
    claim="Class activation maps take no longer than pytorch-grad-cam's, and are the same",
    question="What does a map for each of an image's tags take, with the same network, images and classes?",
    data=f"{BATCH} images of {SIDE} x {SIDE} pixels, noise",
    metric="CPU s an image",
    baseline="pytorch-grad-cam",
    settings={"network": "tf_efficientnet_lite0", "batch": BATCH, "side": SIDE, "rounds": ROUNDS, "threads": 1},
    aim="at most as long as theirs, maps correlate above 0.999",
)


def network() -> nn.ModuleDict:
    """The default encoder with its ImageNet weights, and a linear head with weights of no meaning."""
    torch.manual_seed(0)
    encoder = EncoderFactory(Encoder())()
    head = nn.Conv2d(encoder.final_channels, CLASSES, 1, bias=False)
    return nn.ModuleDict({"encoder": encoder, "head": head}).eval()


class Whole(nn.Module):
    """The classifier as pytorch-grad-cam wants it: from an image to logits."""

    def __init__(self, networks: nn.ModuleDict):
        super().__init__()
        self.networks, self.last = networks, nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch."""
        return self.networks["head"](self.last(self.networks["encoder"].features(x))).mean(dim=(2, 3))


def ours(classifier: GapClassifier, x: Tensor, tags: list[list[int]]) -> np.ndarray:
    """Maps of all images, one after another, each with its classes."""
    with torch.no_grad():
        maps = classifier.class_maps(x).relu()
        large = interpolate(torch.cat([one[row] for one, row in zip(maps, tags, strict=True)])[None], x.shape[2:], mode="bilinear")[0]
    return normalized(large.numpy())[0]


def main() -> int:
    """Measure; 0 if ours is not slower, and agrees."""
    try:
        from pytorch_grad_cam import GradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    except ImportError:
        return missing("grad-cam")
    torch.set_num_threads(1)
    networks = network()
    classifier, whole = GapClassifier(networks, tuple(range(CLASSES))), Whole(networks)
    asked = GradCAM(model=whole, target_layers=[whole.last])
    x = torch.rand(BATCH, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))

    def theirs(tags: list[list[int]]) -> np.ndarray:
        turns = [asked(x, [ClassifierOutputTarget(row[i]) for row in tags]) for i in range(len(tags[0]))]
        return np.stack(turns, axis=1).reshape(-1, SIDE, SIDE)

    def compared(count: int) -> tuple[list[float], list[float], dict[str, float]]:
        tags = [[(i + j) % CLASSES for j in range(count)] for i in range(BATCH)]
        pairs = zip(ours(classifier, x, tags), theirs(tags), strict=True)  # theirs starts at each map's minimum: compared one by one
        alike = min(np.corrcoef(mine.ravel(), other.ravel())[0, 1] for mine, other in pairs if mine.std() > 0)
        times = in_turn(lambda: theirs(tags), lambda: ours(classifier, x, tags), ROUNDS, per=BATCH)
        return *times, {"least_correlation": round(float(alike), 5)}

    parts = [measured(ASKED, f"{count} tag{'s' * (count > 1)} an image", lambda count=count: compared(count)) for count in (2, 1, 4)]
    reached = all(part.ratio["median"] <= 1 and part.more["least_correlation"] > 0.999 for part in parts)
    return record(ASKED, parts, reached=reached)


if __name__ == "__main__":
    sys.exit(main())
