from __future__ import annotations

from pytest import raises

from smidgen.core.errors import SettingsError
from smidgen.parts.networks.factories import HeadFactory, names
from smidgen.parts.networks.heads import settings


def test_the_folder_is_the_list():
    assert {"fcn", "fpn"} <= set(names())
    assert not {"settings", "__init__"} & set(names())


def test_an_unknown_head_names_the_nearest():
    with raises(SettingsError, match="did you mean 'fpn'"):
        HeadFactory("fpnn")


def test_settings_of_another_head_are_refused():
    with raises(SettingsError, match="expected settings Fpn, came Fcn"):
        HeadFactory("fpn", settings.Fcn())


def test_the_key_knows_name_and_settings():
    assert HeadFactory("fcn").key == HeadFactory("fcn", settings.Fcn()).key
    assert len({HeadFactory("fcn").key, HeadFactory("fpn").key, HeadFactory("fcn", settings.Fcn(width=32)).key}) == 3
