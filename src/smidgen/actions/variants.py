"""What `compare` calls a recipe: its name, and what it says in place of the rest (masks:head=ocr:ocr.width=256). Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from smidgen.core.errors import SettingsError
from smidgen.core.registry import nearest
from smidgen.core.settings import overlay
from smidgen.recipes.choice import Choice


@dataclass(frozen=True)
class Variant:
    """A recipe with settings of its own.

    Args:
        recipe: Name of the recipe.
        places: Which method or part stands in a place: head, loss, refine and others.
        settings: Settings by name of method or part.
    """

    recipe: str
    places: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str) -> Variant:
        """From NAME, NAME:PLACE=VALUE, NAME:GROUP.SETTING=VALUE and more of these joined with colons.

        Raises:
            SettingsError: No such form, or no such place.
        """
        recipe, *parts = (part.strip() for part in text.split(":"))
        places: dict[str, str] = {}
        settings: dict[str, Any] = {}
        for part in parts:
            word, equals, value = (piece.strip() for piece in part.partition("="))
            if not word or not equals or not value:
                raise SettingsError(
                    f"--recipes {text}: '{part}': write PLACE=VALUE or GROUP.SETTING=VALUE after the colon, as in masks:head=ocr"
                )
            group, dot, setting = word.partition(".")
            if dot:
                settings = overlay(settings, {group: {setting: _read(value)}})
            elif word in Choice.model_fields:
                places[word] = value
            else:
                raise SettingsError(f"--recipes {text}: {word}: no such place: {nearest(word, Choice.model_fields)}")
        return cls(recipe, places, settings)

    def over(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """These settings with its own over them."""
        return overlay(settings, self.settings)


def _read(value: str) -> Any:
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        return value
