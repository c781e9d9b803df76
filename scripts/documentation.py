"""The documentation: what is generated from the code, and what has to be true of the rest.

`documentation.py` writes `docs/results.md` and `docs/generated` (methods, settings) and checks; `--check` only checks. Torch-free.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from statistics import mean, median, quantiles, stdev
from typing import Any

import smidgen
from smidgen.core import registry
from smidgen.core.settings import Frozen
from smidgen.recipes.choice import all_settings

ROOT = Path(__file__).parents[1]
GENERATED = ("docs/generated", "docs/pictures")
"""Folders that a fresh checkout does not have, so nothing may link there."""
RESULTS = ROOT / "docs" / "results.md"
"""Generated and kept, so that the figures can be read without a checkout."""
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"""\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)|\b(?:src|href)="([^"]+)\"""")
PAPER = re.compile(r"\((?P<author>[\w-]+)[^()]*?(?P<year>(?:19|20)\d\d)")
COMMANDS = smidgen.ACTIONS


# What has to be true. Each rule returns its complaints as lines.


def pages(root: Path = ROOT) -> list[Path]:
    """All hand-written pages."""
    return sorted([*root.glob("*.md"), *root.glob("benchmarks/*.md"), *(p for p in root.glob("docs/**/*.md") if not _generated(p, root))])


def _generated(path: Path, root: Path) -> bool:
    return any(path.is_relative_to(root / folder) for folder in GENERATED)


def broken_links(page: Path, root: Path = ROOT) -> list[str]:
    """Links of one page to files or headings that are not there, or only after `make docs`."""
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))
    complaints = []
    for found in LINK.finditer(text):
        target = found[1] or found[2]
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        if not path.exists() or _generated(path, root):
            complaints.append(f"{page.relative_to(root)}: links to {target}, which is not in the repository")
        elif anchor and path.suffix == ".md" and anchor not in set(anchors(path.read_text(encoding="utf-8"))):
            complaints.append(f"{page.relative_to(root)}: links to {target}, and there is no such heading")
    return complaints


def unlinked(index: Path, root: Path = ROOT) -> list[str]:
    """Pages below the index's folder to which it does not link."""
    there = {
        (index.parent / (found[1] or found[2]).partition("#")[0]).resolve() for found in LINK.finditer(index.read_text(encoding="utf-8"))
    }
    below = (page for page in index.parent.glob("**/*.md") if page != index and not _generated(page, root))
    return [
        f"{index.relative_to(root)}: does not link to {page.relative_to(root)}" for page in sorted(below) if page.resolve() not in there
    ]


def anchors(text: str) -> Iterator[str]:
    """Names under which the headings of a page can be linked to."""
    for heading in re.findall(r"^#+\s+(.+?)\s*$", FENCE.sub("", text), re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def unknown_words(page: Path, targets: Collection[str], commands: Collection[str] = COMMANDS, root: Path = ROOT) -> list[str]:
    """`smidgen WORD` and `make WORD`, in code, where there is no such command or target."""
    text = page.read_text(encoding="utf-8")
    code = [line for block in FENCE.finditer(text) for line in block[0].splitlines()]
    code += re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
    complaints = []
    for line in code:
        for known, program in ((commands, "smidgen"), (targets, "make")):
            found = re.match(rf"\s*(?:[$>]\s+)?{program} ([a-z][\w-]*)(?![\w=./])", line)
            if found and found[1] not in known:
                complaints.append(f"{page.relative_to(root)}: names `{program} {found[1]}`, which does not exist")
    return complaints


def make_targets(makefile: str) -> set[str]:
    """Targets that a Makefile explains."""
    return set(re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE))


def undocumented_methods(rows: Iterable[registry.Method], folder: Path, sources: dict[str, str]) -> list[str]:
    """Methods without a page, without a source, or with a page that names another source than the module.

    Args:
        rows: The methods.
        folder: Where their pages are.
        sources: Text of each method's module, by import path.
    """
    complaints = []
    for row in rows:
        docstring = ast.get_docstring(ast.parse(sources[row.module])) or ""
        paper = PAPER.search(docstring)
        if not paper and "Source:" not in docstring:
            complaints.append(f"{row.module}: its docstring names no source: (Authors, Venue Year) in the first line, or a line Source:")
        page = folder / f"{row.name}.md"
        text = page.read_text(encoding="utf-8") if page.exists() else None
        if text is None:
            complaints.append(f"{row.module}: has no page docs/methods/{row.name}.md")
        elif "Source" not in text:
            complaints.append(f"docs/methods/{page.name}: has no line that begins with Source")
        elif paper and not (paper["author"] in text and paper["year"] in text):
            complaints.append(f"docs/methods/{page.name}: does not name {paper['author']} {paper['year']}, as the module does")
    return complaints


def undocumented_settings(kind: type[Frozen]) -> list[str]:
    """Fields of a settings class without a docstring, and the class itself."""
    where = f"{kind.__module__}.{kind.__name__}"
    complaints = [f"{where}.{name}: has no docstring" for name, field in kind.model_fields.items() if not (field.description or "").strip()]
    return complaints if (kind.__doc__ or "").strip() else [f"{where}: has no docstring", *complaints]


def complaints() -> list[str]:
    """Everything that is wrong with the documentation."""
    targets = make_targets((ROOT / "Makefile").read_text(encoding="utf-8"))
    found = []
    for page in pages():
        found += [*broken_links(page), *unknown_words(page, targets)]
    found += unlinked(ROOT / "docs" / "index.md")
    rows = registry.methods()
    sources = {row.module: (ROOT / "src" / f"{row.module.replace('.', '/')}.py").read_text(encoding="utf-8") for row in rows}
    found += undocumented_methods(rows, ROOT / "docs" / "methods", sources)
    for kind in all_settings().values():
        found += undocumented_settings(kind)
    if not RESULTS.exists() or RESULTS.read_text(encoding="utf-8") != measured_page():
        found.append("docs/results.md: is not what benchmarks/results says: run `make docs`")
    return found


# What is generated.


def methods_page() -> str:
    """A table of all methods, and of heads and losses."""
    lines = ["# Methods", "", "| stage | method | idea and source | needs | gives |", "|---|---|---|---|---|"]
    for row in registry.methods():
        needs = ", ".join(f"{need} (optional)" if need in row.optional else need for need in row.needs)
        lines.append(f"| {row.stage} | [{row.name}](../methods/{row.name}.md) | {row.line} | {needs} | `{row.product}` |")
    for kind in ("head", "loss"):
        names = ", ".join(f"`{name}`" for name in registry.parts(kind))
        lines += ["", f"{'Heads' if kind == 'head' else 'Losses'}: {names or 'none yet'}"]
    return "\n".join(lines) + "\n"


def settings_page() -> str:
    """A table of settings per method and part: word, default, meaning with unit and source."""
    lines = [
        "# Settings",
        "",
        "On the command line `--advcam.steps 8`; in YAML `advcam: {steps: 8}`. Defaults are the papers'; presets overlay them.",
        "",
    ]
    for name, kind in sorted(all_settings().items()):
        lines += [f"## {name}", "", " ".join((kind.__doc__ or "").split()), "", "| setting | default | meaning |", "|---|---|---|"]
        for word, field in kind.model_fields.items():
            default = "required" if field.is_required() else f"`{json.dumps(field.get_default(call_default_factory=True), default=str)}`"
            meaning = " ".join((field.description or "").split()).replace("|", "\\|")
            lines.append(f"| `{name}.{word}` | {default} | {meaning} |")
        lines.append("")
    return "\n".join(lines)


def results_page(records: Iterable[dict[str, Any]]) -> str:
    """A table of the measured claims - baseline, method, and their paired difference - and a table of all rows for each."""
    lines = [
        "# Results",
        "",
        "Made by `make docs` from `benchmarks/results`; [how](../benchmarks/README.md). ± is the standard deviation over seeds.",
        "",
    ]
    lines += ["| claim | data | metric | baseline | method | difference | seeds |", "|---|---|---|---|---|---|---|"]
    details: list[str] = []
    for record in records:
        base, ours = record["baseline"], record["method"]
        cells = [record["claim"], record["data"], record["metric"], f"{base['name']} {_spread(base['values'])}"]
        cells += [f"{ours['name']} {_spread(ours['values'])}", _difference(base, ours), str(len(ours["values"]))]
        lines.append(f"| {' | '.join(cells)} |")
        details += _rows(record)
    return "\n".join(lines + details) + "\n"


def _rows(record: dict[str, Any]) -> list[str]:
    """Everything one claim measured: arm by arm, with the paper's figures and what it took."""
    base, paper = record["baseline"], record["paper"]
    told = f" The paper: {paper['baseline']} and {paper['method']} ({paper['data']})." if paper else ""
    lines = ["", f"## {record['claim']}", ""]
    lines += [f"{record['question']} {record['data']}, {record['split']}; {record['metric']}.{told}", ""]
    lines += ["| | mean | difference to the first | seeds |", "|---|---|---|---|"]
    for row in (base, record["method"], *record["others"]):
        compared = "" if row is base or row.get("data", record["data"]) != record["data"] else _difference(base, row)
        lines.append(f"| {row['name']} | {_spread(row['values'])} | {compared} | {len(row['values'])} |")
    return lines


def _difference(base: dict[str, Any], row: dict[str, Any]) -> str:
    """Mean and deviation over the seeds that both have."""
    return _spread([b - a for a, b in zip(base["values"], row["values"], strict=False)])


def speed_page(records: Iterable[dict[str, Any]]) -> str:
    """A table for each thing that was measured in turn: theirs, ours, and ours divided by theirs, round by round."""
    lines = ["", "## Speed and memory"]
    for record in records:
        told = {True: ": reached", False: ": not reached", None: ""}[record["reached"]]
        aim = f" Aim: {record['aim']}{told}." if record["aim"] else ""
        lines += ["", f"**{record['claim']}.** {record['data'].capitalize()}; {record['metric']}.{aim}", ""]
        lines += [f"| | {record['baseline']['name']} | {record['method']['name']} | ratio (middle half) |", "|---|---|---|---|"]
        for part in record["parts"]:
            each = [ours / theirs for theirs, ours in zip(part["baseline"], part["method"], strict=True)]
            cells = [part["name"], f"{median(part['baseline']):.3g}", f"{median(part['method']):.3g}", _middle(each)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _middle(values: list[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.3g}"
    low, middle, high = quantiles(values, n=4)
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


def faults_page(found: dict[str, Any]) -> str:
    """What became of a run that was killed and interrupted: the summary of `faults.json`."""
    killed, pressed, two = (
        f"SIGKILL at {found['kills']} random moments over all stages",
        found["interrupts"].values(),
        found["two_processes"],
    )
    same = f"{found['runs_equal']} of {found['runs']} runs that went on ended with the undisturbed one's bytes"
    left = f"files half-written: {found['half_written']}; temporary files left in the end: {found['leftovers']}"
    lines = ["", "## Faults", "", f"- {killed}: {same}; {left}"]
    if pressed:
        lines.append(f"- Ctrl-C in each of {len(pressed)} phases: it ended within {max(one['seconds'] for one in pressed):.1f} s")
    if two:
        gone = f"all gone within {max(one['seconds'] for one in two):.1f} s, {sum(one['left'] for one in two)} left"
        same = f"{sum(one['equal'] for one in two)} of {len(two)} ended as undisturbed"
        lines.append(f"- SIGKILL of one of two processes, or of the command that started them: {gone}; {same}")
    return "\n".join(lines) + "\n"


def measured_page(folder: Path = ROOT / "benchmarks" / "results") -> str:
    """All that `benchmarks/results` holds: claims, speed, faults."""

    def read(pattern: str) -> list[dict[str, Any]]:
        return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob(pattern))]

    text = results_page(record for record in read("*.json") if "claim" in record)
    text += speed_page(speed) if (speed := read("speed/*.json")) else ""
    return text + "".join(faults_page(found["summary"]) for found in read("faults.json") if "summary" in found)


def _spread(values: list[float]) -> str:
    return f"{mean(values):.4g}" + (f" ± {stdev(values):.2g}" if len(values) > 1 else "")


def main(arguments: list[str]) -> int:
    """Write what is generated unless `--check` is said, and list what is wrong."""
    if "--check" not in arguments:
        folder = ROOT / "docs" / "generated"
        folder.mkdir(parents=True, exist_ok=True)
        for page, text in ((folder / "methods.md", methods_page()), (folder / "settings.md", settings_page()), (RESULTS, measured_page())):
            page.write_text(text, encoding="utf-8")
            print(page.relative_to(ROOT))
    found = complaints()
    print("\n".join(found) if found else f"documentation: {len(pages())} pages checked, nothing to complain about")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
