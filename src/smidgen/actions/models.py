"""A run's model, or an exported file, and how the run's own scores were predicted, so that later figures and masks can be compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from smidgen.core.errors import UsageError
from smidgen.data.layout import nearest

if TYPE_CHECKING:
    from smidgen.products.onnx import OnnxSegmenter
    from smidgen.products.segmenter import Segmenter

Device = Literal["auto", "cpu", "gpu"]
"""Where a network runs: auto = a GPU where there is one. The words of machine.accelerator."""
AFTERWARDS = ("calibrated", "largest_component")
"""Settings of a method that predicts which say what is done with probabilities and labels."""
WAY = ("scales", "flip", "window", "overlap", "max_pixels", *AFTERWARDS)
"""All that say how an image is predicted."""
ONNX = ".onnx"
KINDS = (
    (b"\x80", "a pickle"),
    (b"PK\x03\x04", "a zip archive, as torch.save and others write them"),
    (b"\x89HDF", "an HDF5 file, as Keras writes them"),
    (b"ustar", "a tar archive"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
)
"""How files begin that may be taken for a model. None of them is opened further: unpickling runs whatever somebody wrote into it."""


def is_run(path: Path) -> bool:
    """Whether a path is a run with a model, a model, or a file that may be an exported one."""
    return path.is_file() or (model_folder(path) / "model.json").is_file()


def model_folder(path: Path) -> Path:
    """The model of a run; a model's folder itself."""
    return path / "model" if (path / "model").is_dir() else path


def run_folder(path: Path) -> Path:
    """The run that a model or an exported file lies in; a run's folder itself."""
    model = path.parent if path.is_file() else model_folder(path)
    return model.parent if model.name == "model" else model


def load(path: Path, device: Device = "cpu") -> Segmenter | OnnxSegmenter:
    """The model of a run, a model, or what was exported from one; torch is imported for the first two only.

    Args:
        path: Folder or file.
        device: Where it runs; auto = a GPU where there is one.

    Raises:
        UsageError: There is none, it can't be read, or there is no such device.
    """
    if not path.exists():
        near = nearest(path.name, [one.name for one in path.parent.iterdir()]) if path.parent.is_dir() else None
        remedy = "name the folder of a finished `smidgen train`, or what `smidgen export` wrote"
        what = "file" if path.suffix else "run"
        raise UsageError(f"{path}: there is no such {what}: {f'did you mean {path.parent / near}?' if near else remedy}")
    if path.suffix.lower() == ONNX:
        from smidgen.products.onnx import OnnxSegmenter

        return OnnxSegmenter.load(path, "cpu" if device == "auto" else device)
    if path.is_file():
        raise not_a_model(path)
    from smidgen.core.processes import device as found
    from smidgen.core.settings import Machine
    from smidgen.products.segmenter import Segmenter

    segmenter = Segmenter.load(model_folder(path))
    return segmenter if device == "cpu" else segmenter.to(found(Machine(accelerator=device)))


def not_a_model(path: Path) -> UsageError:
    """What to say of a file that is offered as a model. Its first bytes are looked at, nothing in it is run."""
    if path.name in ("model.safetensors", "model.json"):
        return UsageError(f"{path}: is half of a model: name the folder, {path.parent}")
    with path.open("rb") as file:
        start = file.read(512)
    kind = next((name for magic, name in KINDS if start.startswith(magic) or magic == start[257:262]), "no model")
    kind = "empty" if not start else "weights in safetensors, without what they mean" if path.suffix == ".safetensors" else kind
    remedy = "name the folder of a finished `smidgen train`, or an .onnx file that `smidgen export` wrote"
    return UsageError(f"{path}: {kind}, and models of other tools are not opened: {remedy}")


def words_of(path: Path) -> dict[str, Any]:
    """What was said when the run of a model was trained (`again.yaml`); {} where this is not known.

    Args:
        path: Run, model or exported file.
    """
    said = run_folder(path) / "again.yaml"
    return (yaml.safe_load(said.read_text(encoding="utf-8")) if said.is_file() else None) or {}


def record(run: Path) -> dict[str, Any]:
    """What `run.yaml` of a run folder says; {} where there is none."""
    path = run / "run.yaml"
    return (yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None) or {}


def way(path: Path, model: Segmenter | OnnxSegmenter) -> tuple[bool, dict[str, Any]]:
    """Whether predictions were restricted to known tags, and with which looks they were made.

    Args:
        path: Folder or file.
        model: What was loaded from there.
    """
    if (description := getattr(model, "description", None)) is not None:
        return description.way.restrict, description.way.model_dump(include=set(WAY))
    said = record(run_folder(path))
    settings = said.get(said.get("predict", ""), {})
    return settings.get("restrict", False), {name: settings[name] for name in WAY if name in settings}
