"""Figures of `scores.json` in words, for a screen and a notebook; what an older file lacks is left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def percent(value: float | None) -> str:
    """A share as percent with one decimal; "n/a" where there is none."""
    return "n/a" if value is None else f"{100 * value:.1f}"


def ends(interval: Mapping[str, Any] | None) -> str:
    """The ends of an interval: "38.8 to 45.1"; "" where there is none."""
    return f"{percent(interval['low'])} to {percent(interval['high'])}" if interval else ""


def spread(scored: Mapping[str, Any], score: str) -> str:
    """How far a mean would move with other images: " (38.8 to 45.1, 95 % over 195 images)"; "" where this is not known."""
    found = (scored.get("intervals") or {}).get(score)
    return f" ({ends(found)}, 95 % over {found['units']} {found['of']})" if found else ""


def further(scored: Mapping[str, Any]) -> tuple[str, ...]:
    """What there is beside the mIoU: outlines, and objects by size, a line each."""
    lines, boundary, sizes = [], scored.get("boundary") or {}, scored.get("by_object_size") or {}
    if boundary.get("mean_f") is not None:
        least, most = (f"{boundary['tolerance_pixels'][end]:.1f}" for end in ("least", "most"))
        within = least if least == most else f"{least} to {most}"
        lines.append(f"boundary F {percent(boundary['mean_f'])}{spread(scored, 'mean_f')}: outlines within {within} pixels")
    counted = [
        f"{size} {percent(one['share_found'])} % of {one['objects']}"
        for size, one in sizes.items()
        if isinstance(one, Mapping) and one["objects"]
    ]
    if counted:
        lines.append(f"objects found: {', '.join(counted)}")
    return tuple(lines)


CLASS_COLUMNS = ("class", "IoU", "95 %", "Dice", "boundary F")


def class_rows(scored: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row per class, under `CLASS_COLUMNS`."""
    spreads = (scored.get("intervals") or {}).get("iou", {})
    f = (scored.get("boundary") or {}).get("f", {})
    dice = scored.get("dice", {})
    return [
        (name, percent(value), ends(spreads.get(name)), percent(dice.get(name)), percent(f.get(name)))
        for name, value in scored["iou"].items()
    ]


def label_next(scores: Mapping[str, Any]) -> tuple[str, ...]:
    """The images to label next, least sure first."""
    return tuple(one["image"] for one in (scores.get("label_next") or {}).get("images", ()))
