"""What a recipe runs with: which method in each place, and the settings of all that take part. Torch-free."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import field_validator

from smidgen.core import registry
from smidgen.core.errors import SettingsError
from smidgen.core.settings import Frozen, Machine, is_file, length, overlay, preset, validated
from smidgen.parts.losses.expression import parse
from smidgen.parts.networks import settings as networks

FOLDER = Path(__file__).parent
TAKES = ("run", "data", "choice")
"""Parameters of every recipe."""


class Choice(Frozen):
    """Which method stands in each place of a recipe."""

    classify: str = "gap"
    """Classifier of image tags."""
    localize: str = "advcam"
    """Where the classifier sees each tag."""
    refine: tuple[str, ...] = ("walk",)
    """Refiners of the heatmaps, in order; joined with + on the command line; none = leave them as they are."""
    label: str = "argmax"
    """From heatmaps to one class per pixel."""
    check: str = "deletion"
    """How labels are checked where there are no masks."""
    segment: str = "supervised"
    """Training of the segmentation network."""
    semi: str = "weak_to_strong"
    """Training of the segmentation network from labeled and unlabeled images."""
    predict: str = "windows"
    """How images are predicted."""
    head: str = "fpn"
    """Head of the segmentation network."""
    loss: str = "ce"
    """Loss of the segmentation network; sums such as 0.5*dice+ce."""

    @field_validator("refine", mode="before")
    @classmethod
    def _chain(cls, refine: Any) -> Any:
        """Names from `a+b`, from a list, or from none."""
        names = refine.split("+") if isinstance(refine, str) else refine
        return tuple(name for name in names if name != "none") if isinstance(names, list | tuple) else names


PARTS: tuple[Literal["head", "loss"], ...] = ("head", "loss")
FIXED: Mapping[str, type[Frozen]] = {"encoder": networks.Encoder, "machine": Machine}
"""Settings that every recipe has."""
KINDS = ("slices", "volumes")
"""Blocks of a preset that overlay the rest for slices of volumes, and for volumes as they are."""
Kind = Literal["pictures", "slices", "volumes"]
"""What images are, for a network."""
USUAL: Mapping[str, Mapping[str, str]] = {"mixed": {"semi": "weak_plus_masks"}}
"""What stands in a place of a recipe unless somebody says otherwise, whatever a preset has there for others."""
COSTS, STEP_COSTS = "seconds_per_image", "seconds_per_step"
"""What a preset says of its own speed, for `inspect`; a block for slices or volumes says it again, and counts steps."""
LENGTHS = ("steps", "epochs")
"""Settings of methods that learn which say how long; where both are above 0, one rules."""
SUPPLIED = ("encoder", *PARTS)
"""Needs that come from the settings: factories, not products."""


@dataclass(frozen=True)
class Resolved:
    """A recipe with everything it needs to know, as it stands in `run.yaml`.

    Args:
        recipe: Name of the recipe.
        preset: Name of the preset.
        choice: Which method in each place.
        methods: Settings by name of method, head or loss.
        encoder: Settings of the encoder.
        machine: What it runs on.
        seed: All randomness derives from it.
    """

    recipe: str
    preset: str
    choice: Choice
    methods: Mapping[str, Frozen]
    encoder: networks.Encoder
    machine: Machine
    seed: int

    def to_yaml(self) -> str:
        """All of it, as words or YAML would say it."""
        slots = {name: value for name, value in self.choice.model_dump(mode="json").items() if name in places(self.recipe)}
        groups = {name: one.model_dump(mode="json") for name, one in self.methods.items()}
        head = {"recipe": self.recipe, "preset": self.preset, "seed": self.seed, **slots}
        rest = {"encoder": self.encoder.model_dump(mode="json"), **groups, "machine": self.machine.model_dump(mode="json")}
        return yaml.safe_dump(head | rest, sort_keys=False, allow_unicode=True)


@lru_cache
def recipes() -> tuple[str, ...]:
    """All recipes: modules of this folder that define a function of their own name which takes a run, data and a choice."""
    return tuple(path.stem for path in sorted(FOLDER.glob("*.py")) if _function(path.stem) is not None)


def _function(recipe: str) -> ast.FunctionDef | None:
    path = FOLDER / f"{recipe}.py"
    if not path.exists():
        return None
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == recipe)
    return next((one for one in functions if tuple(argument.arg for argument in one.args.args) == TAKES), None)


@lru_cache
def places(recipe: str) -> tuple[str, ...]:
    """The places of Choice that a recipe fills, read from its text: what it says `choice.` of, and what its methods get handed.

    Raises:
        SettingsError: No such recipe.
    """
    function = _function(recipe)
    if function is None:
        raise SettingsError(f"--recipe {recipe}: no such recipe: {registry.nearest(recipe, (*recipes(), *_makers()))}")
    said = {n.attr for n in ast.walk(function) if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "choice"}
    return tuple(name for name in Choice.model_fields if name in said | {"predict", *PARTS})


def chosen(choice: Choice, recipe: str) -> dict[str, type[Frozen]]:
    """Settings classes by name, of all methods and parts that a recipe uses with this choice.

    Raises:
        SettingsError: A name in `choice` is not known.
    """
    found: dict[str, type[Frozen]] = {}
    for place in places(recipe):
        value = getattr(choice, place)
        if place == "loss":
            found |= {name: registry.part_settings("loss", name) for _, name in parse(value)}
        elif place == "head":
            found[value] = registry.part_settings("head", value)
        else:
            rows = [registry.method(place, name) for name in ((value,) if isinstance(value, str) else value)]
            found |= {row.name: registry.settings_of(row) for row in rows}
    return found


def meant(recipe: str, words: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """A recipe by its name, or by that of the method that makes it: `dtc` is the recipe `semi` with `semi: dtc`.

    Args:
        recipe: What was said.
        words: What else was said.

    Returns:
        The recipe's name, and the words with the method's among them.
    """
    if recipe in recipes() or recipe not in _makers():
        return recipe, dict(words)
    return "semi", {"semi": recipe} | {name: value for name, value in words.items() if value is not None}


def _makers() -> tuple[str, ...]:
    """Methods that have a recipe of their own."""
    return tuple(row.name for row in registry.methods() if row.stage == "semi")


def of_kind(values: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """What a preset says for one kind of images."""
    plain = {name: value for name, value in values.items() if name not in KINDS}
    return overlay(plain, values.get(kind) or {})


def resolve(recipe: str, preset_name: str, words: Mapping[str, Any], kind: Kind = "pictures") -> Resolved:
    """Defaults, then the preset, then words.

    Args:
        recipe: Name of the recipe, or of a method that has one of its own (`meant`).
        preset_name: Name of the preset.
        words: Places of Choice, groups of settings (`advcam: {steps: 8}`), `encoder`, `machine`, `seed`; None = not said.
        kind: What the images are; presets say something else for each.

    Raises:
        SettingsError: An unknown name, an impossible value, or settings of something that the recipe does not use.
    """
    recipe, words = meant(recipe, words)
    said = {name: value for name, value in words.items() if value is not None}
    values = overlay({**of_kind(checked_preset(preset_name), kind), **USUAL.get(recipe, {})}, said)
    choice = validated(Choice, _slots(values), "recipe")
    classes = chosen(choice, recipe)
    fixed = {*FIXED, "seed", *Choice.model_fields}
    for name in said:
        if name not in fixed and name not in classes:
            raise SettingsError(_unused(name, choice, recipe, classes))
        if name in Choice.model_fields and name not in places(recipe):
            raise SettingsError(f"--{name}: the recipe {recipe} has no such place; it has {', '.join(places(recipe))}")
    return Resolved(
        recipe=recipe,
        preset=preset_name,
        choice=choice,
        methods={name: validated(kind, values.get(name, {}), name) for name, kind in classes.items()},
        encoder=validated(networks.Encoder, values.get("encoder", {}), "encoder"),
        machine=validated(Machine, values.get("machine", {}), "machine"),
        seed=int(values.get("seed", 0)),
    )


def without_effect(words: Mapping[str, Any], resolved: Resolved) -> list[str]:
    """Lengths that somebody asked for and that another one takes the place of: steps, where the preset counts epochs.

    Args:
        words: As `resolve` got them.
        resolved: What they came to.

    Returns:
        A line for each, with the remedy.
    """
    lines = []
    for group, settings in resolved.methods.items():
        said, ruling = words.get(group) or {}, length(settings)
        if ruling is None or not ruling[1].overrides or ruling[0] in said:
            continue
        for name in LENGTHS:
            if name in said and name != ruling[0] and said[name] > 0:
                number = f"{getattr(settings, ruling[0]):g}"
                lines.append(
                    f"--{group}.{name} {said[name]} has no effect, since {group}.{ruling[0]} is {number} (preset {resolved.preset}): "
                    f"add --{group}.{ruling[0]} 0"
                )
    return lines


def checked_preset(name: str) -> dict[str, Any]:
    """What a preset says, with a user's own file checked as closely as words are: each name, each value.

    Raises:
        SettingsError: No such preset, an unknown name, or an impossible value.
    """
    values = preset(name)
    if not is_file(name):
        return values  # the tests have looked at it
    for kind in KINDS:
        if not isinstance(values.get(kind) or {}, Mapping):
            raise SettingsError(f"--preset {name}: {kind}: expected settings ({kind}: {{…: …}}), found {values[kind]!r}")
        _check(of_kind(values, kind), name)
    _check(of_kind(values, "pictures"), name)
    return values


def _check(values: Mapping[str, Any], name: str) -> None:
    classes = all_settings()
    plain = {*Choice.model_fields, "seed", COSTS, STEP_COSTS}
    for group, said in values.items():
        if group not in classes and group not in plain:
            raise SettingsError(f"--preset {name}: {group}: nothing has this name: {registry.nearest(group, [*classes, *plain])}")
        if group in classes and not isinstance(said, Mapping):
            raise SettingsError(f"--preset {name}: {group}: expected settings ({group}: {{…: …}}), found {said!r}")
        if group in classes:
            validated(classes[group], said, f"--preset {name}: {group}")
    validated(Choice, _slots(values), f"--preset {name}")


def _slots(values: Mapping[str, Any]) -> dict[str, Any]:
    return {place: values[place] for place in Choice.model_fields if place in values}


def all_settings() -> dict[str, type[Frozen]]:
    """Settings classes of everything that has some, by the word that a user types."""
    found = dict(FIXED) | {row.name: registry.settings_of(row) for row in registry.methods()}
    for kind in PARTS:
        found |= {name: registry.part_settings(kind, name) for name in registry.parts(kind)}
    return found


def _unused(name: str, choice: Choice, recipe: str, classes: Mapping[str, Any]) -> str:
    for row in registry.methods():
        if row.name == name and row.stage not in places(recipe):
            return f"{name}: this recipe ({recipe}) has no place for it; it runs {', '.join(classes)}: choose another, or leave it out"
        if row.name == name:
            return (
                f"{name}: this recipe ({recipe}) does not use it; it runs {', '.join(classes)}: add --{row.stage} {name}, or leave it out"
            )
    for kind in PARTS:
        if name in registry.parts(kind):  # pyright: ignore[reportArgumentType]
            return f"{name}: this recipe ({recipe}) does not use it: add --{kind} {name}, or leave it out"
    return f"{name}: nothing has this name: {registry.nearest(name, [*classes, 'encoder', 'machine', *Choice.model_fields])}"
