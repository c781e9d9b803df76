"""A recipe's dry run: which stages it has and whether each gets what it needs, said before anything trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from smidgen.core import registry


@dataclass(frozen=True)
class Placeholder:
    """Stands for a product that is not made yet."""

    product: str
    key: str = "planned"


class Plan:
    """Takes a Run's place in a recipe: checks needs by signature and returns placeholders, so a recipe does not branch on values.

    Args:
        supplies: Names of the needs that come from the settings.
    """

    def __init__(self, supplies: tuple[str, ...] = ("encoder", "head", "loss")):
        self.supplies = {name: Placeholder(name) for name in supplies}
        self.stages: list[registry.Method] = []

    def stage(self, stage: str, method: str, data: Any, /, **have: Any) -> Placeholder:
        """Note the stage.

        Raises:
            SettingsError: No such method.
            NeedError: It needs what the recipe does not have.
        """
        row = registry.method(stage, method)
        have = self.supplies | have
        registry.handed_over(row, have)
        self.stages.append(row)
        return Placeholder(row.product)

    def later(self, stage: str, method: str, data: Any, /) -> Placeholder:
        """A stage that a method may run from within its own: it must exist, and is not counted.

        Raises:
            SettingsError: No such method.
        """
        return Placeholder(registry.method(stage, method).product)

    def uses(self, need: str) -> bool:
        """Whether any stage asks for a need."""
        return any(need in row.needs for row in self.stages)
