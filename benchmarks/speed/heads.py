"""What heads cost over 2048 features on 128 x 128 places: parameters, operations, memory, time. Aim: OCR below a dense ASPP in all four.

The columns of the OCR paper's table, and those of its rows that are built here: a dense ASPP (DeepLabV3's pyramid) and OCR, each with its
reduction of 2048 channels. Further: OCR as it is used, with coarse branch and scores, a compact one of half the width, and the depthwise
decoder of segmentation-models-pytorch, its pyramid alone and all of it with features of stride 4. One image, no gradients; each is
timed in turn with the dense ASPP. Memory is the most that a call holds at once in tensors, beside features and parameters, from the
allocator's own log. `--side 32` takes smaller features, in a record of its own.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from functools import cache, partial
from typing import Any

import torch
from _memory import peak_bytes
from _records import Question, in_turn, measured, record
from torch import Tensor, nn

from smidgen.parts.networks.heads import settings
from smidgen.parts.networks.heads.aspp import Pyramid
from smidgen.parts.networks.heads.ocr import Ocr

CHANNELS, LOW, CLASSES, STRIDE, SIDE = 2048, 256, 19, 8, 128
RATES = (12, 24, 36)
"""DeepLabV3's at stride 8."""
COMPACT = settings.Ocr(width=256, key_width=128)
COLUMNS = ("parameters_m", "gflop", "memory_mb")
OURS = ("OCR, as the paper counts", "OCR with coarse branch and scores", "compact OCR", "compact OCR with coarse branch and scores")
THEIRS = ("depthwise pyramid of segmentation-models-pytorch", "whole DeepLabV3+ decoder of segmentation-models-pytorch")
PAPER = {
    "ASPP": {"parameters_m": 15.5, "gflop": 492, "memory_mb": 284, "ms": 97},
    "OCR": {"parameters_m": 10.5, "gflop": 340, "memory_mb": 202, "ms": 45},
}
"""On one P40."""

ASKED = Question(
    name="heads",
    claim="Object context costs less than a dense ASPP",
    question="What does a head cost for one image, without gradients?",
    data="random features of 2048 channels",
    metric="CPU s",
    baseline="dense ASPP",
    settings={"channels": CHANNELS, "classes": CLASSES, "threads": 1, "rates": RATES, "paper": PAPER},
    aim="parameters, operations, memory and time of OCR below those of the dense ASPP",
)


class AsThePaperCounts(nn.Module):
    """The reduction of 2048 channels and the context; coarse scores are given and final ones not made."""

    def __init__(self, widths: settings.Ocr):
        super().__init__()
        whole = Ocr(widths, (CHANNELS,), (STRIDE,), CLASSES)
        self.pixels, self.context, self.fused = whole.pixels, whole.context, whole.fused

    def forward(self, x: Tensor, coarse: Tensor) -> Tensor:
        """Augmented features."""
        pixels = self.pixels(x)
        return self.fused(torch.cat([self.context(pixels, coarse)[0], pixels], dim=1))  # pyright: ignore[reportOptionalCall]


def built(name: str, side: int) -> tuple[nn.Module, partial[Any]]:
    """A module, and a call of it on the features of the table."""
    from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3PlusDecoder

    torch.manual_seed(0)
    x = torch.randn(1, CHANNELS, side, side).contiguous(memory_format=torch.channels_last)
    widths = COMPACT if name.startswith("compact") else settings.Ocr()
    if name == ASKED.baseline:
        module = Pyramid(CHANNELS, 256, RATES)
        given: tuple[Any, ...] = (x,)
    elif name in THEIRS:
        low = torch.randn(1, LOW, 2 * side, 2 * side).contiguous(memory_format=torch.channels_last)
        pyramid = [3, 64, LOW, 512, 1024, CHANNELS]
        decoder = DeepLabV3PlusDecoder(pyramid, 5, 256, RATES, STRIDE, aspp_separable=True, aspp_dropout=0.5)  # pyright: ignore[reportArgumentType]
        module = decoder.aspp if name == THEIRS[0] else decoder
        given = (x,) if name == THEIRS[0] else ([low, low, low, x, x, x],)  # it reads the third and the last
    elif name in (OURS[0], OURS[2]):
        module, given = AsThePaperCounts(widths), (x, torch.randn(1, CLASSES, side, side))
    else:
        module, given = Ocr(widths, (CHANNELS,), (STRIDE,), CLASSES), ([x], (STRIDE * side,) * 2)
    module.eval().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return module, partial(module, *given)


def gflop(call: partial[Any]) -> float:
    """Billions of operations, counted without doing them; a multiplication with its addition is two."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils._pytree import tree_map_only
    from torch.utils.flop_counter import FlopCounterMode

    shapes = FakeTensorMode(allow_non_fake_inputs=True)
    given = tree_map_only(Tensor, shapes.from_tensor, call.args)
    with shapes, FlopCounterMode(display=False) as counter:
        call.func(*given)
    return counter.get_total_flops() / 1e9


def columns(module: nn.Module, call: partial[Any]) -> dict[str, float]:
    """What does not depend on the machine's load."""
    counted = sum(one.numel() for one in module.parameters()) / 1e6
    return dict(zip(COLUMNS, (round(counted, 2), round(gflop(call), 3), round(peak_bytes(call) / 1e6, 2)), strict=True))


def compared(name: str, side: int, rounds: int) -> tuple[list[float], list[float], dict[str, Any]]:
    """One of the heads beside the dense ASPP."""
    module, call = built(name, side)
    return *in_turn(aspp(side)[1], call, rounds), {**columns(module, call), "dense_aspp": aspp_columns(side)}


@cache
def aspp(side: int) -> tuple[nn.Module, partial[Any]]:
    """What all are compared with."""
    return built(ASKED.baseline, side)


@cache
def aspp_columns(side: int) -> dict[str, float]:
    """Its columns, measured once."""
    return columns(*aspp(side))


@torch.no_grad()
def main(arguments: list[str]) -> int:
    """Measure; 0 if the aim is reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=SIDE, help="places per side of the features")
    parser.add_argument("--rounds", type=int, default=3)
    said = parser.parse_args(arguments)
    torch.set_num_threads(1)
    asked = ASKED if said.side == SIDE else dataclasses.replace(ASKED, name=f"heads_{said.side}")
    asked = dataclasses.replace(asked, settings={**asked.settings, "side": said.side, "rounds": said.rounds})
    parts = [measured(asked, name, lambda name=name: compared(name, said.side, said.rounds)) for name in (*OURS, *THEIRS)]
    below = [part.more[one] < part.more["dense_aspp"][one] for part in parts if part.name in OURS for one in COLUMNS]
    return record(asked, parts, reached=all(below) and all(part.ratio["median"] < 1 for part in parts if part.name in OURS))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
