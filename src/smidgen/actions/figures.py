"""Figures of `scores.json` in words, for a screen and a notebook; what an older file lacks is left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

NAMED = 6
"""Misses that are named on a screen."""


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


LEFT_OUT = {"no_mask": "without a mask", "no_prediction": "without a prediction", "nothing_labeled": "whose masks label no pixel"}
"""Why images are in no figure of an evaluation."""


def not_scored(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """What an evaluation left out, in words: images, and pixels of the others; () where it scored everything."""
    left_out = facts.get("left_out") or {}
    kind = "volume" if facts.get("volumes") else "image"
    lines = [
        f"{len(ids)} {kind}{'s' if len(ids) > 1 else ''} {why} ({', '.join(ids[:3])}{' …' if len(ids) > 3 else ''})"
        for name, why in LEFT_OUT.items()
        if (ids := left_out.get(name))
    ]
    if blank := facts.get("unlabeled_pixels"):
        lines.append(f"{percent(blank / (blank + facts['pixels']))} % of the pixels of those scored, which nobody labeled")
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


def volumes(scored: Mapping[str, Any]) -> tuple[str, ...]:
    """What is told of volumes, a line each: mean Dice, that of largest pieces, worst cases, what is missed; () for images."""
    told = scored.get("volumes")
    if not told:
        return ()
    mean, kept = told["mean_dice"], (scored.get("volumes_largest_component") or {}).get("mean_dice")
    interval = mean["interval"]
    within = f" ({ends(interval)}, 95 % over {interval['units']} {_cases(interval['of'])})" if interval else ""
    lines = [f"mean Dice {_moments(mean)}{within}, over {mean['cases']} case{'s' if mean['cases'] != 1 else ''}"]
    if kept:
        lines.append(f"          {_moments(kept)} with only the largest piece of each structure")
    worst = [f"{name} in {one['worst_case']}" for name, one in told["classes"].items() if one["worst_case"]]
    if worst:
        lines.append(f"worst     {', '.join(worst)}")
    if missed := told["missed"]:
        named = [
            f"{one['case']}: {one['class']} {'missed' if one['only_in'] == 'truth' else 'in the prediction only'}" for one in missed[:NAMED]
        ]
        more = f", and {len(missed) - NAMED} more" if len(missed) > NAMED else ""
        lines.append(f"missed    {'; '.join(named)}{more}")
    return tuple(lines)


def _cases(of: str) -> str:
    return "cases" if of == "images" else of


def _moments(one: Mapping[str, Any], factor: int = 100, digits: int = 1) -> str:
    """Mean ± standard deviation."""
    if one["mean"] is None:
        return "n/a"
    spread = "" if one["sd"] is None else f" ± {factor * one['sd']:.{digits}f}"
    return f"{factor * one['mean']:.{digits}f}{spread}"


def class_table(scored: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Heading and a row per class; of volumes mean ± standard deviation over cases."""
    told = scored.get("volumes")
    if not told:
        return CLASS_COLUMNS, class_rows(scored)
    unit = told["unit"]
    columns = ("class", "Dice", "Jaccard", f"HD95 {unit}", f"ASSD {unit}", "cases")
    rows = []
    for name, one in told["classes"].items():
        shares = (_moments(one["dice"]), _moments(one["jaccard"]))
        far = (_moments(one["hd95"], 1, 2), _moments(one["assd"], 1, 2))
        rows.append((name, *shares, *far, str(one["cases"])))
    return columns, rows


def arm_table(metric: str, arms: Iterable[Mapping[str, Any]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Heading and a row per arm of a comparison.

    Args:
        metric: What was scored, in words.
        arms: With the fields of `compare.Arm`, mean, spread and verdict.
    """
    rows = []
    for arm in arms:
        gain = "" if arm["gain"] is None else f"{100 * arm['gain']:+.1f}, {arm['verdict']}"
        spread = "" if arm["spread"] is None else f"± {100 * arm['spread']:.1f}"
        costs = (f"{arm['seconds'] / 60:.1f} min", f"{arm['minutes']:.0f} min")
        rows.append((arm["recipe"], arm["labeled"], percent(arm["mean"]), spread, gain, *costs))
    return ("recipe", "labeled", metric, "", "against the first", "training", "person"), rows


def label_next(scores: Mapping[str, Any]) -> tuple[str, ...]:
    """The images to label next, least sure first."""
    return tuple(one["image"] for one in (scores.get("label_next") or {}).get("images", ()))
