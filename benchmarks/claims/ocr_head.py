"""ocr_head: does object context help, with the same encoder, steps, samples and seeds?

Baseline is the head `fcn`, method the head `ocr`, on full masks. Further rows: a dense ASPP decoder (ours), DeepLabV3+ of
segmentation-models-pytorch, OCR of half the width, and two controls that have all of OCR but its idea: no regions, and regions that are
the whole image. What a head costs is counted for a view of the training's size.

`--arms fcn,ocr --seeds 0,1,2` measures a part; the record is written as soon as both arms have a seed. `--settings JSON` goes over what is
below, for all arms; `--held-out 0001TP` trains without that sequence and scores on it instead of val, in cells of their own: that is where
settings are tuned. `--lead NAME` adds one of LEADS to the arms of ocr.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from _full_masks import gmacs, over, trained
from _images import full
from _records import Cell, Claim, Row, measured, record
from torch import Tensor, nn

from smidgen.core.keys import key
from smidgen.core.settings import Machine
from smidgen.parts.networks.encoders import EncoderFactory
from smidgen.parts.networks.factories import HeadFactory
from smidgen.parts.networks.heads.settings import Aspp
from smidgen.parts.networks.prediction import Prediction
from smidgen.recipes.choice import resolve

DATA = "camvid"
SEEDS = (0, 1, 2)
TRAINING: dict[str, Any] = {
    "loss": "ce",
    "supervised": {"epochs": 0, "steps": 1000, "crop": 288, "scale": [0.75, 1.5], "batch": 4, "lr_encoder": 3e-4, "lr_head": 1e-3},
}
"""Of all arms, over the preset small. Views are nearly as large as the images; fewer steps and smaller views showed no gain in a trial."""
MACHINE = Machine(precision="bf16-mixed")
"""Of all arms: wide convolutions take half the time so."""
COMPACT = {"width": 256, "key_width": 128}
LEADS: dict[str, dict[str, Any]] = {
    "coarse-start": {"ocr": {"start": "coarse"}},
    "fast-head": {"supervised": {"lr_head": 3e-3}},
    "stride-4": {"ocr": {"finest": 4}},
    "sharp": {"ocr": {"sharpness": 2.0}},
    "kernel-3": {"ocr": {"coarse_kernel": 3}},
    "undropped": {"ocr": {"dropout": 0.0}},
}
"""What may help OCR at this scale; none is in force unless it is named."""
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "fcn": ("fcn", {"head": "fcn"}),
    "ocr": ("OCR 512/256", {"head": "ocr"}),
    "compact": ("OCR 256/128", {"head": "ocr", "ocr": COMPACT}),
    "aspp": ("dense ASPP and decoder", {"head": "aspp", "aspp": {"separable": False}}),
    "smp": ("DeepLabV3+ of segmentation-models-pytorch", {"head": "aspp"}),
    "plain": ("OCR 512/256 without regions", {"head": "ocr", "ocr": {"context": False}}),
    "fpn": ("feature pyramid, the preset's head", {"head": "fpn"}),
    "fpn-half": ("feature pyramid of half the width", {"head": "fpn", "fpn": {"pyramid_channels": 128, "channels": 64}}),
    "uniform": ("OCR 512/256, every region the whole image", {"head": "ocr", "ocr": {"sharpness": 0.0}}),
}
"""Name -> what it is, in words; what it says over TRAINING."""
OTHERS = ("compact", "plain", "fpn", "fpn-half", "aspp", "smp", "uniform")

CLAIM = Claim(
    name="ocr_head",
    claim="Better networks from the same masks: each place sees the regions of all classes",
    question="How good is the network on images it has not seen, with nothing changed but the head?",
    data=DATA,
    split="val (101 images)",
    metric="mIoU over 11 classes, percent",
    higher_is_better=True,
    paper={"baseline": 77.31, "method": 79.58, "data": "Cityscapes val, dilated ResNet-101; regions without and with supervision"},
    settings={"preset": "small", "training": TRAINING, "precision": MACHINE.precision},
)


class SmpDeepLab(nn.Module):
    """The DeepLabV3+ decoder of segmentation-models-pytorch as it is, behind the interface of a head."""

    stride = 4

    def __init__(self, channels: Sequence[int], strides: Sequence[int], classes: int):
        from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3PlusDecoder

        super().__init__()
        self.low = list(strides).index(self.stride)
        pyramid = [3, 3, channels[self.low], channels[-1]]  # it reads the third and the last
        self.decoder = DeepLabV3PlusDecoder(pyramid, 5, 256, (12, 24, 36), 16, aspp_separable=True, aspp_dropout=0.5)
        self.decoder.up = nn.Identity()  # for another stride than the 8 and 16 it knows: done here
        self.scores = nn.Conv2d(256, classes, 1)

    def forward(self, features: Sequence[Tensor], size: Sequence[int]) -> Prediction:
        """Logits at stride 4."""
        low = features[self.low]
        deep = F.interpolate(self.decoder.aspp(features[-1]), size=low.shape[-2:], mode="bilinear", align_corners=True)
        return Prediction(self.scores(self.decoder.block2(torch.cat([deep, self.decoder.block1(low)], dim=1))))


class SmpFactory(HeadFactory):
    """Makes it."""

    def __init__(self) -> None:
        super().__init__("aspp", Aspp(separable=True))

    @property
    def key(self) -> str:
        """Of the library."""
        import segmentation_models_pytorch

        return key("smp DeepLabV3+", segmentation_models_pytorch.__version__)

    def __call__(self, channels: Sequence[int], strides: Sequence[int], classes: int) -> nn.Module:
        """A new head."""
        return SmpDeepLab(channels, strides, classes)


def words_of(arm: str, settings: Mapping[str, Any], lead: str) -> dict[str, Any]:
    """What an arm says over the preset."""
    own = ARMS[arm][1]
    return over(TRAINING, settings, LEADS[lead] if lead and own["head"] == "ocr" else {}, own)


def cost(arm: str, words: Mapping[str, Any]) -> dict[str, float]:
    """Of the head: multiplications for one view, and parameters."""
    resolved = resolve("masks", "small", words)
    head = SmpFactory() if arm == "smp" else HeadFactory(resolved.choice.head, resolved.methods[resolved.choice.head])
    encoder = EncoderFactory(resolved.encoder.model_copy(update={"weights": "none"}))()
    classes, side = len(full(DATA).classes), max(encoder.strides) * round(words["supervised"]["crop"] / max(encoder.strides))
    parameters = sum(one.numel() for one in head(encoder.channels, encoder.strides, classes).parameters())
    return {"head_gmac": gmacs(head, encoder.channels, encoder.strides, classes, side), "head_parameters": parameters}


def row(claim: Claim, arm: str, seeds: Sequence[int], said: argparse.Namespace) -> Row:
    """One arm with some seeds."""
    words = words_of(arm, said.settings, said.lead)

    def cell(seed: int) -> Cell:
        supplied = {"head": SmpFactory()} if arm == "smp" else {}
        name = f"{arm}-{said.lead}" if said.lead and words["head"] == "ocr" else arm
        return measured(claim, name, seed, words, lambda: trained(DATA, seed, words, supplied, said.held_out, MACHINE))

    return Row(ARMS[arm][0], [cell(seed) for seed in seeds], more=cost(arm, words))


def main(arguments: Sequence[str]) -> None:
    """Baseline and method seed by seed, then the further rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", type=lambda text: text.split(","), default=list(ARMS))
    parser.add_argument("--seeds", type=lambda text: [int(one) for one in text.split(",")], default=list(SEEDS))
    parser.add_argument("--settings", type=json.loads, default={})
    parser.add_argument("--lead", choices=list(LEADS), default="")
    parser.add_argument("--held-out", default="")
    said = parser.parse_args(arguments)
    if unknown := set(said.arms) - set(ARMS):
        parser.error(f"--arms: no arm {', '.join(sorted(unknown))}; there are {', '.join(ARMS)}")
    full(DATA)  # leaves where it is not there
    claim = CLAIM
    if said.held_out:
        settings = {**CLAIM.settings, "held_out": said.held_out}
        split = f"{said.held_out} of train, not trained on"
        claim = dataclasses.replace(CLAIM, name=f"{CLAIM.name}_tuning", split=split, settings=settings)
    both = "fcn" in said.arms and "ocr" in said.arms
    for n in range(len(said.seeds)):
        seeds = said.seeds[: n + 1]
        rows = {arm: row(claim, arm, seeds, said) for arm in ("fcn", "ocr") if arm in said.arms}
        if both:
            record(claim, rows["fcn"], rows["ocr"])
    others = []
    for arm in (one for one in OTHERS if one in said.arms):
        others.append(row(claim, arm, said.seeds, said))
        if both:
            record(claim, row(claim, "fcn", said.seeds, said), row(claim, "ocr", said.seeds, said), others)


if __name__ == "__main__":
    main(sys.argv[1:])
