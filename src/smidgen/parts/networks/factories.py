"""Factory of heads: a head is found by its name in the folder `heads`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from inspect import signature

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
        dims: Spatial axes of what it is for, 2 or 3.

    Raises:
        SettingsError: There is no such head (with the nearest known one), the settings are another's, or the head is for images only.

    Example:
        >>> HeadFactory("fcn")([8, 16, 32], [8, 16, 32], classes=2).stride
        8
    """

    def __init__(self, name: str, settings: Frozen | None = None, dims: int = 2):
        kind = registry.part_settings("head", name)
        self.name, self.settings, self.dims = name, kind() if settings is None else settings, dims
        if not isinstance(self.settings, kind):
            raise SettingsError(f"head '{name}': expected settings {kind.__name__}, came {type(settings).__name__}: give those of '{name}'")
        self._module = f"smidgen.parts.networks.heads.{name}"

    @property
    def key(self) -> str:
        """What the heads depend on."""
        more = () if self.dims == 2 else (self.dims,)
        return key("head", self.name, self.settings.model_dump(mode="json"), *more, source(self._module))

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
        if "dims" in signature(kind).parameters:
            return kind(self.settings, channels, strides, classes, self.dims)
        if self.dims != 2:
            raise SettingsError(f"head '{self.name}' is for images, and these are volumes: choose --head point, or slices with --dims 2")
        return kind(self.settings, channels, strides, classes)
