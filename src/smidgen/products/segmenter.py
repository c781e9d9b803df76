"""Segmenter: a trained network that gives every pixel its class probabilities, for images of any size; its file format.

A model is a folder: `model.safetensors` holds the numbers, `model.json` what they mean. Nothing is unpickled, nothing is fetched.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Float, Float32
from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.functional import interpolate

from smidgen import __version__
from smidgen.core import registry
from smidgen.core.codec import write_atomically
from smidgen.core.conventions import ValueRange
from smidgen.core.errors import SettingsError, UsageError, WeightsError
from smidgen.core.keys import key
from smidgen.core.settings import Frozen, validated
from smidgen.parts.networks import settings as networks
from smidgen.parts.networks.encoders import EncoderFactory
from smidgen.parts.networks.factories import HeadFactory
from smidgen.parts.networks.network import Network
from smidgen.parts.networks.upsample import to_size
from smidgen.products import looking
from smidgen.products.looks import odds
from smidgen.products.sample import Classes
from smidgen.products.scores import Scores

FORMAT = 1
"""Raised when an older smidgen could not read the files."""
ADDED: dict[str, Any] = {"ids": {}, "mask_values": [], "dims": 2, "zscored": False, "biases": []}
"""Fields of `model.json` that older files have not, with what that means."""
RECORD, WEIGHTS = "model.json", "model.safetensors"
VALUES = {
    False: "float32 in [0, 1]; the network's first layer normalizes",
    True: "float32, z-scored over the whole volume: mean 0, deviation 1",
}
"""What networks take, by whether it is z-scored."""


@dataclass(frozen=True)
class Architecture:
    """All that is needed to build a network again, and how it was used in training.

    Args:
        encoder: Settings of the encoder; its weights are not read again.
        head: Name of the head.
        head_settings: Settings of the head.
        classes: What its channels mean.
        channels: Channels of its images.
        size: Longest side in pixels that larger images are shrunk to before the network sees them; 0 = none are.
        patch: Side of the training views in pixels, or their sides; windows of this size suit the network best. 0 = unknown.
        value_range: Values of images with more than 8 bits that became 0 and 1, of all channels or of each; new ones have to be read alike.
        ids: Class -> its number in the form that the data came from; empty: its label value.
        mask_values: What the masks of the data hold for each class; () = its label value. Predictions are written so.
        dims: Spatial axes of what the network sees at once, 2 or 3.
        zscored: It takes volumes, or slices of them, z-scored over the case; else images in [0, 1].
        spacing_mm: Distance between voxels in training, along the axes of its views; None = unknown.
        biases: What `calibrated` adds to the log-probability of each class; () = nothing was measured.
    """

    encoder: networks.Encoder
    head: str
    head_settings: Frozen
    classes: Classes
    channels: int = 3
    size: int = 0
    patch: int | tuple[int, ...] = 0
    value_range: ValueRange = (0.0, 1.0)
    ids: Mapping[str, int] = field(default_factory=dict)
    mask_values: tuple[int, ...] = ()
    dims: int = 2
    zscored: bool = False
    spacing_mm: tuple[float, ...] | None = None
    biases: tuple[float, ...] = ()

    def build(self) -> Network:
        """The network with fresh weights; no pretrained ones are looked for."""
        encoder = EncoderFactory(self.encoder.model_copy(update={"weights": "none"}), self.channels, dims=self.dims)()
        head = HeadFactory(self.head, self.head_settings, self.dims)(encoder.channels, encoder.strides, len(self.classes))
        return Network(encoder, head)


class Segmenter(looking.Predicts):
    """A trained network with what it needs to be used.

    Args:
        network: Encoder and head; switched to evaluation.
        architecture: How to build it again.
        recipe: Name of the recipe that made it.
        scores: What it reached, by name, for readers of the file.
        key: Hash of all that it depends on; a stage stamps it.
    """

    def __init__(
        self, network: Network, architecture: Architecture, recipe: str = "", scores: Mapping[str, Any] | None = None, key: str = ""
    ):
        super().__init__(architecture)
        self.network, self.architecture = network.eval(), architecture
        self.recipe, self.scores, self.key = recipe, dict(scores or {}), key

    @property
    def classes(self) -> Classes:
        """What the channels of the probabilities mean."""
        return self.architecture.classes

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def to(self, device: torch.device | str) -> Segmenter:
        """Move the network; returns itself."""
        self.network.to(device)
        return self

    def with_biases(self, biases: Sequence[float]) -> Segmenter:
        """The same network with class biases for `calibrated` to use, and a KEY of its own.

        Args:
            biases: Of each class.
        """
        found = copy.copy(self)
        found._usage = found.architecture = replace(self.architecture, biases=tuple(biases))
        found.key = key(self.key, found.biases)
        return found

    def prepare(self, image: Float[np.ndarray, "c *space"]) -> Float32[Tensor, "channels *space"]:
        """The tensor that `probs` takes, on the network's device; a gray image is repeated for a network of color images.

        Args:
            image: Values in [0, 1], or z-scored.

        Raises:
            ShapeError: Not an image with the channels of this network.
        """
        channels = self.architecture.channels
        looking.check_channels(image, channels, self.dims, self.zscored)
        pixels = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32)).to(self.device)
        return pixels if len(pixels) == channels else pixels.expand(channels, *(-1,) * self.dims)

    @torch.no_grad()
    def probs(
        self, images: Float[Tensor, "b c *space"], scales: Sequence[float] = (1.0,), flip: bool = False, zoom: float | None = None
    ) -> Float32[Tensor, "b k *space"]:
        """Class probabilities at the images' size, averaged over scales and mirroring.

        Args:
            images: Values in [0, 1], or z-scored.
            scales: Factors on the images.
            flip: Average with the prediction of the mirrored images.
            zoom: Further factor on the images; None = the one of training, for images that are whole.
        """
        size = tuple(images.shape[2:])
        zoom = self.zoom(size) if zoom is None else zoom
        looks = [self._look(images, scale * zoom, mirrored) for scale in scales for mirrored in ((False, True) if flip else (False,))]
        return torch.stack([look.softmax(dim=1) for look in looks]).mean(dim=0) if len(looks) > 1 else looks[0].softmax(dim=1)

    def _look(self, images: Float[Tensor, "b c *space"], factor: float, mirrored: bool) -> Float32[Tensor, "b k *space"]:
        """Logits at the images' size, from images scaled by a factor."""
        seen = images
        if factor != 1:
            size = [max(1, round(n * factor)) for n in images.shape[2:]]
            seen = interpolate(images, size, mode="bilinear", align_corners=False, antialias=factor < 1)
        logits = to_size(self.network(seen.flip(-1) if mirrored else seen).logits.float(), seen.shape[2:])
        logits = logits.flip(-1) if mirrored else logits
        return logits if factor == 1 else interpolate(logits, images.shape[2:], mode="bilinear", align_corners=False)

    def look(
        self, image: Float[np.ndarray, "c h w"], scales: Sequence[float] = (1.0,), flip: bool = False, zoom: float | None = None
    ) -> Float32[np.ndarray, "k h w"]:
        """`probs` of one image, from array to array."""
        return self.probs(self.prepare(image)[None], scales, flip, zoom)[0].cpu().numpy()

    def look_together(
        self, images: Float[np.ndarray, "b c *space"], scales: Sequence[float] = (1.0,), flip: bool = False, zoom: float | None = None
    ) -> Float32[np.ndarray, "b k *space"]:
        """The same of several windows, slices or parts of a volume, equal in size."""
        stack = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32)).to(self.device)
        stack = stack if stack.shape[1] == self.channels else stack.expand(-1, self.channels, *(-1,) * self.dims)
        return self.probs(stack, scales, flip, zoom).contiguous().cpu().numpy()

    def scored(
        self, probs: Float[Tensor, "k *space"] | Float[np.ndarray, "k *space"], tags: Sequence[int] | None = None, keep_probs: bool = False
    ) -> Scores:
        """Class and confidence of every pixel from probabilities, restricted to tags where they are given."""
        probs = torch.from_numpy(probs) if isinstance(probs, np.ndarray) else probs
        if self.in_effect:
            weighted = probs * torch.from_numpy(odds(self.in_effect, probs.ndim)).to(probs.device)
            probs = weighted / weighted.sum(dim=0)
        probs = probs if tags is None else restricted(probs, tags, self.classes.background)
        confidence, label = probs.max(dim=0)
        kept = probs.half().cpu().numpy() if keep_probs else None
        return Scores(label.to(torch.uint8).cpu().numpy(), confidence.float().cpu().numpy(), kept)

    # ---------------------------------------------------------------- files

    def save(self, folder: Path | str) -> None:
        """Write `model.safetensors` and `model.json`; each file appears whole or not at all."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        weights = safetensors.torch.save({name: value.detach().cpu().contiguous() for name, value in self.network.state_dict().items()})
        record = _record(self)
        record = record.model_copy(update={"digest": _digest(record, weights)})
        _write(folder / WEIGHTS, weights)
        _write(folder / RECORD, f"{record.model_dump_json(indent=2)}\n".encode())

    @classmethod
    def load(cls, folder: Path | str, device: torch.device | str = "cpu") -> Segmenter:
        """Read what `save` wrote.

        Raises:
            UsageError: There is no model, its files are broken, were changed, or are of a newer smidgen (naming file and remedy).
        """
        folder = Path(folder)
        record, weights = _read(folder)
        architecture = _architecture(record, folder / RECORD)
        try:
            network = architecture.build()
            network.load_state_dict(safetensors.torch.load(weights))
        except (SafetensorError, RuntimeError, SettingsError, WeightsError) as error:
            what = f"does not hold the network that {RECORD} describes ({error})"
            raise UsageError(f"{folder / WEIGHTS}: {what}: copy both files again from where they were trained") from error
        return cls(network.to(device), architecture, record.recipe, record.scores, record.digest)


def restricted(probs: Float[Tensor, "k *space"], tags: Sequence[int], background: int | None) -> Float[Tensor, "k *space"]:
    """Probabilities with those of classes that are not there set to 0, summing to 1 again.

    Args:
        probs: Class probabilities.
        tags: Label values that can be there.
        background: Label value that can always be there. Where it is None and there are no tags, probabilities stay as they are.
    """
    there = sorted({*tags, *(() if background is None else (background,))})
    if not there:
        return probs
    allowed = torch.zeros(len(probs), dtype=torch.bool, device=probs.device)
    allowed[there] = True
    allowed = allowed.reshape(-1, *(1,) * (probs.ndim - 1))
    kept = probs * allowed
    total = kept.sum(dim=0, keepdim=True)
    return torch.where(total > 0, kept / total.clamp(min=torch.finfo(probs.dtype).tiny), allowed / len(there))


class _Record(Frozen):
    """`model.json`. All but `recipe` and `scores` is part of the digest."""

    format: int
    """Version of these files."""
    task: Literal["semantic"]
    """What the network answers."""
    version: str
    """The smidgen that wrote them."""
    classes: tuple[str, ...] = Field(min_length=1)
    """Names; the position is the label value."""
    background: int | None
    """Label value of background."""
    channels: int = Field(ge=1)
    """Channels of an image."""
    values: str
    """What the network takes."""
    value_range: ValueRange = (0.0, 1.0)
    """Values of images with more than 8 bits that became 0 and 1: a low and a high one, or one of each per channel."""
    ids: dict[str, int] = Field(default_factory=dict)
    """Class -> its number in the form that the data came from."""
    mask_values: tuple[int, ...] = ()
    """What the masks of the data held for each class."""
    spacing_mm: tuple[float, ...] | None
    """Distance between pixels in training; None = unknown or of no matter."""
    size: int = Field(ge=0)
    """Longest side that larger images are shrunk to; 0 = none are."""
    patch: NonNegativeInt | tuple[PositiveInt, ...]
    """Side or sides of the training views."""
    dims: Literal[2, 3] = 2
    """Spatial axes of what the network sees at once."""
    zscored: bool = False
    """Whether it takes volumes or slices of them, z-scored over the case."""
    biases: tuple[float, ...] = ()
    """What is added to the log-probability of each class where a calibrated prediction is wished."""
    encoder: dict[str, Any]
    """Settings of the encoder."""
    head: dict[str, Any]
    """Settings of the head, and its name."""
    recipe: str
    """Name of the recipe."""
    scores: dict[str, Any]
    """What it reached."""
    digest: str
    """Hash of the above and of the weights."""


def _record(segmenter: Segmenter) -> _Record:
    of = segmenter.architecture
    return _Record(
        format=FORMAT,
        task=segmenter.task,
        version=__version__,
        classes=of.classes.names,
        background=of.classes.background,
        channels=of.channels,
        values=VALUES[of.zscored],
        value_range=of.value_range,
        ids=dict(of.ids),
        mask_values=of.mask_values,
        spacing_mm=of.spacing_mm,
        size=of.size,
        patch=of.patch,
        dims=3 if of.dims == 3 else 2,
        zscored=of.zscored,
        biases=of.biases,
        encoder=of.encoder.model_copy(update={"weights": "none"}).model_dump(mode="json"),
        head={"name": of.head, **of.head_settings.model_dump(mode="json")},
        recipe=segmenter.recipe,
        scores=segmenter.scores,
        digest="",
    )


def _write(path: Path, content: bytes) -> None:
    def fill(part: Path) -> None:
        part.write_bytes(content)

    write_atomically(path, fill)


def _digest(record: _Record, weights: bytes) -> str:
    meaning = record.model_dump(mode="json", exclude={"recipe", "scores", "digest"})
    meaning = {name: value for name, value in meaning.items() if name not in ADDED or value != ADDED[name]}
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode() + weights).hexdigest()[:32]


def _read(folder: Path) -> tuple[_Record, bytes]:
    path = folder / RECORD
    missing = [name for name in (RECORD, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        what = f"no model here ({' and '.join(missing)} missing)"
        raise UsageError(f"{folder}: {what}: give the folder that a finished `smidgen train` wrote as RUN/model")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        newer = isinstance(values, dict) and isinstance(values.get("format"), int) and values["format"] > FORMAT
        record = None if newer else _Record.model_validate(values)
    except (OSError, ValueError) as error:
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise UsageError(f"{path}: not a description of a model ({what}): copy the folder again, or train again") from error
    if record is None:
        raise UsageError(f"{path}: written by a newer smidgen (format {values['format']}, this one reads {FORMAT}): update smidgen")
    weights = (folder / WEIGHTS).read_bytes()
    if _digest(record, weights) != record.digest:
        raise UsageError(f"{path}: this file or {WEIGHTS} was changed after it was written: copy both again from where they were trained")
    return record, weights


def _architecture(record: _Record, path: Path) -> Architecture:
    name = str(record.encoder.get("name", ""))
    if not re.fullmatch(r"[\w.-]+", name):
        what = f"encoder '{name}' would have to be fetched, and loading a model never does"
        raise UsageError(f"{path}: {what}: train again with an encoder that timm knows")
    head = dict(record.head)
    try:
        kind = str(head.pop("name", ""))
        head_settings = validated(registry.part_settings("head", kind), head, kind)
        encoder = validated(networks.Encoder, record.encoder, "encoder")
    except SettingsError as error:
        raise UsageError(f"{path}: {error}; this smidgen is {__version__}, the model was written by {record.version}") from error
    classes = Classes(record.classes, record.background)
    numbers = (record.channels, record.size, record.patch, record.value_range, record.ids, record.mask_values)
    return Architecture(encoder, kind, head_settings, classes, *numbers, record.dims, record.zscored, record.spacing_mm, record.biases)
