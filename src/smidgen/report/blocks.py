"""Blocks of a page - curves, confusion, picture rows - made ready for the templates, which escape whatever a user named."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from smidgen.parts.metrics.confusion import Confusion
from smidgen.report import pictures
from smidgen.report.content import Curve, Picture
from smidgen.report.failures import percent

TEMPLATES = Path(__file__).parent / "templates"
POINTS = 240
"""Points of a drawn curve; more are averaged, for nobody sees them."""
CELLS = 30
"""Classes of a drawn confusion matrix; of more, those with most true pixels are drawn."""
INKS = {"#010203": "var(--ink)", "#040506": "var(--muted)", "#070809": "var(--line)"} | {
    f"#0a0b{i:02x}": f"var(--curve-{i})" for i in range(1, 7)
}
"""Stand-ins in matplotlib's drawings for colors of the page, which differ by day and night."""


def render(template: str, **values: Any) -> str:
    """Fill a template; everything in it that is not marked as safe is escaped."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(percent=percent_or_nothing, share=share, duration=duration, size=size, coded=coded, number=number)
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    fingerprint = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    return environment.get_template(template).render(style=Markup(style), script=Markup(script), script_hash=fingerprint, **values)


def percent_or_nothing(value: float | None) -> str:
    """A share as percent with one decimal; a dash where there is none."""
    return "–" if value is None else percent(value)


def share(value: float | None) -> str:
    """A share as percent; what is there but rounds to nothing is told from nothing."""
    return "<0.1" if value is not None and 0 < value < 0.0005 else percent_or_nothing(value)


def duration(seconds: int | float | None) -> str:
    """Seconds in words: "38 s", "12 min 05 s", "1 h 07 min"."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(n_bytes: int | float | None) -> str:
    """Bytes in words, by powers of 1000."""
    if n_bytes is None:
        return "–"
    for unit in ("bytes", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "bytes" or n_bytes >= 100 else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"


def number(value: int) -> str:
    """A count with thin spaces between thousands."""
    return f"{value:,}".replace(",", "\N{THIN SPACE}")


def coded(text: str) -> Markup:
    """Plain text in which `words between backticks` are code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def address(link: str) -> str:
    """The link where it is a web address, else nothing: no other scheme becomes clickable."""
    return link if re.match(r"https?://", link) else ""


def css(color: UInt8[np.ndarray, "3"]) -> str:
    """A color for a style sheet."""
    return "#{:02x}{:02x}{:02x}".format(*color.tolist())


# ---------------------------------------------------------------- pictures


COLUMNS = {
    "image": "image",
    "heatmaps": "heatmap",
    "pseudo": "pseudo-mask",
    "regions": "object regions",
    "prediction": "prediction",
    "truth": "truth",
}
"""What can stand in a row, and its heading."""


@dataclass(frozen=True)
class Row:
    """A picture row, drawn.

    Args:
        id: Id of the image.
        about: Tags and score, for the line above.
        cells: (heading, data URI); None where this image has none.
        width: Of the pictures, in pixels.
        height: Of the pictures, in pixels.
    """

    id: str
    about: str
    cells: tuple[tuple[str, str | None], ...]
    width: int
    height: int


@dataclass(frozen=True)
class Group:
    """Rows under one heading, with the columns that at least one of them has.

    Args:
        title: The heading, or "".
        columns: Headings of the columns.
        rows: The rows.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def picture_groups(shown: Sequence[Picture], colors: UInt8[np.ndarray, "256 3"], background: int | None) -> tuple[Group, ...]:
    """The pictures by group, in order of appearance."""
    groups: dict[str, list[Picture]] = defaultdict(list)
    for one in shown:
        groups[one.group].append(one)
    return tuple(_group(title, members, colors, background) for title, members in groups.items())


def _group(title: str, members: Sequence[Picture], colors: UInt8[np.ndarray, "256 3"], background: int | None) -> Group:
    columns = tuple(name for name in COLUMNS if any(getattr(one, name) is not None for one in members))
    rows = []
    for one in members:
        cells = tuple((COLUMNS[name], _cell(one, name, colors, background)) for name in columns)
        height, width = one.image.shape[1:]
        rows.append(Row(one.id, _about(one), cells, width, height))
    return Group(title, tuple(COLUMNS[name] for name in columns), tuple(rows))


def _cell(one: Picture, name: str, colors: UInt8[np.ndarray, "256 3"], background: int | None) -> str | None:
    if name == "image":
        return pictures.picture(one.image)
    if name in ("heatmaps", "regions"):
        maps = getattr(one, name)
        return None if maps is None else pictures.with_evidence(one.image, maps)
    label = getattr(one, name)
    return None if label is None else pictures.with_classes(one.image, label, colors, background)


def _about(one: Picture) -> str:
    parts = [", ".join(one.tags)] if one.tags else []
    if one.score is not None:
        parts.append(f"mIoU {percent(one.score)}")
    if one.confidence is not None:
        parts.append(f"confidence {percent(one.confidence)}")
    return " · ".join(parts)


# ---------------------------------------------------------------- curves


def curve(of: Curve) -> Markup | None:
    """A small drawing of what was minimized, in the page's colors; None where nothing was logged."""
    terms: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for step, term, value in of.rows:
        if term != "rate" and np.isfinite(value):
            terms[term].append((step, value))
    if not terms:
        return None
    return in_page_colors(_drawn({_short(term, terms): _thinned(rows) for term, rows in terms.items()}))


def inks() -> list[str]:
    """Stand-ins for the page's colors of curves, in order."""
    return [stand_in for stand_in, name in INKS.items() if "curve" in name]


def drawing_style() -> dict[Any, Any]:
    """How matplotlib draws for the page: its font, faint lines, colors that `in_page_colors` replaces."""
    ink, muted, faint = (stand_in for stand_in, name in INKS.items() if "curve" not in name)
    return {
        "svg.fonttype": "none", "svg.hashsalt": "smidgen", "font.family": "sans-serif", "font.size": 8, "text.color": ink,
        "xtick.color": muted, "ytick.color": muted, "xtick.major.size": 0, "ytick.major.size": 0,
        "axes.edgecolor": faint, "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False,
        "axes.grid": True, "axes.grid.axis": "y", "grid.color": faint, "grid.linewidth": 0.6,
    }  # fmt: skip


def _drawn(lines: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> str:
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(drawing_style()):
        figure = Figure(figsize=(3.7, 2.1), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        for i, (name, (steps, values)) in enumerate(lines.items()):
            axes.plot(steps, values, color=inks()[i % len(inks())], linewidth=1.4, label=name, solid_joinstyle="round")
        every = np.concatenate([values for _, values in lines.values()])
        if (every > 0).all() and every.max() > 50 * every.min():
            axes.set_yscale("log")
        elif (every >= 0).all():
            axes.set_ylim(bottom=0)
        axes.margins(x=0.01)
        axes.locator_params(axis="x", nbins=5, integer=True)
        if len(lines) > 1:
            axes.legend(frameon=False, loc="upper right", fontsize=8, handlelength=1.2)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return file.getvalue()


def in_page_colors(svg: str) -> Markup:
    """The drawing without what only a file needs, its stand-in colors replaced by the page's."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body, count=1), count=1)
    for stand_in, name in INKS.items():
        body = body.replace(stand_in, name)
    return Markup(body)


def _short(term: str, terms: Mapping[str, Any]) -> str:
    """A term's name without its turn where all terms belong to one turn."""
    return term.rpartition("/")[2] if len({name.rpartition("/")[0] for name in terms}) == 1 else term


def _thinned(rows: Sequence[tuple[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(sorted(rows), np.float64)
    blocks = np.array_split(table, POINTS) if len(table) > POINTS else [table[i : i + 1] for i in range(len(table))]
    means = np.stack([block.mean(axis=0) for block in blocks])
    return means[:, 0], means[:, 1]


# ---------------------------------------------------------------- confusion matrix


@dataclass(frozen=True)
class Heat:
    """A confusion matrix made ready: shares of each true class.

    Args:
        names: Of the columns.
        rows: (name, true pixels, shares per column in [0, 1] or None).
        left_out: Classes that are not drawn, for there are too many.
    """

    names: tuple[str, ...]
    rows: tuple[tuple[str, int, tuple[float | None, ...]], ...]
    left_out: int


def heat(confusion: Confusion) -> Heat:
    """Each row of the confusion matrix as shares of its true class; a column "no answer" where there are such pixels."""
    known = [i for i, name in enumerate(confusion.names) if name not in confusion.absent]
    shown = sorted(sorted(known, key=lambda i: (-confusion.truth[i], i))[:CELLS])
    columns = [*shown, len(confusion.names)] if confusion.unanswered.any() else shown
    names = tuple((*confusion.names, "no answer")[i] for i in columns)
    rows = []
    for i in shown:
        total = int(confusion.truth[i])
        shares = tuple(float(confusion.counts[i, j] / total) if total else None for j in columns)
        rows.append((confusion.names[i], total, shares))
    return Heat(names, tuple(rows), len(known) - len(shown))
