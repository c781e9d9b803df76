"""Weighted sums of losses in words: `0.5*dice+ce`."""

from __future__ import annotations

import math
import re

from smidgen.core.errors import SettingsError

TERM = re.compile(r"\s*(?:(?P<weight>[-0-9.]+(?:e-?[0-9]+)?)\s*\*\s*)?(?P<name>[a-z_][a-z0-9_]*)\s*")


def parse(expression: str) -> tuple[tuple[float, str], ...]:
    """Weights and names, in the order of writing.

    Args:
        expression: Names joined by +, each with an optional positive weight and * in front.

    Raises:
        SettingsError: It is no such sum, a weight is not positive, or a name comes twice.

    Example:
        >>> parse("0.5*dice+ce")
        ((0.5, 'dice'), (1.0, 'ce'))
    """
    terms = tuple(_term(part, expression) for part in expression.split("+"))
    names = [name for _, name in terms]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SettingsError(f"loss '{expression}': '{twice[0]}' comes twice: add its weights up")
    return terms


def _term(part: str, expression: str) -> tuple[float, str]:
    found = TERM.fullmatch(part)
    if not found:
        raise SettingsError(f"loss '{expression}': expected NAME or WEIGHT*NAME, came '{part.strip()}': write a sum such as 0.5*dice+ce")
    try:
        weight = float(found["weight"] or 1)
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise SettingsError(
            f"loss '{expression}': expected a positive weight, came '{found['weight']}': correct it or leave {found['name']} out"
        )
    return weight, found["name"]
