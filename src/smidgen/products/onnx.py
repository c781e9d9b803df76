"""A trained network in one ONNX file, run by onnxruntime: the same probabilities without torch.

The graph takes images in [0, 1] and gives class probabilities at their size; normalization is in it. All else that is needed to use it -
names, colors, how values are scaled, how large images are looked at - is metadata of the file, one JSON value for each name below
`smidgen.`. How such a file is made stands in `onnx_export`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Float32
from pydantic import Field, ValidationError

from smidgen.core.conventions import ValueRange
from smidgen.core.errors import SettingsError, UsageError
from smidgen.core.settings import Frozen
from smidgen.products import looking
from smidgen.products.looking import MAX_PIXELS
from smidgen.products.looks import odds
from smidgen.products.resizing import bilinear, resized, softmax
from smidgen.products.sample import Classes
from smidgen.products.scores import Scores

FORMAT = 1
"""Raised when an older smidgen could not read the files."""
PREFIX = "smidgen."
INPUT, OUTPUT = "image", "probabilities"
"""Names in the graph."""
EXPECTS = "float32 (batch, channels, height, width) in [0, 1]: 8-bit values divided by 255; do not normalize, the graph does"
EXPECTS_ZSCORED = "float32 (batch, channels, {}), z-scored over the whole volume: its mean subtracted, divided by its deviation"
"""What the graph takes, for readers of the metadata; of volumes, and of slices of them."""
INSTALL = "pip install onnxruntime"
DEVICES = {"gpu": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}


class Way(Frozen):
    """How the run's own predictions were made."""

    scales: tuple[float, ...] = (1.0,)
    """Factors on the image."""
    flip: bool = False
    """Average with the mirrored image."""
    window: int = 0
    """Side of the sliding window; 0 = as large as it takes."""
    overlap: float = 0.5
    """Share of a window that the next one covers again."""
    max_pixels: int = MAX_PIXELS
    """Pixels that the network sees at once."""
    restrict: bool = False
    """Only classes among an image's tags were allowed, where these are known."""
    calibrated: bool = False
    """With class biases."""
    largest_component: bool = False
    """Only the largest piece of each class was kept."""


class Description(Frozen):
    """What stands in the file's metadata."""

    format: int
    """Version of these names."""
    version: str
    """The smidgen that wrote the file."""
    input: str = EXPECTS
    """What the graph takes."""
    classes: tuple[str, ...] = Field(min_length=1)
    """Names; the position is the channel of the probabilities."""
    background: int | None
    """Position of the background."""
    colors: tuple[tuple[int, int, int], ...]
    """Red, green and blue of each class."""
    mask_values: tuple[int, ...] = ()
    """What masks hold for each class; () = its position."""
    ids: dict[str, int] = Field(default_factory=dict)
    """Name -> its number in the form that the training data came from."""
    channels: int = Field(ge=1)
    """Channels of an image."""
    value_range: ValueRange = (0.0, 1.0)
    """Stored values of images with more than 8 bits that become 0 and 1; (0, 1) = floats as stored, integers by their type."""
    fixed: int | tuple[int, ...] = 0
    """The only height and width that the graph takes, or of volumes the only depth, height and width; 0 = any."""
    why_fixed: str = ""
    """Why there is only one."""
    size: int = Field(0, ge=0)
    """Longest side that larger images are shrunk to before the graph sees them; 0 = none are."""
    patch: int | tuple[int, ...] = 0
    """Side or sides of the training views; windows of this size suit the network best."""
    dims: Literal[2, 3] = 2
    """Spatial axes of what the graph takes."""
    zscored: bool = False
    """It takes volumes, or slices of them, z-scored over the whole case: mean 0, deviation 1."""
    spacing_mm: tuple[float, ...] | None = None
    """Distance between voxels in training; None = unknown or of no matter."""
    biases: tuple[float, ...] = ()
    """What is added to the log-probability of each class where a calibrated prediction is wished; () = nothing was measured."""
    way: Way = Way()
    """How large images are looked at."""
    recipe: str = ""
    """Name of the recipe that made it."""
    scores: dict[str, Any] = Field(default_factory=dict)
    """What it reached."""
    key: str = ""
    """Hash of the model that it was made of."""


def metadata(description: Description) -> dict[str, str]:
    """The description as an ONNX file holds it: names to JSON."""
    plain = description.model_dump(mode="json")
    return {PREFIX + name: json.dumps(value, ensure_ascii=False) for name, value in plain.items()}


def described(path: Path, found: Mapping[str, str], producer: str) -> Description:
    """The description in an ONNX file's metadata.

    Raises:
        UsageError: Another tool wrote the file, or a newer smidgen.
    """
    if PREFIX + "format" not in found:
        by = f"written by {producer}" if producer else "of another tool"
        raise UsageError(f"{path}: an ONNX file {by}, without smidgen's metadata: use one that `smidgen export RUN` wrote")
    try:
        values = {name.removeprefix(PREFIX): json.loads(text) for name, text in found.items() if name.startswith(PREFIX)}
        newer = isinstance(values["format"], int) and values["format"] > FORMAT
        description = None if newer else Description.model_validate(values)
    except ValueError as error:
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise UsageError(f"{path}: its metadata describe no model ({what}): export it again") from error
    if description is None:
        raise UsageError(f"{path}: written by a newer smidgen (format {values['format']}, this one reads {FORMAT}): update smidgen")
    return description


class OnnxSegmenter(looking.Predicts):
    """A network in onnxruntime with what it needs to be used; predicts as `Segmenter` does.

    Args:
        session: An onnxruntime session.
        description: Metadata of its file.
    """

    def __init__(self, session: Any, description: Description):
        super().__init__(description)
        self.session, self.description = session, description
        self.classes = Classes(description.classes, description.background)
        self.key = description.key

    @classmethod
    def load(cls, path: Path | str, device: str = "cpu") -> OnnxSegmenter:
        """Read a file that `smidgen export` wrote.

        Args:
            path: The file.
            device: cpu, or gpu where onnxruntime has it.

        Raises:
            UsageError: It is no ONNX file of this tool, or onnxruntime is not there (naming file and remedy).
        """
        path = Path(path)
        session = _session(path, device)
        meta = session.get_modelmeta()
        description = described(path, meta.custom_metadata_map, meta.producer_name)
        names = [[one.name for one in some] for some in (session.get_inputs(), session.get_outputs())]
        if names != [[INPUT], [OUTPUT]]:
            raise UsageError(f"{path}: expected a graph from '{INPUT}' to '{OUTPUT}', found {names}: export it again")
        return cls(session, description)

    def window(self, size: Sequence[int], window: int = 0, max_pixels: int = MAX_PIXELS, scale: float = 1.0) -> int:
        """As in `Predicts`; a graph of one size is always moved over the image."""
        fixed = self.description.fixed
        return (fixed if isinstance(fixed, int) else max(fixed)) or super().window(size, window, max_pixels, scale)

    @property
    def patch(self) -> int | tuple[int, ...]:
        """As in `Predicts`; of volumes the size that the graph takes."""
        return self.description.fixed if self.dims == 3 else super().patch

    def run(self, images: Float32[np.ndarray, "b c *space"]) -> Float32[np.ndarray, "b k *space"]:
        """The graph itself."""
        return self.session.run([OUTPUT], {INPUT: np.ascontiguousarray(images, dtype=np.float32)})[0]

    def look(self, image: Float[np.ndarray, "c h w"], scales: Sequence[float], flip: bool, zoom: float) -> Float32[np.ndarray, "k h w"]:
        """Class probabilities of one window or small image at its size, averaged over scales and mirroring.

        Raises:
            SettingsError: Scales for a graph of one size.
        """
        if self.description.fixed and tuple(scales) != (1.0,):
            text = f"scales {tuple(scales)}: this ONNX file takes {self.description.fixed} x {self.description.fixed} pixels only"
            raise SettingsError(f"{text}: use scales 1.0, or the run it was exported from")
        pixels = image if len(image) == self.channels else np.repeat(image, self.channels, axis=0)
        looks = [self._once(pixels, scale * zoom, mirrored) for scale in scales for mirrored in ((False, True) if flip else (False,))]
        return np.stack(looks).mean(axis=0) if len(looks) > 1 else looks[0]

    def look_together(
        self, images: Float[np.ndarray, "b c *space"], scales: Sequence[float], flip: bool, zoom: float
    ) -> Float32[np.ndarray, "b k *space"]:
        """The same of several windows, slices or parts of a volume, equal in size."""
        if self.dims == 2:
            return np.stack([self.look(image, scales, flip, zoom) for image in images])
        pixels = images if images.shape[1] == self.channels else np.repeat(images, self.channels, axis=1)
        probs = self.run(pixels)
        return (probs + self.run(pixels[..., ::-1])[..., ::-1]) / 2 if flip else probs

    def _once(self, image: np.ndarray, factor: float, mirrored: bool) -> np.ndarray:
        seen = image if factor == 1 else resized(image, [max(1, round(n * factor)) for n in image.shape[1:]])
        probs = self.run((seen[..., ::-1] if mirrored else seen)[None])[0]
        probs = probs[..., ::-1] if mirrored else probs
        if factor == 1:
            return probs
        # Their logarithms are the logits but for a constant per pixel, which softmax does not see.
        return softmax(bilinear(np.log(np.maximum(probs, np.finfo(np.float32).tiny)), image.shape[1:]))

    def scored(self, probs: Float[np.ndarray, "k *space"], tags: Sequence[int] | None = None, keep_probs: bool = False) -> Scores:
        """Class and confidence of every pixel from probabilities, restricted to tags where they are given."""
        if self.in_effect:
            weighted = probs * odds(self.in_effect, probs.ndim)
            probs = weighted / weighted.sum(axis=0)
        probs = probs if tags is None else restricted(probs, tags, self.classes.background)
        kept = probs.astype(np.float16) if keep_probs else None
        return Scores(probs.argmax(axis=0).astype(np.uint8), probs.max(axis=0), kept)


def restricted(probs: Float[np.ndarray, "k *space"], tags: Sequence[int], background: int | None) -> Float32[np.ndarray, "k *space"]:
    """Probabilities with those of classes that are not there set to 0, summing to 1 again; as `segmenter.restricted`.

    Args:
        probs: Class probabilities.
        tags: Label values that can be there.
        background: Label value that can always be there. Where it is None and there are no tags, probabilities stay as they are.
    """
    there = sorted({*tags, *(() if background is None else (background,))})
    if not there:
        return probs
    kept = np.zeros_like(probs)
    kept[there] = probs[there]
    total = kept.sum(axis=0)
    kept[there] = np.where(total > 0, kept[there] / np.maximum(total, np.finfo(np.float32).tiny), np.float32(1 / len(there)))
    return kept


def _session(path: Path, device: str) -> Any:
    if not path.is_file():
        raise UsageError(f"{path}: no such file: correct the path, or write it with `smidgen export RUN`")
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise UsageError(f"{path}: ONNX files need onnxruntime: {INSTALL}") from error
    provider = DEVICES.get(device, "")
    if provider not in onnxruntime.get_available_providers():
        raise UsageError(f"--device {device}: this onnxruntime does not have it: use --device cpu, or install onnxruntime-gpu")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; they are raised as well
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=[provider])
    except Exception as error:  # what onnxruntime raises has no common class
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{path}: not a readable ONNX file ({reason}): copy it again, or export it again") from error
