"""Who hears of progress when nobody says: bars where somebody looks, nothing elsewhere."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

import smidgen
from smidgen.core.screen import Silent, in_notebook, watching
from smidgen.core.terminal import Terminal


class Tty(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def notebook(monkeypatch):
    kernel = type("ZMQInteractiveShell", (), {})()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: kernel))


def test_in_a_script_whose_output_is_kept_nothing_is_shown(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert isinstance(watching(None), Silent)
    monkeypatch.setattr(sys, "stderr", None)
    assert isinstance(watching(None), Silent)


def test_on_a_terminal_there_are_bars_on_the_standard_error(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Tty())
    found = watching(None)
    assert isinstance(found, Terminal)
    assert found.console.stderr


def test_in_a_notebook_there_are_bars_too(notebook):
    assert in_notebook()
    assert isinstance(watching(None), Terminal)


def test_who_wants_silence_says_so(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Tty())
    silent = smidgen.Silent()
    assert watching(silent) is silent


def test_a_terminal_shows_a_bar_and_a_file_gets_lines():
    tty, file = Tty(), io.StringIO()
    for output, terminal in ((tty, True), (file, False)):
        screen = Terminal(Console(file=output, force_terminal=terminal, width=100))
        screen.plan(2)
        screen.stage("classify", "gap", "abc", False)
        with screen.step("classifier", 3, 0, "steps") as bar:
            bar.advance(3, {"loss": 0.5})
    assert "3/3" in tty.getvalue()
    assert "1/2 classify" in file.getvalue()
    assert "classifier: 3 steps in" in file.getvalue()
