"""Folders of volumes: what is read, what is said, what is wrong, their slices, and arrays that are volumes."""

from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest
from pytest import approx

from smidgen.core.errors import DataError
from smidgen.data import volume_cache, volume_folder, volume_readers
from smidgen.data import volumes as volumes_module
from smidgen.data.checks import glance, verify
from smidgen.data.dataset import Dataset
from smidgen.data.volumes import opened_volume

AFFINE = np.diag([1.5, 1.5, 8.0, 1.0])


@pytest.fixture
def hearts(volumes):
    """Two patients with two cases each, one of them without a label, and a split."""
    for name in ("p1_a", "p1_b", "p2_a"):
        volumes.case(name, affine=AFFINE)
    volumes.case("p2_b", label=False, affine=AFFINE)
    volumes.text("cases.csv", "filename,patient\n" + "".join(f"{name}.nii.gz,{name[:2]}\n" for name in ("p1_a", "p1_b", "p2_a", "p2_b")))
    volumes.text("split.csv", "filename,split\np1_a.nii.gz,val\np1_b.nii.gz,val\np2_a.nii.gz,train\np2_b.nii.gz,train\n")
    volumes.text("dataset.yaml", "groups: cases.csv:patient\n")
    return volumes


def test_a_folder_of_volumes(hearts):
    data = Dataset.open(hearts.path)
    assert list(data.samples) == ["p1_a", "p1_b", "p2_a", "p2_b"] and data.dims == 3 and data.zscored and data.problems == ()
    assert list(data.labeled) == ["p2_a"] and list(data.unlabeled) == ["p2_b"] and list(data.val) == ["p1_a", "p1_b"]
    sample = data.samples["p1_a"]
    assert (sample.size, sample.channels, sample.group, sample.split) == ((4, 5, 6), 1, "p1", "val")
    assert sample.spacing_mm == (8, 1.5, 1.5) and sample.spacing_trusted and sample.zscored
    image, label = sample.image(), sample.label()
    assert image.shape == (1, 4, 5, 6) and image.dtype == np.float32
    assert image.mean() == approx(0, abs=1e-5) and image.std() == approx(1, abs=1e-5)
    assert sample.limits() == (approx(image.min()), approx(image.max()))
    assert (label[..., :2] == 1).all() and not label[..., 2:].any()
    assert (pickle.loads(pickle.dumps(sample)).image() == image).all()
    assert verify(data) == [] and glance(data) == []
    assert repr(data).endswith("4 volumes, 2 classes") and data._repr_html_() and sample._repr_png_()


def test_reading_hands_out_arrays_of_its_own(hearts):
    sample = Dataset.open(hearts.path).samples["p1_a"]
    sample.image()[:] = 7
    sample.label()[:] = 7
    assert sample.image().std() == approx(1, abs=1e-5) and sample.label().max() == 1


@pytest.mark.parametrize(
    ("rule", "spacing", "trusted"),
    [("file", (8, 1.5, 1.5), True), ("nominal", (8, 1.5, 1.5), False), ("unknown", None, False)],
)
def test_what_dataset_yaml_says_of_spacing_counts(hearts, rule, spacing, trusted):
    before = Dataset.open(hearts.path).key
    hearts.text("dataset.yaml", f"groups: cases.csv:patient\nspacing: {rule}\n")
    data = Dataset.open(hearts.path)
    sample = data.samples["p1_a"]
    assert sample.spacing_mm == spacing and sample.spacing_trusted == trusted
    assert (data.key == before) == trusted
    assert any("distances are in voxels" in note for note in data.notes) == (not trusted)


def test_labels_that_do_not_lie_on_their_image_are_problems(hearts):
    hearts.nifti("labels/p1_a.nii.gz", np.zeros((6, 5, 3), np.uint8), AFFINE)
    hearts.nifti("labels/p1_b.nii.gz", np.zeros((6, 5, 4), np.uint8), np.diag([-1.5, 1.5, 8.0, 1.0]))
    hearts.nifti("labels/p2_a.nii.gz", np.zeros((6, 5, 4), np.uint8), np.diag([1.5, 1.5, 9.0, 1.0]))
    found = {problem.where: problem for problem in Dataset.open(hearts.path).problems}
    assert "3 x 5 x 6 voxels (z, y, x), its image has 4 x 5 x 6" in found["labels/p1_a.nii.gz"].what
    assert "point LAS, those of its image RAS" in found["labels/p1_b.nii.gz"].what
    assert found["labels/p2_a.nii.gz"].what == "spacing 9 x 1.5 x 1.5 mm (z, y, x), its image has 8 x 1.5 x 1.5 mm"
    assert all(problem.remedy and problem.ids for problem in found.values())


def test_broken_volumes_are_listed_at_once_with_remedies(hearts):
    hearts.nifti("volumes/flat.nii.gz", np.zeros((3, 4), np.uint8))
    hearts.nifti("volumes/film.nii.gz", np.zeros((3, 4, 5, 2), np.uint8))
    (hearts.path / "volumes/empty.nii.gz").write_bytes(b"")
    hearts.nifti("volumes/nan.nii.gz", np.full((6, 5, 4), np.nan, np.float32), AFFINE)
    noise = np.random.default_rng(0).integers(0, 255, (20, 20, 20)).astype(np.uint8)
    cut = hearts.nifti("volumes/cut.nii.gz", noise, AFFINE)
    cut.write_bytes(cut.read_bytes()[:4000])
    hearts.nifti("labels/p1_a.nii.gz", np.full((6, 5, 4), 5, np.uint8), AFFINE)
    data = Dataset.open(hearts.path)
    assert {problem.where for problem in data.problems} == {f"volumes/{name}.nii.gz" for name in ("flat", "film", "empty")}
    assert {problem.where for problem in glance(data)} >= {"volumes/cut.nii.gz"}
    problems = verify(data)
    found = {problem.where: problem.what for problem in problems}
    assert len(found) == len(problems)
    assert set(found) == {f"volumes/{name}.nii.gz" for name in ("flat", "film", "empty", "nan", "cut")} | {"labels/p1_a.nii.gz"}
    assert "NaN" in found["volumes/nan.nii.gz"] and "5 in 120" in found["labels/p1_a.nii.gz"]


def test_one_kind_of_file_and_one_number_of_channels(hearts):
    import tifffile

    tifffile.imwrite(hearts.path / "volumes/other.tif", np.zeros((4, 5, 6), np.uint8), photometric="minisblack")
    problems = Dataset.open(hearts.path).problems
    assert [one.where for one in problems] == ["volumes/other.tif"] and "most volumes here are NIfTI" in problems[0].what
    hearts.image("images/a.png")
    with pytest.raises(DataError, match="2D and 3D are not mixed"):
        Dataset.open(hearts.path)


def test_scribbles_are_read_where_asked_for(hearts):
    strokes = np.full((6, 5, 4), 255, np.uint8)
    strokes[0, 0], strokes[5, 0] = 1, 0
    for name in ("p1_a", "p1_b", "p2_a"):
        hearts.nifti(f"scribbles/{name}.nii.gz", strokes, AFFINE)
    data = Dataset.open(hearts.path, label_folder="scribbles")
    assert data.samples["p2_a"].sparse and not Dataset.open(hearts.path).samples["p2_a"].sparse
    assert set(np.unique(data.samples["p2_a"].label())) == {0, 1, 255} and data.slices().samples["p2_a/z0"].sparse
    assert not data.samples["p1_a"].sparse and 255 not in data.samples["p1_a"].label()  # val is scored by masks


def test_stacks_zarr_and_dicom_are_folders_of_volumes_too(volumes):
    zarr, tifffile = pytest.importorskip("zarr"), pytest.importorskip("tifffile")
    stack = np.random.default_rng(0).integers(0, 99, (3, 4, 5)).astype(np.uint16)
    label = (stack > 50).astype(np.uint8)
    for name in ("a", "b"):
        (volumes.path / "volumes").mkdir(exist_ok=True)
        (volumes.path / "labels").mkdir(exist_ok=True)
        tifffile.imwrite(volumes.path / f"volumes/{name}.tif", stack, photometric="minisblack")
        tifffile.imwrite(volumes.path / f"labels/{name}.tif", label, photometric="minisblack")
    data = Dataset.open(volumes.path)
    assert (data.samples["a"].label() == label).all() and data.samples["a"].spacing_mm is None and data.problems == ()
    shutil.rmtree(volumes.path / "volumes")
    shutil.rmtree(volumes.path / "labels")
    for name in ("a", "b"):
        zarr.save_array(str(volumes.path / f"volumes/{name}.ome.zarr"), stack)
        zarr.save_array(str(volumes.path / f"labels/{name}.ome.zarr"), label)
    data = Dataset.open(volumes.path)
    assert list(data.samples) == ["a", "b"] and (data.samples["b"].label() == label).all() and verify(data) == []
    before = data.key
    shutil.rmtree(volumes.path / "volumes/a.ome.zarr")
    zarr.save_array(str(volumes.path / "volumes/a.ome.zarr"), stack + 1)
    assert Dataset.open(volumes.path).key != before


def test_labels_inside_of_an_image_are_named(volumes):
    """a55: an OME-Zarr with label groups of its own; only labels/ of the dataset is read. a57: levels of resolution do not matter."""
    zarr = pytest.importorskip("zarr")
    stack = np.random.default_rng(0).integers(0, 99, (4, 6, 8)).astype(np.uint16)
    for folder, levels in (("volumes", 3), ("labels", 1)):
        group = zarr.open_group(str(volumes.path / f"{folder}/a.ome.zarr"), mode="w", zarr_format=2)
        for i in range(levels):
            group.create_array(str(i), data=(stack if folder == "volumes" else (stack > 50).astype(np.uint8))[:, :: 2**i, :: 2**i])
        axes = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"]
        group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [{"path": str(i)} for i in range(levels)]}]
    for name in ("one", "two"):
        (volumes.path / "volumes/a.ome.zarr/labels" / name).mkdir(parents=True)
    data = Dataset.open(volumes.path)
    assert any("1 hold labels of their own (a), which are not read" in note for note in data.notes)
    assert (data.samples["a"].label() == (stack > 50)).all() and data.problems == ()
    zarr.open_group(str(volumes.path / "volumes/only.ome.zarr"), mode="w").create_group("labels")
    assert "no OME-Zarr image" in Dataset.open(volumes.path).problems[0].what


def test_one_volume_by_itself(hearts):
    data = Dataset.open(hearts.path / "volumes/p1_a.nii.gz")
    assert list(data.samples) == ["p1_a"] and data.dims == 3


# ---------------------------------------------------------------- slices


def test_slices_are_those_of_the_z_scored_case(hearts):
    data = Dataset.open(hearts.path)
    view = data.slices()
    assert view.dims == 2 and len(view.samples) == 16 and list(view.samples)[:2] == ["p1_a/z0", "p1_a/z1"]
    case, one = data.samples["p1_a"], view.samples["p1_a/z2"]
    assert one.size == (5, 6) and one.group == "p1" and one.split == "val" and one.zscored and one.spacing_mm == (1.5, 1.5)
    assert (one.image() == case.image()[:, 2]).all() and (one.label() == case.label()[2]).all()
    assert one.limits() == case.limits() and view.samples["p2_b/z0"].label() is None
    assert (pickle.loads(pickle.dumps(one)).image() == one.image()).all()
    assert verify(view) == [] and glance(view) == [] and view.key != data.key == Dataset.open(hearts.path).key
    with pytest.raises(DataError, match="2D images"):
        view.slices()


def test_slices_of_cases_without_a_group_stay_together(volumes):
    volumes.case("a", shape=(6, 5, 12))
    assert {one.group for one in Dataset.open(volumes.path).slices().samples.values()} == {"a"}
    assert "a/z07" in Dataset.open(volumes.path).slices().samples


def test_slices_of_a_case_decode_it_once(hearts, monkeypatch):
    opened = []
    monkeypatch.setattr(volume_readers, "stored", lambda path: opened.append(path) or opened_volume(path)._stored)
    monkeypatch.setattr(volume_readers, "DECODED", volume_cache.Decoded())
    view = Dataset.open(hearts.path).slices()
    opened.clear()
    for sample in view.samples.values():
        sample.image()
    assert len(opened) == 4


def test_what_is_too_large_to_be_kept_is_said_and_not_measured_again(hearts, monkeypatch):
    measured = []
    small = volume_cache.Decoded(most=100)
    monkeypatch.setattr(volume_readers, "DECODED", small)
    monkeypatch.setattr(volume_folder, "DECODED", small)
    monkeypatch.setattr(volume_readers, "measured", lambda *args: measured.append(args) or volumes_module.measured(*args))
    data = Dataset.open(hearts.path)
    assert any("4 are larger than" in note and "save them as .nii" in note for note in data.notes)
    sample = data.slices().samples["p1_a/z1"]
    first = sample.image()
    assert (sample.image() == first).all() and sample.limits() == data.samples["p1_a"].limits()
    assert len(measured) == 1


def test_what_is_kept_is_bounded():
    kept = volume_cache.Decoded(most=100)
    calls = []

    def decode(name, size):
        return kept.get(name, lambda: (calls.append(name) or name, size))

    for name in ("a", "b", "a", "c", "a", "b"):
        assert decode(name, 40) == name
    assert calls == ["a", "b", "c", "b"] and kept.size == 80  # c drove out b, which was used longest ago
    decode("large", 51)
    decode("large", 51)
    assert calls[-2:] == ["large", "large"] and kept.size == 80


def test_a_file_that_changes_is_read_anew(hearts):
    sample = Dataset.open(hearts.path).samples["p1_a"]
    before = sample.image()
    hearts.nifti("volumes/p1_a.nii.gz", np.arange(120).reshape(6, 5, 4).astype(np.int16), AFFINE)
    assert not (sample.image() == before).all()


# ---------------------------------------------------------------- arrays


def test_arrays_that_are_volumes():
    rng = np.random.default_rng(0)
    images = [rng.normal(7, 3, (4, 5, 6)), rng.normal(7, 3, (4, 5, 6))]
    label = np.zeros((4, 5, 6), np.uint8)
    label[1] = 1
    data = Dataset(images, masks=[label, None], classes=["background", "organ"], dims=3, spacing_mm=(4, 1, 1))
    sample = data.samples["000"]
    assert data.dims == 3 and sample.image().shape == (1, 4, 5, 6) and sample.image().std() == approx(1, abs=1e-5)
    assert (sample.label() == label).all() and sample.spacing_mm == (4, 1, 1) and sample.spacing_trusted
    view = data.slices()
    assert (view.samples["000/z1"].image() == sample.image()[:, 1]).all() and view.samples["000/z1"].label().all()
    four = Dataset({"a": np.stack(images)})
    assert four.dims == 3 and four.channels == 2 and four.samples["a"].image()[1].mean() == approx(0, abs=1e-6)
    assert Dataset(images, dims=3).key != Dataset([images[0], images[1] + 1], dims=3).key == Dataset([images[0], images[1] + 1], dims=3).key


def test_arrays_that_do_not_fit_are_listed():
    with pytest.raises(DataError) as caught:
        Dataset({"a": np.zeros((4, 5)), "b": np.full((2, 2, 2), "x")}, dims=3)
    assert "images a" in str(caught.value) and "images b" in str(caught.value)
    with pytest.raises(DataError, match="its volume has"):
        Dataset({"a": np.arange(24.0).reshape(2, 3, 4)}, masks={"a": np.ones((2, 3, 5), np.uint8)}, dims=3)
    with pytest.raises(DataError, match="NaN"):
        Dataset({"a": np.full((2, 3, 4), np.nan)}, dims=3)
    with pytest.raises(DataError, match="along z, y, x"):
        Dataset({"a": np.zeros((2, 3, 4))}, dims=3, spacing_mm=(1, 1))
