"""`smidgen export`: a model as one file that runs without smidgen, and without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from smidgen.actions import models
from smidgen.core.errors import UsageError
from smidgen.core.screen import Screen, watching

Format = Literal["onnx"]
STOPPED = "stopped; nothing was written"
"""What is said after Ctrl-C."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Args:
        path: The file.
        side: Height and width of the only images that the file takes, or the sides of the only parts of volumes; 0 = any.
        why: Why there is only one size.
        differences: Size of the images that were tried -> largest difference of a probability from the run's model.
        classes: Names; the position is the channel of the probabilities.
    """

    path: Path
    side: int | tuple[int, ...]
    why: str
    differences: dict[str, float]
    classes: tuple[str, ...]

    @property
    def takes(self) -> str:
        """What the file takes, in words."""
        if not self.side:
            return "images of any size"
        sides = (self.side, self.side) if isinstance(self.side, int) else self.side
        return f"{'images' if len(sides) == 2 else 'parts of volumes'} of {' x '.join(map(str, sides))} only: {self.why}"


def export(
    run: str | Path,
    *,
    format: Format = "onnx",
    out: str | Path | None = None,
    side: int = 0,
    screen: Screen | None = None,
) -> Exported:
    """Write a run's model as one file, with all that its use needs: names, colors, how values are scaled.

    The file is run at several sizes and compared with the model before it gets its name. `smidgen predict FILE IMAGES` uses it without
    torch; docs/guides/deploy.md shows how anything else does.

    Args:
        run: Run folder, or the model folder in it.
        format: Form of the file.
        out: The file; RUN/model.onnx by default.
        side: Height and width in pixels if the file shall take only one size, for other tools that want that; by default any size, where
            the network allows it. Networks of volumes take windows of the trained size only.
        screen: Hears of the progress; bars where somebody looks by default, smidgen.Silent() for none.

    Returns:
        Where the file is, and how exactly it agrees.

    Raises:
        UsageError: There is no model, a package is missing, or the side does not fit the network.
        SmidgenError: No file would give the model's probabilities; nothing was written.
    """
    screen = watching(screen)
    source = Path(run)
    if source.is_file():
        raise UsageError(f"{source}: is a file: name the folder of a finished `smidgen train`")
    path = Path(out) if out is not None else models.run_folder(source) / f"model.{format}"
    if path.suffix.lower() != models.ONNX:
        raise UsageError(f"--out {path}: expected a name that ends in {models.ONNX}: change it")
    segmenter: Any = models.load(source)
    from smidgen.products.onnx import Way
    from smidgen.products.onnx_export import write

    restrict, how = models.way(source, segmenter)
    with screen.step("export", 1, 0, "file") as bar:
        description, differences = write(segmenter, path, Way(restrict=restrict, **how), side)
        bar.advance()
    tried = {" x ".join(map(str, size)): value for size, value in differences.items()}
    return Exported(path, description.fixed, description.why_fixed, tried, description.classes)
