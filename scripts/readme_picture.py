"""Draws `docs/readme.jpg`: one photo and one word go through the stages of the recipe `tags`, behind an ImageNet classifier.

The photo is scikit-image's Chelsea (CC0 by Stefan van der Walt). A user's classifier learns from tagged images. One photo teaches nothing,
so `imagenet` below, a method of our own, asks the head that the encoder's weights come with. What follows it is what `smidgen train` runs.
About a minute on two cores.
"""

from __future__ import annotations

import base64
import io
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont
from skimage.data import chelsea
from torch import Tensor, nn

from smidgen.core.processes import join
from smidgen.core.run import Run
from smidgen.core.settings import Frozen, Machine
from smidgen.data.dataset import Dataset
from smidgen.methods.classify.gap import GapClassifier
from smidgen.parts.networks import weights
from smidgen.parts.networks.encoders import Encoder, EncoderFactory
from smidgen.products.colors import PALETTE
from smidgen.products.tag_classifier import TagClassifier
from smidgen.recipes.choice import resolve
from smidgen.recipes.supplies import supplies
from smidgen.report import pictures

TARGET = Path(__file__).parents[1] / "docs" / "readme.jpg"
ID = "chelsea"
CATS = (281, 282, 285)
"""ImageNet's tabby, tiger cat and Egyptian cat: together they are the class "cat"."""
RIVALS = 4
"""So many other ImageNet classes, the photo's next best guesses, are what the climb has to keep down."""
WORDS = {"advcam": {"steps": 27}, "walk": {"steps": 120, "batch": 4}}
"""Where the preset `small` is departed from: AdvCAM's own number of steps, and as many as a single photo needs to learn its edges."""
PANEL, GAP, TEXT = 288, 16, 34
"""Width of a panel, space between two, height of the line below; in pixels."""


class Imagenet(Frozen):
    """No settings."""


def imagenet(run: Run, settings: Imagenet, data: Dataset, encoder: EncoderFactory) -> TagClassifier:
    """The encoder with ImageNet's own head: the cats as one class, and their strongest rivals in this photo."""
    network = encoder().eval().requires_grad_(False)
    head = imagenet_head(encoder, network)
    cat = head[list(CATS)].mean(dim=0)
    rest = head[[i for i in range(len(head)) if i not in CATS]]
    pooled = network.features(torch.from_numpy(data.samples[ID].image())[None]).mean(dim=(2, 3))[0]
    rows = torch.stack([cat, *rest[(rest @ pooled).topk(RIVALS).indices]])
    layer = nn.Conv2d(rows.shape[1], len(rows), 1, bias=False).requires_grad_(False)
    layer.load_state_dict({"weight": rows[:, :, None, None]})
    return GapClassifier(nn.ModuleDict({"encoder": network, "head": layer}), tuple(range(1, len(rows) + 1)))


def imagenet_head(encoder: EncoderFactory, network: Encoder) -> Float[Tensor, "k c"]:
    """Weights of the last layer, less their mean: a softmax does not notice what all classes have in common, a threshold at 0 does."""
    found = weights.resolve(encoder.settings)
    if found.path is None:
        sys.exit(f"{found.origin}: the picture needs the package with the ImageNet weights: make setup")
    blocks: Any = network.model.blocks
    head = weights.translated(weights.read(found.path), [len(stage) for stage in blocks])["classifier.weight"]
    return head - head.mean(dim=0)


def main() -> int:
    """Run the stages, draw four panels, save them as one picture."""
    image = chelsea()
    data = Dataset({ID: image}, tags={ID: ["cat"]}, classes=["background", "cat"])
    resolved = resolve("tags", "small", WORDS)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), join(Machine(threads=1)), resolved.methods, supplies(resolved, data))
        run.settings["cam"] = resolve("tags", "small", {"localize": "cam"}).methods["cam"]
        classifier = run.stage("classify", f"{Path(__file__).stem}:imagenet", data)
        seen = run.stage("localize", "cam", data, classifier=classifier)[ID]
        climbed = run.stage("localize", "advcam", data, classifier=classifier)
        walked = run.stage("refine", "walk", data, heatmaps=climbed)
        label = run.stage("label", "argmax", data, heatmaps=walked)[ID].label
        photo = data.samples[ID].image()
        panels = [
            ("a photo tagged “cat”", pictures.picture(photo, 2 * PANEL)),
            ("CAM: what says “cat”", pictures.with_evidence(photo, seen, 2 * PANEL)),
            ("AdvCAM: more of the cat", pictures.with_evidence(photo, climbed[ID], 2 * PANEL)),
            ("pseudo-mask after the walk", pictures.with_classes(photo, label, PALETTE, longest=2 * PANEL)),
        ]
    page(panels).save(TARGET, quality=88, optimize=True, progressive=True)
    print(f"{TARGET}: {TARGET.stat().st_size / 1000:.0f} kB")
    return 0


def page(panels: list[tuple[str, str]]) -> Image.Image:
    """Panels side by side on white, each with a line of text below."""
    drawn = [(text, decoded(uri)) for text, uri in panels]
    height = round(drawn[0][1].height * PANEL / drawn[0][1].width)
    sheet = Image.new("RGB", (len(drawn) * PANEL + (len(drawn) - 1) * GAP, height + TEXT), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.truetype(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", 15)
    for n, (text, panel) in enumerate(drawn):
        left = n * (PANEL + GAP)
        sheet.paste(panel.resize((PANEL, height), Image.Resampling.LANCZOS), (left, 0))
        draw.text((left + PANEL / 2, height + TEXT / 2 + 2), text, fill=(40, 40, 40), font=font, anchor="mm")
    return sheet


def decoded(uri: str) -> Image.Image:
    """The picture in a data URI."""
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


if __name__ == "__main__":
    sys.exit(main())
