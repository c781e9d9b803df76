"""Factory of heads: a head is found by its name in the folder `heads`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from torch import nn

from smidgen.core import registry
from smidgen.core.errors import SettingsError
from smidgen.core.keys import key, source
from smidgen.core.settings import Frozen


def names() -> tuple[str, ...]:
    """The heads there are; reads the folder, imports none."""
    return registry.parts("head")


class HeadFactory:
    """Makes heads of one kind.

    Args:
        name: Module in `parts/networks/heads`, which holds a class of that name.
        settings: Its settings; None = the defaults.

    Raises:
        SettingsError: There is no such head (with the nearest known one), or the settings are another's.

    Example:
        >>> HeadFactory("fcn")([8, 16, 32], [8, 16, 32], classes=2).stride
        8
    """

    def __init__(self, name: str, settings: Frozen | None = None):
        kind = registry.part_settings("head", name)
        self.name, self.settings = name, kind() if settings is None else settings
        if not isinstance(self.settings, kind):
            raise SettingsError(f"head '{name}': expected settings {kind.__name__}, came {type(settings).__name__}: give those of '{name}'")
        self._module = f"smidgen.parts.networks.heads.{name}"

    @property
    def key(self) -> str:
        """What the heads depend on."""
        return key("head", self.name, self.settings.model_dump(mode="json"), source(self._module))

    def __call__(self, channels: Sequence[int], strides: Sequence[int], classes: int) -> nn.Module:
        """A new head.

        Args:
            channels: Of each level of the encoder's pyramid.
            strides: Of each level, ascending.
            classes: Number of logits.

        Raises:
            SettingsError: The head can't work on these levels.
        """
        kind = getattr(importlib.import_module(self._module), registry.camel(self.name))
        return kind(self.settings, channels, strides, classes)
