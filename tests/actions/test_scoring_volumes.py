"""Volumes scored case by case, from arrays and from the command line."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from pytest import approx

import smidgen
from smidgen.actions import figures
from smidgen.actions.scoring import facts, score
from smidgen.actions.shown import of_evaluation
from smidgen.cli.main import main
from smidgen.products.labels import LabelMap


def truth(n=0):
    label = np.zeros((6, 10, 12), np.uint8)
    label[1:5, 2:6, 2 : 6 + n % 3] = 1
    label[2:4, 7:9, 2:9] = 2
    return label


def volumes(n=4, spacing=(3.0, 1.0, 1.0), **more):
    labels = {f"c{k}": truth(k) for k in range(n)}
    images = {id: np.random.default_rng(0).normal(size=(6, 10, 12)).astype(np.float32) for id in labels}
    return smidgen.Dataset(
        images,
        masks=labels,
        classes=["background", "organ", "tube"],
        split=dict.fromkeys(labels, "val"),
        dims=3,
        spacing_mm=spacing,
        **more,
    )


def said(data, change=lambda label: label):
    return {id: LabelMap(change(sample.label())) for id, sample in data.samples.items()}


def test_perfect_masks_score_one_and_zero_millimeters():
    data = volumes()
    found = facts(score(data, said(data)))
    told = found["volumes"]
    assert told["unit"] == ("mm" if data.samples["c0"].spacing_trusted else "voxels")
    assert told["mean_dice"] == {"mean": 1, "sd": 0, "cases": 4, "interval": None}
    assert told["classes"]["organ"]["hd95"] == {"mean": 0, "sd": 0}
    assert (found["boundary"], found["by_object_size"]) == (None, None)
    assert found["miou"] == 1
    json.dumps(found)


def test_islands_disappear_in_the_second_number_only():
    data = volumes()

    def change(label):
        label[0, 0, 0] = 1
        return label

    scored = score(data, said(data, change))
    assert scored.cases.of("organ").dice.mean < 1
    assert scored.largest.of("organ").dice.mean == 1
    assert scored.total.counts[0, 1] == 4, "the counts are those of the masks as they are"


def test_a_missed_structure_is_as_far_as_the_diagonal_and_has_a_name():
    data = volumes(spacing=None)
    predictions = said(data)
    predictions["c2"] = LabelMap(np.where(truth(2) == 2, 0, truth(2)).astype(np.uint8))
    found = facts(score(data, predictions)) | {"of": "masks", "data": "x", "split": "val"}
    assert found["volumes"]["missed"] == [{"case": "c2", "class": "tube", "only_in": "truth"}]
    assert found["volumes"]["per_case"]["c2"]["tube"]["hd95"] == approx(np.linalg.norm((6, 10, 12)))
    assert found["volumes"]["classes"]["tube"]["worst_case"] == "c2"
    lines = "\n".join(figures.volumes(found))
    for words in ("mean Dice 87.5 ± 25.0", "missed    c2: tube missed", "tube in c2"):
        assert words in lines
    assert "HD95 voxels" in of_evaluation(found, None)


def test_strokes_have_no_surface():
    labels = {"a": np.full((6, 10, 12), 255, np.uint8)}
    labels["a"][2, 2:4, 2:6], labels["a"][3, 8, 2:6] = 1, 0
    data = smidgen.Dataset({"a": np.zeros((6, 10, 12), np.float32)}, masks=labels, classes=["background", "organ"], dims=3)
    scored = score(data, {"a": LabelMap(truth())})
    assert scored.cases is None or not data.samples["a"].sparse


@pytest.fixture
def folder(tmp_path):
    """Three NIfTI volumes with true spacing, turned (LPS), and masks of them moved by one voxel."""
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    for name in ("data/volumes", "data/labels", "masks"):
        (tmp_path / name).mkdir(parents=True)
    for k in range(3):
        stored = truth(k).transpose(2, 1, 0)
        for place, values in (("data/volumes", stored.astype(np.float32)), ("data/labels", stored), ("masks", np.roll(stored, 1, 2))):
            image = nibabel.Nifti1Image(values, affine)
            image.header.set_xyzt_units("mm")
            nibabel.save(image, tmp_path / place / f"case{k}.nii.gz")
    (tmp_path / "data" / "classes.txt").write_text("background\norgan\ntube\n")
    (tmp_path / "data" / "split.csv").write_text("filename,split\n" + "".join(f"case{k}.nii.gz,val\n" for k in range(3)))
    return tmp_path


def test_masks_in_files_are_evaluated_in_millimeters(folder, capsys):
    out = folder / "figures.json"
    assert main(["evaluate", str(folder / "masks"), str(folder / "data"), "--out", str(out)]) == 0
    screen = capsys.readouterr().out
    found = json.loads(out.read_text())["volumes"]
    assert found["unit"] == "mm"
    assert found["classes"]["organ"]["hd95"]["mean"] == approx(2), "one slice of 2 mm"
    assert found["classes"]["organ"]["dice"]["mean"] == approx(0.75)
    assert "mean Dice" in screen
    assert "HD95 mm" in screen
    page = out.with_suffix(".html").read_text()
    assert "axial, " in page
    assert "Structures, over 3 cases" in page


def test_masks_that_do_not_fit_are_told(folder, capsys):
    image = nibabel.Nifti1Image(np.full((12, 10, 6), 7, np.uint8), np.diag([-1.0, -1.0, 2.0, 1.0]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, folder / "masks" / "case1.nii.gz")
    assert main(["evaluate", str(folder / "masks"), str(folder / "data")]) == 2
    told = capsys.readouterr()
    assert "case1.nii.gz" in told.out + told.err
    assert "7" in told.out + told.err
