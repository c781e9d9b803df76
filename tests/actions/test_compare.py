"""Several recipes on one split: same labels for the same seed, shared stages, differences with their noise, one page."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import smidgen
from smidgen.actions.compare import Arm, _gain
from smidgen.actions.comparing import Cell, shown_of
from smidgen.actions.variants import Variant
from smidgen.cli.main import main
from smidgen.core.errors import NeedError, SettingsError, UsageError
from smidgen.report.comparison import sentence


def cell(recipe: str, seed: int, each: dict[str, float]) -> Cell:
    return Cell(recipe, "all", seed, 2, 0, "mIoU", sum(each.values()) / len(each), each, 1.0, 1.0, {})


def arm(gain: float | None, interval: tuple[float, float] | None) -> Arm:
    return Arm("masks", "all", (0.5, 0.7), 2.0, 10.0, 1.0, 1.0, gain, interval)


def test_differences_are_paired_by_image_and_seed():
    ids = [f"i{n}" for n in range(8)]
    base = [cell("a", seed, {id: 0.1 * n for n, id in enumerate(ids)}) for seed in (0, 1)]
    better = [cell("b", seed, {id: 0.1 * n + 0.05 + 0.02 * seed for n, id in enumerate(ids)}) for seed in (0, 1)]
    gain, interval = _gain(base, better, {})
    assert gain == pytest.approx(0.06)
    assert interval is not None and interval == (pytest.approx(0.06), pytest.approx(0.06))  # every image gains the same: no noise
    mixed = [cell("c", 0, {id: 0.1 * n + (0.3 if n % 2 else -0.3) for n, id in enumerate(ids)})]
    gain, interval = _gain(base[:1], mixed, {})
    assert gain == pytest.approx(0.0) and interval is not None and interval[0] < 0 < interval[1]
    assert _gain(base, better[1:], {})[0] == pytest.approx(0.07) and _gain(base[:1], better[1:], {}) == (None, None)  # seed by seed
    together = _gain(base[:1], mixed, dict.fromkeys(ids, "one patient"))[1]
    assert together is None  # one group: nothing to draw from
    assert _gain(base[:1], mixed, dict(zip(ids, "aabbccdd", strict=True)))[1] is None  # four groups are too few


def test_the_difference_of_miou_is_that_of_all_pixels_together():
    ids = [f"i{n}" for n in range(6)]

    def counted(
        right: int,
    ) -> dict[str, np.ndarray]:  # each image: 10 pixels of class 0, all right, and 10 of class 1, some taken for class 0
        return {id: np.array([[10, 0, 0], [10 - right, right, 0]]) for id in ids}

    def pooled(right: int, seed: int = 0) -> Cell:
        miou = (10 / (20 - right) + right / 10) / 2
        return replace(cell("a", seed, dict.fromkeys(ids, 0.3)), score=miou, counts=counted(right))

    gain, interval = _gain([pooled(5)], [pooled(8)], {})
    assert gain == pytest.approx((10 / 12 + 0.8) / 2 - (10 / 15 + 0.5) / 2)  # each image's own number, .3 on both sides, has no say
    assert interval == (pytest.approx(gain), pytest.approx(gain))  # all images are alike
    half = pooled(8)
    half = replace(half, counts={id: counted(8)[id] if n % 2 else counted(2)[id] for n, id in enumerate(ids)})
    low, high = _gain([pooled(5)], [half], {})[1]
    assert low < 0 < high


def test_a_difference_within_noise_is_called_so():
    assert arm(None, None).verdict == ""
    assert arm(0.02, (-0.01, 0.05)).verdict == "within noise"
    assert arm(0.02, (0.01, 0.05)).verdict == "better"
    assert arm(-0.02, (-0.05, -0.01)).verdict == "worse"
    assert arm(0.02, None).verdict == "too few val images or groups to tell"
    assert arm(0.02, None).mean == pytest.approx(0.6) and arm(0.02, None).spread == pytest.approx(0.1 * 2**0.5)


def test_shown_images_go_from_the_worst_to_the_best():
    each = {f"i{n}": n / 10 for n in range(9)}
    assert shown_of(each, 3) == ["i0", "i4", "i8"]
    assert shown_of(each, 20) == list(each)


def test_recipes_share_the_split_the_labels_and_what_is_finished(folder, quick, tmp_path):
    settings = {name: quick[name] for name in ("encoder", "gap", "advcam", "walk", "deletion", "supervised")}
    words = {"recipes": "masks,tags", "labeled": "3,all", "out": tmp_path / "compared", "preset": "small", "settings": settings}
    compared = smidgen.compare(folder, **words, screen=smidgen.Silent())
    assert [(one.recipe, one.labeled) for one in compared.arms] == [("masks", "3"), ("tags", "3"), ("masks", "all"), ("tags", "all")]
    few, tags, many, again = compared.arms
    assert (few.masks, many.masks) == (3, 9)
    assert tags.scores == again.scores  # it reads no mask, so it is computed once
    assert few.minutes == 3 * 5 and tags.minutes == pytest.approx(0.9)
    stages = sorted(path.name for path in (compared.folder / "stages").iterdir())
    assert sum(name.startswith("segment-") for name in stages) == 3
    record = json.loads((compared.folder / "comparison.json").read_text())
    assert len(record["cells"]) == 4 and set(record["cells"][0]["each"]) == {"p09", "p10", "p11"}
    table = compared._repr_html_()
    assert table.count("<tr>") == 1 + 4 and "15 min" in table and str(compared.report) in table
    page = compared.report.read_text()
    assert 'src="http' not in page and page.count("<img ") == 3 * (2 + 4)
    before = {path: path.stat().st_mtime_ns for path in (compared.folder / "stages").rglob("*.npz")}
    assert smidgen.compare(folder, **words, screen=smidgen.Silent()).arms[0].scores == few.scores
    assert before == {path: path.stat().st_mtime_ns for path in (compared.folder / "stages").rglob("*.npz")}


def test_a_variant_is_a_recipe_with_words_of_its_own():
    assert Variant.of("masks") == Variant("masks", {}, {})
    variant = Variant.of("masks:head=ocr:ocr.width=256:loss=0.5*lal+0.5*ce:ocr.context=false:lal.exponent=1.5")
    assert variant.places == {"head": "ocr", "loss": "0.5*lal+0.5*ce"}
    assert variant.settings == {"ocr": {"width": 256, "context": False}, "lal": {"exponent": 1.5}}
    assert variant.over({"ocr": {"width": 512, "key_width": 64}})["ocr"] == {"width": 256, "key_width": 64, "context": False}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("masks:ocr", "masks:head=ocr"),
        ("masks:hed=ocr", "did you mean 'head'"),
        ("masks:head=", "PLACE=VALUE"),
        ("masks:=2", "PLACE=VALUE"),
    ],
)
def test_a_variant_that_cannot_be_read_is_explained(text, message):
    with pytest.raises(SettingsError, match=message):
        Variant.of(text)


def test_heads_are_compared_by_variants_of_one_recipe(folder, quick, tmp_path):
    settings = {name: quick[name] for name in ("encoder", "supervised")}
    recipes = "masks,masks:head=fcn:fcn.width=8:fcn.blocks=1"
    compared = smidgen.compare(folder, recipes=recipes, out=tmp_path / "c", preset="small", settings=settings, screen=smidgen.Silent())
    assert [one.recipe for one in compared.arms] == recipes.split(",")
    assert len([*(tmp_path / "c").glob("stages/segment-*")]) == 2
    with pytest.raises(SettingsError, match="width"):
        smidgen.compare(folder, recipes="masks,masks:head=fcn:fcn.width=-1", out=tmp_path / "d", preset="small", settings=settings)


def test_the_page_says_what_could_not_be_told():
    def told(interval: tuple[float, float] | None, gain: float = 0.02) -> str:
        arms = [vars(one) | {"mean": one.mean, "verdict": one.verdict} for one in (arm(None, None), arm(gain, interval))]
        arms[1]["recipe"] = "other"
        return sentence(arms, "mIoU").partition(". ")[2]

    assert told(None).startswith("Val has too few images, or groups of them, to tell a difference from noise")
    assert told((-0.1, 0.1)).startswith("With as many labels, nothing was better than masks beyond noise")
    assert told((0.01, 0.1)).startswith("Better than masks with as many labels, beyond noise: other with all labeled, +2.0")


def test_a_recipe_that_finds_nothing_beside_the_masks_is_left_out(boxes, tmp_path):
    images, masks = boxes(5)
    data = smidgen.Dataset(images, masks, dims=3, split={"v3": "val", "v4": "val"})
    tiny = {"steps": 2, "batch": 1, "patch": (8, 8, 8)}
    settings = {"encoder": {"width": 2, "depth": 2}, "machine": {"workers": 0}, "supervised": tiny, "dtc": {**tiny, "batch_unlabeled": 1}}
    words = {"recipes": "masks,semi", "preset": "small", "settings": settings, "screen": smidgen.Silent()}
    compared = smidgen.compare(data, labeled="1,all", out=tmp_path / "a", **words)
    assert [(one.recipe, one.labeled) for one in compared.arms] == [("masks", "1"), ("semi", "1"), ("masks", "all")]
    assert compared.left_out[0].startswith("semi, all labeled: every image of train has a dense mask")
    assert "Left out: semi, all labeled" in compared.report.read_text()
    with pytest.raises(NeedError, match="every image of train has a dense mask"):
        smidgen.compare(
            data,
            labeled="all",
            out=tmp_path / "b",
            **{**words, "recipes": "dtc", "settings": {name: settings[name] for name in ("encoder", "machine", "dtc")}},
        )


def test_wrong_words_are_refused_before_anything_is_read(folder, tmp_path, capsys):
    out = tmp_path / "compared"
    with pytest.raises(SettingsError, match="no such recipe"):
        smidgen.compare(folder, recipes="mask", out=out)
    with pytest.raises(SettingsError, match="no recipe of this comparison uses it"):
        smidgen.compare(folder, recipes="masks", out=out, settings={"advcam": {"steps": 2}})
    with pytest.raises(SettingsError, match="--seeds 0"):
        smidgen.compare(folder, recipes="masks", out=out, seeds=0)
    with pytest.raises(SettingsError, match="one process"):
        smidgen.compare(folder, recipes="masks", out=out, settings={"machine": {"devices": 2}})
    assert main(["compare", str(folder), "--recipes", ",", "--out", str(out)]) == 2
    assert "nothing is named" in capsys.readouterr().err
    assert not out.exists()


def test_without_masks_in_val_nothing_is_compared(folder, quick, tmp_path):
    for path in (folder / "masks").glob("p09.png"), (folder / "masks").glob("p1[01].png"):
        for one in path:
            one.unlink()
    with pytest.raises(UsageError, match="no val image has a mask"):
        smidgen.compare(
            folder,
            recipes="masks",
            labeled="3",
            out=tmp_path / "compared",
            preset="small",
            settings={name: quick[name] for name in ("encoder", "supervised")},
            screen=smidgen.Silent(),
        )
