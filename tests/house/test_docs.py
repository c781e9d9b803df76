"""The documentation is true: links, commands, method pages, settings; and each rule finds a page that is not."""

from __future__ import annotations

from pathlib import Path

import pytest

import documentation
from smidgen.core.registry import Method
from smidgen.core.settings import Frozen

ROW = Method(
    "localize",
    "toy",
    "Toy (Doe et al., CVPR 2031): plays.",
    ("classifier",),
    (),
    "Results[Heatmaps]",
    "smidgen.methods.localize.toy",
    "toy",
)
MODULE = {ROW.module: f'"""{ROW.line}"""\n'}


@pytest.fixture
def page(tmp_path):
    def write(text: str, name: str = "page.md") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_the_documentation_is_true():
    assert documentation.complaints() == []


def test_every_command_is_known():
    assert {"demo", "evaluate", "inspect", "methods", "predict", "train"} <= set(documentation.COMMANDS)


def test_broken_links_are_found(page, tmp_path):
    page("# A heading, `code` & more\n", "other.md")
    good = "[a](other.md) [b](other.md#a-heading-code--more) [c](https://example.org/x) `[d](gone.md)`\n```\n[e](gone.md)\n```\n"
    assert documentation.broken_links(page(good), tmp_path) == []
    bad = '[a](gone.md) ![b](gone.png) [c](other.md#nothing) <img src="gone.svg"> [d](docs/generated/methods.md)'
    assert [line.split()[3] for line in documentation.broken_links(page(bad), tmp_path)] == [
        "gone.md,", "gone.png,", "other.md#nothing,", "gone.svg,", "docs/generated/methods.md,",
    ]  # fmt: skip


def test_pages_that_the_index_forgets_are_found(page, tmp_path):
    index = page("[a](a.md) [b](b.md#part)\n", "index.md")
    for name in "abc":
        page(f"# {name}\n", f"{name}.md")
    assert documentation.unlinked(index, tmp_path) == ["index.md: does not link to c.md"]


def test_missing_commands_are_found(page, tmp_path):
    block = "```\n$ smidgen predict RUN\nsmidgen fly\nmake tea\nmake CC=x\n```\n"
    text = f"smidgen is not a command here. `smidgen train DATA` `make demo`\n{block}`smidgen walk`\n"
    found = documentation.unknown_words(page(text), {"demo"}, {"train", "predict"}, tmp_path)
    assert [line.split("`")[1] for line in found] == ["smidgen fly", "make tea", "smidgen walk"]


def test_make_targets_are_those_that_are_explained():
    assert documentation.make_targets("a: b ## text\nhidden: a\n\tmake x\n") == {"a"}


@pytest.mark.parametrize(
    ("docstring", "text", "complaint"),
    [
        (ROW.line, "Source: Doe et al., CVPR 2031", None),
        (ROW.line, None, "has no page"),
        (ROW.line, "A page by Doe, 2031", "has no line that begins with Source"),
        (ROW.line, "Source: Roe, 2031", "does not name Doe 2031"),
        ("Plays.", "Source: none", "names no source"),
        ("Plays.\n\nSource: folklore.", "Source: folklore", None),
    ],
)
def test_undocumented_methods_are_found(tmp_path, page, docstring, text, complaint):
    if text is not None:
        page(text, "toy.md")
    found = documentation.undocumented_methods([ROW], tmp_path, {ROW.module: f'"""{docstring}"""\n'})
    assert len(found) == (complaint is not None)
    assert complaint is None or complaint in found[0]


def test_undocumented_settings_are_found():
    class Told(Frozen):
        """Toy."""

        steps: int = 1
        """Number of steps."""

    class Untold(Frozen):
        """Toy."""

        steps: int = 1

    assert documentation.undocumented_settings(Told) == []
    assert [line.rpartition(".")[2] for line in documentation.undocumented_settings(Untold)] == ["steps: has no docstring"]


def test_results_are_paired():
    record = {"claim": "c", "question": "q?", "data": "d", "split": "val", "metric": "mIoU", "seeds": [0, 1], "paper": None}
    record |= {"baseline": {"name": "cam", "values": [40.0, 42.0]}, "method": {"name": "advcam", "values": [43.0, 47.0]}}
    others = [{"name": "once", "values": [44.0], "data": "d"}, {"name": "elsewhere", "values": [9.0], "data": "e"}]
    page = documentation.results_page([record | {"others": others}]).splitlines()
    assert page[6] == "| c | d | mIoU | cam 41 ± 1.4 | advcam 45 ± 2.8 | 4 ± 1.4 | 2 |"
    assert page[page.index("## c") + 2] == "q? d, val; mIoU."
    assert page[-4:] == [
        "| cam | 41 ± 1.4 |  | 2 |",
        "| advcam | 45 ± 2.8 | 4 ± 1.4 | 2 |",
        "| once | 44 | 4 | 1 |",
        "| elsewhere | 9 |  | 1 |",
    ]
    paper = {"baseline": 1.0, "method": 2.0, "data": "VOC"}
    assert "The paper: 1.0 and 2.0 (VOC)." in documentation.results_page([record | {"others": [], "paper": paper}])


def test_results_that_are_not_what_was_measured_are_found(page, monkeypatch):
    assert not [line for line in documentation.complaints() if "results.md" in line]
    monkeypatch.setattr(documentation, "RESULTS", page("# Results\n", "results.md"))
    assert [line for line in documentation.complaints() if "results.md" in line] == [
        "docs/results.md: is not what benchmarks/results says: run `make docs`"
    ]


def test_speed_is_shown_as_ratios():
    part = {"name": "21 classes", "baseline": [2.0, 4.0, 2.0], "method": [1.0, 1.0, 1.0]}
    record = {"claim": "c", "data": "photos", "metric": "CPU s", "aim": "", "reached": None, "parts": [part]}
    record |= {"baseline": {"name": "theirs"}, "method": {"name": "ours"}}
    page = documentation.speed_page([record])
    assert page.splitlines()[-1] == "| 21 classes | 2 | 1 | 0.5 (0.25 to 0.5) |"
    assert "**c.** Photos; CPU s.\n" in page
    assert "Aim: at most 1 s: not reached." in documentation.speed_page([record | {"aim": "at most 1 s", "reached": False}])


def test_faults_are_told():
    two = [{"seconds": 1.2, "left": 0, "equal": True}, {"seconds": 0.6, "left": 0, "equal": False}]
    found = {"kills": 50, "runs": 5, "runs_equal": 5, "half_written": 0, "leftovers": 0, "two_processes": two}
    lines = documentation.faults_page(found | {"interrupts": {"start": {"seconds": 0.3}}}).splitlines()[-3:]
    assert lines[0].startswith("- SIGKILL at 50 random moments over all stages: 5 of 5 runs")
    assert lines[1].endswith("1 phases: it ended within 0.3 s")
    assert lines[2].endswith("all gone within 1.2 s, 0 left; 1 of 2 ended as undisturbed")
