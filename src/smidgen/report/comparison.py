"""The page of a comparison: what each label buys with each recipe, as curves, as a table, and in pictures of the same cases."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from markupsafe import Markup

from smidgen.core.codec import write_atomically
from smidgen.products.colors import class_colors
from smidgen.products.sample import Classes
from smidgen.report import blocks, pictures


@dataclass(frozen=True)
class Shown:
    """One val image with what each training says of it.

    Args:
        id: Of the image.
        image: Values in [0, 1], or a volume.
        truth: The mask; None where there is none.
        said: Training -> (label, score of this image in [0, 1]).
        turned: Of a volume: axes point to the front and to the right; the front is shown at the top and right at the left.
    """

    id: str
    image: Float[np.ndarray, "c *space"]
    truth: UInt8[np.ndarray, "*space"] | None
    said: Mapping[str, tuple[UInt8[np.ndarray, "*space"], float]]
    turned: bool = False


def write_page(
    path: Path,
    title: str,
    classes: Classes,
    metric: str,
    arms: Sequence[Mapping[str, Any]],
    shown: Sequence[Shown],
    left_out: Sequence[str] = (),
) -> None:
    """Write the page, self-contained.

    Args:
        path: Where.
        title: Name of the data.
        classes: Names and background.
        metric: What was scored, in words.
        arms: Recipes by number of labels, with the fields of `actions.compare.Arm`, mean, spread and verdict.
        shown: The same val images with what each training says.
        left_out: What could not be trained, and why.
    """
    colors = class_colors()
    seeds = len(arms[0]["scores"])
    text = blocks.render(
        "comparison.html",
        title=title,
        made=time.strftime("%Y-%m-%d %H:%M"),
        metric=metric,
        arms=arms,
        left_out=left_out,
        seeds=seeds,
        first=arms[0]["recipe"],
        verdict=sentence(arms, metric),
        curve=efficiency(arms, metric) if len({arm["masks"] for arm in arms}) > 1 else None,
        rows=[_row(one, colors, classes.background) for one in shown],
        legend=[(name, blocks.css(colors[i])) for i, name in enumerate(classes.names) if i != classes.background],
    )
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def sentence(arms: Sequence[Mapping[str, Any]], metric: str) -> str:
    """What a reader should take along, in a sentence."""
    best = max(arms, key=lambda arm: arm["mean"])
    text = f"Best: {best['recipe']} with {best['labeled']} labeled, {metric} {100 * best['mean']:.1f}."
    clear = [arm for arm in arms if arm["verdict"] == "better"]
    if clear:
        told = "; ".join(f"{arm['recipe']} with {arm['labeled']} labeled, {100 * arm['gain']:+.1f}" for arm in clear)
        return f"{text} Better than {arms[0]['recipe']} with as many labels, beyond noise: {told}."
    others = [arm for arm in arms if arm["gain"] is not None]
    if others and all(arm["interval"] is None for arm in others):
        return f"{text} Val has too few images, or groups of them, to tell a difference from noise."
    if len({arm["recipe"] for arm in arms}) > 1:
        return f"{text} With as many labels, nothing was better than {arms[0]['recipe']} beyond noise."
    return text


def efficiency(arms: Sequence[Mapping[str, Any]], metric: str) -> Markup:
    """Score against labels, a line per recipe with its spread over seeds, in the page's colors."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(blocks.drawing_style()):
        figure = Figure(figsize=(6.4, 3.2), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        for i, recipe in enumerate(dict.fromkeys(arm["recipe"] for arm in arms)):
            mine = sorted((arm for arm in arms if arm["recipe"] == recipe), key=lambda arm: arm["masks"])
            x = [arm["masks"] for arm in mine]
            y, spread = (np.array([100 * (arm[what] or 0) for arm in mine]) for what in ("mean", "spread"))
            ink = blocks.inks()[i % len(blocks.inks())]
            if len(set(x)) == 1:  # it reads no mask: a level that others have to reach
                axes.axhline(y[0], color=ink, linewidth=1.2, linestyle="--", label=recipe)
                continue
            axes.errorbar(x, y, yerr=spread if spread.any() else None, color=ink, linewidth=1.5, marker="o", markersize=3.5, label=recipe)
        axes.set_xscale("symlog", linthresh=1)
        ticks = sorted({arm["masks"] for arm in arms if arm["masks"] > 0})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
        axes.minorticks_off()
        axes.set_xlabel("labeled")
        axes.set_ylabel(metric)
        axes.legend(frameon=False, loc="best", fontsize=8)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return blocks.in_page_colors(file.getvalue())


def _row(one: Shown, colors: UInt8[np.ndarray, "256 3"], background: int | None) -> dict[str, Any]:
    plane = _plane(one)
    way = (slice(None, None, -1 if one.turned else 1),) * 2

    def cut(values: np.ndarray) -> np.ndarray:
        return values if plane is None else np.ascontiguousarray(values[(..., plane, *way)])

    image = cut(one.image if plane is None else _seen(one.image))
    cells = [("image", "", pictures.picture(image))]
    if one.truth is not None:
        cells.append(("truth", "", pictures.with_classes(image, cut(one.truth), colors, background)))
    for name, (label, score) in one.said.items():
        cells.append((name, f"{100 * score:.1f}", pictures.with_classes(image, cut(label), colors, background)))
    return {"id": one.id if plane is None else f"{one.id}, slice {plane + 1} of {one.image.shape[1]}", "cells": cells}


def _plane(one: Shown) -> int | None:
    """Of a volume, the slice that holds most of the truth, else the middle one; None for pictures."""
    if one.image.ndim == 3:
        return None
    if one.truth is None or not one.truth.any():
        return one.image.shape[1] // 2
    return int(((one.truth > 0) & (one.truth != 255)).sum(axis=(1, 2)).argmax())


def _seen(image: Float[np.ndarray, "c *space"]) -> Float[np.ndarray, "c *space"]:
    """A volume's values stretched to [0, 1], but for one in a hundred at each end."""
    low, high = np.quantile(image, [0.01, 0.99])
    return np.clip((image - low) / max(float(high - low), 1e-6), 0, 1).astype(np.float32)
