"""A call as words: what is typed gives the same call again."""

from __future__ import annotations

from pathlib import Path

from smidgen.actions.spoken import spoken
from smidgen.actions.train import train
from smidgen.cli.options import parse

SETTINGS = {"gap": {"long_side": [32, 48], "flip": False, "dilate": True}, "advcam": {"steps": 3}}


def test_defaults_are_left_out_and_names_with_spaces_are_quoted():
    assert spoken(train, ["my photos"], {"use": "tags", "val": 0.2, "seed": 0, "skip_broken": True, "data": "x"}) == (
        "smidgen train 'my photos' --use tags --skip-broken"
    )


def test_settings_are_words_that_the_command_line_reads_back():
    words = spoken(train, ["photos"], {"preset": "small", "labeled": "10%"}, SETTINGS).split()
    assert words[:3] == ["smidgen", "train", "photos"]
    values = parse(train, "smidgen train", words[2:])
    assert values["settings"] == SETTINGS
    assert (values["data"], values["preset"], values["labeled"]) == (Path("photos"), "small", "10%")
