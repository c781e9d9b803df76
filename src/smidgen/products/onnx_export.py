"""Writes a Segmenter as an ONNX file (`onnx` reads and runs it), and checks that it gives the same probabilities.

The network is exported for images whose sides are multiples of its largest stride; what makes that of any image, and probabilities at its
size of what comes out, is put around it as a handful of nodes. Exporting those with it would tie every size in the network to formulas
with remainders, at which the exporter does not end.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from smidgen import __version__
from smidgen.core.codec import write_atomically
from smidgen.core.errors import SmidgenError, UsageError
from smidgen.parts.networks.upsample import to_size
from smidgen.products.colors import PALETTE
from smidgen.products.onnx import EXPECTS, EXPECTS_ZSCORED, FORMAT, INPUT, OUTPUT, Description, OnnxSegmenter, Way, metadata
from smidgen.products.onnx_check import differences, rounding
from smidgen.products.segmenter import Segmenter
from smidgen.products.volumes import sides_of

OPSET = 18
"""Of ONNX; onnxruntime since 1.14 knows it."""
TOLERANCE = 1e-4
"""Largest difference between probabilities."""
WORTH = 3
"""So many times what rounding does to the network itself may a file differ, where that is more."""
USUAL_SIDE = 224
"""Side of a graph of one size where nobody said one and the training views are not known."""
MAX_SIDE = 65536
INSTALL = "pip install 'smidgen[export]'"

log = logging.getLogger(__name__)


class _Inner(nn.Module):
    """From images whose sides are multiples of the largest stride to logits at the head's stride."""

    def __init__(self, segmenter: Segmenter):
        super().__init__()
        self.network = _without_own_padding(segmenter.network)

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k i j"]:
        return self.network.head(self.network.encoder(image), tuple(image.shape[-2:])).logits  # pyright: ignore[reportCallIssue]


def write(segmenter: Segmenter, path: Path, way: Way | None = None, side: int = 0) -> tuple[Description, dict[tuple[int, ...], float]]:
    """Export, check, and write; the file appears whole or not at all.

    Args:
        segmenter: What to export.
        path: The file.
        way: How the run's own predictions were made.
        side: Height and width of a graph of one size, a multiple of the network's largest stride; 0 = any size where the network allows it.

    Returns:
        What stands in the file, and the largest difference of probabilities by size of the batch that was tried.

    Raises:
        UsageError: A package is missing, or the side does not fit.
        SmidgenError: The file would not give the same probabilities.
    """
    _needed()
    segmenter = segmenter.to("cpu")
    if segmenter.dims == 3:
        if side:
            raise UsageError(f"--side {side}: is for pictures; volumes are seen by windows of the trained size: leave it out")
        return _tried(segmenter, path, way or Way(), sides_of(segmenter.patch), "volumes are seen by windows of the trained size")
    multiple = _multiple(segmenter)
    if side % multiple:
        raise UsageError(f"side {side}: this network takes multiples of {multiple}: use {max(1, round(side / multiple)) * multiple}")
    way = way or Way()
    if side:
        return _tried(segmenter, path, way, side, "because it was wished")
    try:
        return _tried(segmenter, path, way, 0, "")
    except _Unfit as error:
        patch = segmenter.architecture.patch
        usual = (patch if isinstance(patch, int) else max(patch)) or USUAL_SIDE
        return _tried(segmenter, path, way, max(1, round(usual / multiple)) * multiple, str(error))


class _Unfit(SmidgenError):
    """The exporter fails, or what it writes gives other values."""


def _needed() -> None:
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]  # the second is for torch's exporter
    if missing:
        raise UsageError(f"--format onnx needs {' and '.join(missing)}: {INSTALL}")


def _multiple(segmenter: Segmenter) -> int:
    return segmenter.network.encoder.multiple


def _tried(
    segmenter: Segmenter, path: Path, way: Way, side: int | tuple[int, ...], why: str
) -> tuple[Description, dict[tuple[int, ...], float]]:
    description = _description(segmenter, way, side, why)
    model = _model(segmenter, side) if isinstance(side, int) else _model_of_windows(segmenter, side)
    for name, value in metadata(description).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = name, value
    content: bytes = model.SerializeToString()
    found: dict[tuple[int, ...], float] = {}

    def fill(part: Path) -> None:
        part.write_bytes(content)
        exported = OnnxSegmenter.load(part)
        found.update(differences(segmenter, exported))
        worst = max(found, key=lambda size: found[size])
        if TOLERANCE < found[worst] <= WORTH * (own := rounding(segmenter, exported, worst)):
            told = "%s: probabilities differ by up to %.2g, about as much as by rounding in the network itself (%.2g)"
            log.warning(told, path, found[worst], own)
        elif not found[worst] <= TOLERANCE:  # NaN as well
            text = f"probabilities of images of size {worst} differ by {found[worst]:.2g}, more than {TOLERANCE:g}"
            raise _Unfit(f"{path}: {text}: nothing was written; use RUN itself, or try another torch or onnxscript")

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, fill)
    return description, found


def _description(segmenter: Segmenter, way: Way, side: int | tuple[int, ...], why: str) -> Description:
    of = segmenter.architecture
    axes = "depth, height, width" if of.dims == 3 else "height, width"
    colors = PALETTE[np.array(of.mask_values or range(len(of.classes))) % len(PALETTE)].tolist()
    return Description(
        format=FORMAT,
        version=__version__,
        input=EXPECTS_ZSCORED.format(axes) if of.zscored else EXPECTS,
        classes=of.classes.names,
        background=of.classes.background,
        colors=tuple((red, green, blue) for red, green, blue in colors),
        mask_values=of.mask_values,
        ids=dict(of.ids),
        channels=of.channels,
        value_range=of.value_range,
        fixed=side,
        why_fixed=why,
        size=of.size,
        patch=of.patch,
        dims=3 if of.dims == 3 else 2,
        zscored=of.zscored,
        spacing_mm=of.spacing_mm,
        biases=of.biases,
        way=way,
        recipe=segmenter.recipe,
        scores=segmenter.scores,
        key=segmenter.key,
    )


# ---------------------------------------------------------------- the graph


def _model(segmenter: Segmenter, side: int) -> Any:
    """The whole graph, as the package onnx has it.

    Raises:
        _Unfit: torch can't export the network with these sizes.
    """
    multiple = _multiple(segmenter)
    inner = _Inner(segmenter).eval().requires_grad_(False)
    shape = (side, side) if side else (2 * multiple, 3 * multiple)
    # Of a batch of one the exporter would take the one for granted.
    example = torch.rand(2, segmenter.channels, *shape, generator=torch.Generator().manual_seed(0))
    sizes: dict[int, Any] = {}
    if side:
        _settle(inner, side)
    else:
        sizes |= {n + 2: multiple * torch.export.Dim(name, min=1, max=MAX_SIDE // multiple) for n, name in enumerate(("rows", "columns"))}
    graph = _exported(inner, example, sizes, "logits", "sizes that are free" if not side else f"images of {side} x {side}")
    return _wrapped(graph, multiple, int(segmenter.network.head.stride), side)  # pyright: ignore[reportArgumentType]


def _exported(module: nn.Module, example: Tensor, sizes: dict[int, Any], output: str, kind: str) -> Any:
    """What torch makes of a module of one input and one output, with any number of images.

    Args:
        module: From images.
        example: A batch of them.
        sizes: Axes that are free.
        output: Name of what it gives.
        kind: Of images, for messages.

    Raises:
        _Unfit: It can't be exported.
    """
    free = {0: torch.export.Dim("batch", min=1, max=4096), **sizes}
    try:
        with _quietly(), torch.no_grad():
            program = torch.export.export(module, (example,), dynamic_shapes={"image": free}, strict=False)
            exported = torch.onnx.export(
                program,
                (),
                input_names=[INPUT],
                output_names=[output],
                dynamo=True,
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # of many kinds
        raise _Unfit(f"torch can't export this network for {kind} ({_first_line(error)})") from error
    assert exported is not None
    return exported.model_proto


class _Windows(nn.Module):
    """From parts of a volume of the trained size to class probabilities; what pads to a multiple is known beforehand."""

    def __init__(self, segmenter: Segmenter):
        super().__init__()
        self.network = segmenter.network

    def forward(self, image: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b k d h w"]:
        return to_size(self.network(image).logits, image.shape[2:]).softmax(dim=1)


def _model_of_windows(segmenter: Segmenter, sides: tuple[int, ...]) -> Any:
    """The whole graph for a network of volumes.

    Raises:
        _Unfit: torch can't export the network.
    """
    module = _Windows(segmenter).eval().requires_grad_(False)
    example = torch.randn(2, segmenter.channels, *sides, generator=torch.Generator().manual_seed(0))
    model = _exported(module, example, {}, OUTPUT, f"volumes of {' x '.join(map(str, sides))}")
    model.producer_name, model.producer_version = "smidgen", __version__
    return model


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """The exporter's own words are for its developers."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export", "torch.__trace")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _without_own_padding(network: nn.Module) -> nn.Module:
    """A copy whose convolutions pad by fixed numbers, where timm's compute the padding from the image's size.

    Where the stride divides the size, as it does here, both pad alike.
    """
    from timm.layers.conv2d_same import Conv2dSame

    plain = copy.deepcopy(network)
    for parent in list(plain.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Conv2dSame):
                setattr(parent, name, _padded(child))
    return plain


def _padded(conv: Any) -> nn.Module:
    sides = zip(conv.kernel_size, conv.dilation, conv.stride, strict=True)
    down, across = (max((kernel - 1) * dilation + 1 - stride, 0) for kernel, dilation, stride in sides)
    plain = nn.Conv2d(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, 0, conv.dilation, conv.groups, conv.bias is not None
    )
    plain.weight, plain.bias = conv.weight, conv.bias
    return nn.Sequential(nn.ZeroPad2d((across // 2, across - across // 2, down // 2, down - down // 2)), plain)


def _settle(inner: _Inner, side: int) -> None:
    """Let a transformer resample its positions once, by its own code and not by the graph's."""
    encoder: Any = inner.network.encoder
    model: Any = encoder.model
    if encoder.kind == "plain" and hasattr(model, "set_input_size"):
        seen = round(side * encoder._scale)
        with contextlib.suppress(Exception):  # then the graph does it, and the check tells how well
            model.set_input_size(img_size=(seen, seen))


def _wrapped(inner: Any, multiple: int, stride: int, side: int) -> Any:
    """The network's graph with what comes before and after it.

    Args:
        inner: Model from `image` to `logits`.
        multiple: What its sides are multiples of.
        stride: Pixels per place of the logits.
        side: The only size; 0 = any.
    """
    from onnx import TensorProto, checker, helper

    graph = inner.graph
    channels, classes = (one.type.tensor_type.shape.dim[1].dim_value for one in (graph.input[0], graph.output[0]))
    for node in graph.node:
        node.input[:] = ["padded" if name == INPUT else name for name in node.input]
    before, constants = _before(multiple)
    after, more = _after(stride)
    nodes = [*before, *graph.node, *after]
    sizes: list[Any] = [side, side] if side else ["height", "width"]
    taken = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", channels, *sizes])
    given = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", classes, *sizes])
    all = helper.make_graph(nodes, "smidgen", [taken], [given], [*graph.initializer, *constants, *more])
    model = helper.make_model(all, opset_imports=inner.opset_import, functions=inner.functions, producer_name="smidgen")
    model.producer_version, model.ir_version = __version__, inner.ir_version
    checker.check_model(model)
    return model


def _constants(**values: Sequence[int] | Sequence[float]) -> list[Any]:
    from onnx import numpy_helper

    kinds = {int: np.int64, float: np.float32}
    return [numpy_helper.from_array(np.array(value, kinds[type(value[0])]), name) for name, value in values.items()]


def _before(multiple: int) -> tuple[list[Any], list[Any]]:
    """The image continued at its lower and right border to a multiple, by its last row and column."""
    from onnx import helper

    nodes = [
        helper.make_node("Shape", [INPUT], ["seen_size"], start=2, end=4),
        helper.make_node("Neg", ["seen_size"], ["minus_size"]),
        helper.make_node("Mod", ["minus_size", "multiple"], ["missing"]),
        helper.make_node("Concat", ["no_padding", "missing"], ["padding"], axis=0),
        helper.make_node("Pad", [INPUT, "padding"], ["padded"], mode="edge"),
    ]
    return nodes, _constants(multiple=[multiple, multiple], no_padding=[0] * 6)


def _after(stride: int) -> tuple[list[Any], list[Any]]:
    """Probabilities at the image's size: places that see nothing but the continuation go, the rest is enlarged by the stride and cut."""
    from onnx import helper

    nodes = [
        helper.make_node("Add", ["seen_size", "almost_stride"], ["rounded_up"]),
        helper.make_node("Div", ["rounded_up", "stride"], ["places"]),
        helper.make_node("Slice", ["logits", "origin", "places", "axes"], ["logits_of_image"]),
        helper.make_node(
            "Resize", ["logits_of_image", "", "factors"], ["enlarged"], mode="linear", coordinate_transformation_mode="half_pixel"
        ),
        helper.make_node("Slice", ["enlarged", "origin", "seen_size", "axes"], ["logits_at_size"]),
        helper.make_node("Softmax", ["logits_at_size"], [OUTPUT], axis=1),
    ]
    whole_numbers = _constants(almost_stride=[stride - 1] * 2, stride=[stride] * 2, origin=[0, 0], axes=[2, 3])
    return nodes, whole_numbers + _constants(factors=[1.0, 1.0, float(stride), float(stride)])
