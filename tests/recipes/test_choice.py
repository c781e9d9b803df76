"""What a recipe resolves to: defaults, preset, words; and what is refused."""

from __future__ import annotations

import pytest
import yaml

from smidgen.core import registry
from smidgen.core.errors import NeedError, SettingsError
from smidgen.core.plan import Plan
from smidgen.core.settings import presets
from smidgen.recipes.choice import Choice, meant, of_kind, places, recipes, resolve, without_effect
from smidgen.recipes.masks import masks
from smidgen.recipes.tags import tags


def test_recipes_are_the_folder():
    assert {"tags", "masks"} <= set(recipes())
    assert "supplies" not in recipes()  # a module of that folder, with a function of its own name, but no recipe


def test_a_recipe_has_the_places_it_speaks_of():
    assert places("masks") == ("segment", "predict", "head", "loss")
    assert set(places("tags")) == set(Choice.model_fields) - {"semi"}
    assert places("semi") == ("semi", "predict", "head", "loss")


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(SettingsError, match="did you mean 'tags'"):
        places("tag")


def test_the_paper_preset_overlays_nothing():
    resolved = resolve("tags", "paper", {})
    assert resolved.methods["advcam"] == registry.settings_of(registry.method("localize", "advcam"))()


def test_words_win_over_the_preset_and_the_preset_over_defaults():
    small = resolve("tags", "small", {})
    said = resolve("tags", "small", {"advcam": {"steps": 3}})
    assert small.methods["advcam"].steps != said.methods["advcam"].steps == 3
    assert said.methods["advcam"].model_copy(update={"steps": small.methods["advcam"].steps}) == small.methods["advcam"]


@pytest.mark.parametrize("preset", presets())
@pytest.mark.parametrize("recipe", recipes())
def test_every_preset_fits_every_recipe_and_survives_yaml(recipe, preset):
    resolved = resolve(recipe, preset, {})
    values = yaml.safe_load(resolved.to_yaml())
    again = resolve(values.pop("recipe"), values.pop("preset"), values)
    assert again == resolved


def test_a_length_that_another_one_takes_the_place_of_is_said():
    words = {"supervised": {"steps": 25}}
    said = without_effect(words, resolve("masks", "small", words))
    assert len(said) == 1 and said[0].startswith("--supervised.steps 25 has no effect, since supervised.epochs is ")
    assert said[0].endswith("(preset small): add --supervised.epochs 0")
    for group, own in (("supervised", {"steps": 25, "epochs": 0}), ("supervised", {"epochs": 3}), ("gap", {"steps": 5})):
        assert without_effect({group: own}, resolve("tags", "small", {group: own})) == []


def test_settings_of_what_does_not_run_are_refused_with_the_word_that_would_help():
    with pytest.raises(SettingsError, match="--localize advcam"):
        resolve("tags", "small", {"localize": "cam", "advcam": {"steps": 3}})
    with pytest.raises(SettingsError, match="no such place"):
        resolve("masks", "small", {"localize": "cam"})


def test_typos_name_the_nearest():
    with pytest.raises(SettingsError, match="did you mean 'steps'"):
        resolve("tags", "small", {"advcam": {"step": 3}})
    with pytest.raises(SettingsError, match="did you mean 'advcam'"):
        resolve("tags", "small", {"localize": "advcm"})
    with pytest.raises(SettingsError, match="did you mean 'advcam'"):
        resolve("tags", "small", {"advcm": {"steps": 3}})
    with pytest.raises(SettingsError, match="did you mean 'small'"):
        resolve("tags", "smal", {})


def test_an_impossible_value_names_the_setting():
    with pytest.raises(SettingsError, match=r"advcam\.steps"):
        resolve("tags", "small", {"advcam": {"steps": "many"}})


def test_losses_may_be_sums():
    resolved = resolve("masks", "small", {"loss": "0.5*dice+ce"})
    assert {"dice", "ce"} <= set(resolved.methods)


def test_refiners_are_a_chain_and_none_is_the_empty_one():
    assert Choice(refine="walk+walk").refine == ("walk", "walk")  # pyright: ignore[reportArgumentType]
    assert Choice(refine="none").refine == ()  # pyright: ignore[reportArgumentType]
    assert Choice(refine=("walk", "crf")).refine == ("walk", "crf")
    assert resolve("tags", "small", {"refine": "none"}).choice.refine == ()


class _Data:
    key = "data"


def test_a_plan_lists_the_stages_in_order():
    plan = Plan()
    tags(plan, _Data(), Choice())
    assert [row.stage for row in plan.stages] == ["classify", "localize", "refine", "label", "check", "segment"]
    plan = Plan()
    masks(plan, _Data(), Choice())
    assert [row.stage for row in plan.stages] == ["segment"]


def test_a_refiner_may_ask_for_the_recipes_own_training():
    plan = Plan()
    tags(plan, _Data(), Choice(refine=("walk", "retrain")))
    assert [row.name for row in plan.stages if row.stage == "refine"] == ["walk", "retrain"]
    with pytest.raises(SettingsError, match="no method 'supervized': did you mean 'supervised'"):
        tags(Plan(), _Data(), Choice(refine=("walk",), segment="supervized"))


def test_a_plan_says_what_is_missing_before_anything_trains():
    with pytest.raises(NeedError, match=r"localize cam needs classifier.*this recipe has"):
        Plan().stage("localize", "cam", _Data())


def test_a_preset_says_something_else_for_slices_and_volumes(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("head: fpn\nsupervised: {crop: 64, batch: 3}\nslices: {head: fcn, supervised: {crop: 48}}\n", encoding="utf-8")
    pictures, slices, volumes = (resolve("masks", str(path), {}, kind) for kind in ("pictures", "slices", "volumes"))
    assert [one.choice.head for one in (pictures, slices, volumes)] == ["fpn", "fcn", "fpn"]
    assert [one.methods["supervised"].crop for one in (pictures, slices, volumes)] == [64, 48, 64]
    assert slices.methods["supervised"].batch == 3
    assert resolve("masks", str(path), {"supervised": {"crop": 32}}, "slices").methods["supervised"].crop == 32
    assert of_kind({"a": 1, "slices": {"a": 2}, "volumes": None}, "volumes") == {"a": 1}
    path.write_text("slices: {supervised: {cropp: 48}}\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="cropp"):
        resolve("masks", str(path), {})


def test_a_method_that_makes_a_recipe_is_one():
    assert meant("masks", {"head": "fcn"}) == ("masks", {"head": "fcn"})
    assert meant("nothing", {}) == ("nothing", {})
    for row in registry.methods():
        if row.stage == "semi":
            assert meant(row.name, {"head": None}) == ("semi", {"semi": row.name})


def test_a_recipe_has_what_is_usual_in_it_unless_somebody_says_otherwise():
    assert resolve("mixed", "small", {}).choice.semi == "weak_plus_masks"
    assert resolve("mixed", "small", {"semi": "weak_to_strong"}).choice.semi == "weak_to_strong"
    assert resolve("semi", "small", {}).choice.semi == "weak_to_strong"
    assert resolve("semi", "small", {}, "volumes").choice.semi == "dtc"
