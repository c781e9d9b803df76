from __future__ import annotations

from pytest import mark, raises

from smidgen.core.errors import SettingsError
from smidgen.parts.losses.expression import parse


@mark.parametrize(
    ("words", "terms"),
    [
        ("ce", ((1.0, "ce"),)),
        ("0.5*lal+ce", ((0.5, "lal"), (1.0, "ce"))),
        (" 2 * dice + 1e-2*ce ", ((2.0, "dice"), (0.01, "ce"))),
        (".25*a_b2", ((0.25, "a_b2"),)),
    ],
)
def test_weights_and_names_in_the_order_of_writing(words: str, terms: tuple):
    assert parse(words) == terms


@mark.parametrize("words", ["", "+", "ce+", "0.5*", "ce*0.5", "0.5 ce", "ce dice", "0.5**ce", "CE"])
def test_what_is_no_sum_is_quoted(words: str):
    with raises(SettingsError, match="expected NAME or WEIGHT"):
        parse(words)


@mark.parametrize("words", ["0*ce", "-1*ce", "1.2.3*ce", "1e999*ce"])
def test_weights_are_positive(words: str):
    with raises(SettingsError, match="positive weight"):
        parse(words)


def test_a_name_comes_once():
    with raises(SettingsError, match="'ce' comes twice"):
        parse("ce+0.5*ce")
