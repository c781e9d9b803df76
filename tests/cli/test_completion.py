"""Shell completion: commands, methods, settings and choices complete; the script is the options, written nowhere twice."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from smidgen.cli.completion import HOW, script
from smidgen.cli.main import commands, main


@pytest.mark.parametrize("shell", HOW)
def test_a_script_knows_commands_methods_and_settings(shell):
    text = script(shell)
    for word in (*commands(), "--advcam.steps", "--cam.scales", "--machine.devices", "--skip-broken", "--json"):
        assert word in text


def completed(tmp_path, *words: str) -> list[str]:
    """What bash offers for the last of the words."""
    path = tmp_path / "smidgen.bash"
    path.write_text(script("bash"))
    (tmp_path / "bin").mkdir(exist_ok=True)
    python = tmp_path / "bin" / "python3"  # the script asks whatever python3 there is
    if not python.exists():
        python.symlink_to(sys.executable)
    line = " ".join(f"'{word}'" for word in ("smidgen", *words))
    ask = (
        f'source {path}; COMP_WORDS=({line}); COMP_CWORD={len(words)}; COMP_LINE="smidgen {" ".join(words)}"; COMP_POINT=${{#COMP_LINE}}; '
    )
    ask += "f=$(complete -p smidgen | sed -E 's/.*-F ([^ ]+).*/\\1/'); $f; printf '%s\\n' \"${COMPREPLY[@]}\""
    environment = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True, env=environment)
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("ins",), "inspect"),
        (("train", "DATA", "--adv"), "--advcam.steps"),
        (("train", "DATA", "--localize", ""), "advcam"),
        (("train", "DATA", "--localize", "c"), "cam"),
        (("train", "--preset", "s"), "small"),
        (("train", "--until", "seg"), "segment"),
        (("evaluate", "--spl"), "--split"),
    ],
)
def test_bash_completes(words, offered, tmp_path):
    assert offered in completed(tmp_path, *words)


def test_the_command_prints_it_and_says_where_it_belongs(capsys):
    assert main(["--completion", "bash"]) == 0
    assert "complete" in capsys.readouterr().out
    assert main(["--completion"]) == 2
    err = capsys.readouterr().err
    assert "smidgen --completion fish > ~/.config/fish" in err
    assert main(["--help"]) == 0
    assert "--completion" in capsys.readouterr().out
