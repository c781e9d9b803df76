"""Single volumes: frames there and back, spacing, every format, and what is broken."""

from __future__ import annotations

import gzip
from itertools import permutations, product

import numpy as np
import pytest
from pytest import approx

from smidgen.core.errors import ShapeError
from smidgen.data.broken import Broken
from smidgen.data.volume_frames import Frame, mismatch
from smidgen.data.volumes import LabelWriter, header, opened_volume, suffix_of, write_label

nibabel = pytest.importorskip("nibabel")

ORIENTATIONS = [(order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]


def affine_for(order, signs, oblique=0.0):
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (place, sign) in enumerate(zip(order, signs, strict=True)):
        affine[place, axis] = sign * (1.0 + axis)
    affine[:3, :3] += oblique * np.array([[0.1, -0.2, 0.1], [0.2, 0.1, -0.1], [0.0, 0.1, 0.2]])
    affine[:3, 3] = (-20, 7, 3.5)
    return affine


@pytest.mark.parametrize("oblique", [0.0, 0.5])
@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_every_orientation_is_turned_like_nibabel_does_and_back_exactly(order, signs, oblique):
    stored = np.arange(24).reshape(2, 3, 4)
    affine = affine_for(order, signs, oblique)
    image = nibabel.Nifti1Image(stored.astype(np.int16), affine)
    closest = nibabel.as_closest_canonical(image)
    size = closest.shape[::-1]
    frame = Frame("nifti", size, affine=tuple(map(tuple, affine.tolist())))
    turned = frame.canonical(stored)
    assert turned.shape == size and (turned == closest.get_fdata().transpose(2, 1, 0)).all()
    assert (frame.stored(turned) == stored).all()
    assert frame.canonical_affine == approx(closest.affine)
    assert frame.orientation == "".join(nibabel.aff2axcodes(affine))


def test_what_is_written_opens_with_the_affine_of_its_image(volumes):
    rng = np.random.default_rng(0)
    for i, (order, signs) in enumerate(ORIENTATIONS[::7]):
        path = volumes.nifti("a.nii.gz", rng.integers(0, 9, (4, 5, 6)).astype(np.int16), affine_for(order, signs, 0.3), cal_max=9)
        image = nibabel.load(path)
        image.set_qform(image.affine, code=1)
        nibabel.save(image, path)
        volume = opened_volume(str(path))
        label = np.asarray(volume.voxels)[0].astype(np.uint8)
        written = write_label(volumes.path / f"out/{i}", label, volume.frame)
        again, source = nibabel.load(written), nibabel.load(path)
        assert written.name == f"{i}.nii.gz"
        assert (again.affine == source.affine).all() and (again.get_qform() == source.get_qform()).all()
        assert (again.get_fdata() == source.get_fdata()).all() and again.get_data_dtype() == np.uint8
        assert int(again.header["qform_code"]) == 1 and int(again.header["sform_code"]) == 2 and float(again.header["cal_max"]) == 0
        assert mismatch(header(str(written)).frame, volume.frame) is None


def test_a_case_is_z_scored_as_a_whole_wherever_it_is_cut(volumes):
    array = np.arange(60).reshape(5, 4, 3).astype(np.int16)
    path = volumes.nifti("a.nii.gz", array, np.diag([1.0, 2, 3, 1]))
    volume = opened_volume(str(path))
    expected = (array.transpose(2, 1, 0) - 29.5) / array.std()
    assert volume.shape == (1, 3, 4, 5) and volume.spacing_mm == (3, 2, 1) and volume.spacing_trusted
    assert volume[:].dtype == np.float32 and volume[:][0] == approx(expected, abs=1e-5)
    assert volume[:, 1:2, :, 2:][0] == approx(expected[1:2, :, 2:], abs=1e-5)
    assert volume.limits() == approx((expected.min(), expected.max()))
    assert volume.statistics.low == (0,) and volume.statistics.high == (59,)


def test_a_volume_of_one_value_is_zero(volumes):
    volume = opened_volume(str(volumes.nifti("a.nii", np.full((3, 3, 3), 7, np.uint8))))
    assert not volume[:].any() and volume.limits() == (0, 0)


def test_scaled_values_are_those_that_are_meant(volumes):
    path = volumes.nifti("a.nii.gz", np.arange(8, dtype=np.int16).reshape(2, 2, 2))
    image = nibabel.load(path)
    image = nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header)
    image.header.set_slope_inter(2, -10)
    nibabel.save(image, path)
    found = nibabel.load(path).get_fdata()
    assert np.asarray(opened_volume(str(path)).voxels)[0] == approx(found.transpose(2, 1, 0))


@pytest.mark.parametrize(
    ("sides", "code", "unit", "spacing", "trusted"),
    [
        ((0.5, 0.5, 2), 2, "mm", (2, 0.5, 0.5), True),
        ((1, 1, 1), 2, "mm", (1, 1, 1), False),  # what programs write that know none
        ((0.5, 0.5, 2), 0, "mm", (2, 0.5, 0.5), False),
        ((300, 300, 1000), 2, "micron", (1, 0.3, 0.3), True),
    ],
)
def test_spacing_and_whether_it_is_trusted(volumes, sides, code, unit, spacing, trusted):
    path = volumes.nifti("a.nii.gz", np.zeros((2, 3, 4), np.uint8), np.diag([*sides, 1.0]))
    image = nibabel.load(path)
    image.header.set_xyzt_units(unit)
    image.set_sform(image.affine, code=code)
    nibabel.save(image, path)
    frame = header(str(path)).frame
    assert frame.spacing_mm == approx(spacing) and frame.trusted == trusted


def test_suffixes():
    names = ("a.nii.gz", "a.b.nii.gz", "a.ome.zarr", "a.zarr", "a.nii", "a.ome.tif", ".nii.gz", "a")
    assert [suffix_of(name) for name in names] == [".nii.gz", ".nii.gz", ".ome.zarr", ".zarr", ".nii", ".tif", ".gz", ""]


# ---------------------------------------------------------------- what is broken


def broken(path):
    with pytest.raises(Broken) as caught:
        opened_volume(str(path))[:]
    return f"{caught.value.what}: {caught.value.remedy}"


def test_what_is_no_volume_is_said(volumes):
    assert "2D image" in broken(volumes.nifti("a.nii.gz", np.zeros((3, 4), np.uint8)))
    assert "has 4 dimensions (2 x 5 x 4 x 3)" in broken(volumes.nifti("b.nii.gz", np.zeros((3, 4, 5, 2), np.uint8)))
    empty = volumes.path / "c.nii.gz"
    empty.write_bytes(b"")
    assert "empty file (0 bytes)" in broken(empty)
    assert "NaN or infinite" in broken(volumes.nifti("d.nii.gz", np.array([[[np.nan, 1], [2, np.inf]]], np.float32)))
    assert "NaN or infinite" in broken(volumes.nifti("g.nii.gz", np.full((2, 3, 4), 1e39)))  # in 32 bits it is
    assert "complex numbers" in broken(volumes.nifti("h.nii.gz", np.ones((2, 3, 4), np.complex64)))
    assert "colors" in broken(volumes.nifti("i.nii.gz", np.zeros((2, 3, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])))
    garbage = volumes.path / "e.nii.gz"
    garbage.write_bytes(gzip.compress(b"no header" * 100))
    assert "can't be read" in broken(garbage)
    flat = volumes.nifti("f.nii", np.zeros((2, 3, 4), np.uint8))
    content = bytearray(flat.read_bytes())
    content[296:312] = bytes(16)  # srow_y
    flat.write_bytes(content)
    assert "affine" in broken(flat)


def test_a_truncated_file_is_said(volumes):
    noise = np.random.default_rng(0).integers(0, 255, (30, 30, 30)).astype(np.uint8)
    for name in ("a.nii.gz", "a.nii"):
        path = volumes.nifti(name, noise)
        path.write_bytes(path.read_bytes()[:9000])
        assert "can't be read" in broken(path) or "ends too early" in broken(path)


def test_scales_that_are_nan_and_directions_that_are_rounded(volumes):
    """a25: NaN as scale means none. a22: rows that are not quite at right angles are read and written as they are."""
    affine = np.array([[0.999, 0.045, 0, 1], [-0.044, 1.0, 0.001, 2], [0.001, 0, 1.5, 3], [0, 0, 0, 1]])
    path = volumes.nifti("a.nii", np.arange(24, dtype=np.uint8).reshape(2, 3, 4) % 2, affine)
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([np.nan, np.nan], np.float32).tobytes()  # scl_slope, scl_inter
    path.write_bytes(content)
    volume = opened_volume(str(path))
    assert set(np.unique(np.asarray(volume.voxels))) == {0, 1}
    written = write_label(volumes.path / "b", np.asarray(volume.voxels)[0], volume.frame)
    assert (nibabel.load(written).affine == nibabel.load(path).affine).all()


def test_a_fourth_axis_of_one_is_none(volumes):
    assert opened_volume(str(volumes.nifti("a.nii.gz", np.zeros((3, 4, 5, 1), np.uint8)))).shape == (1, 5, 4, 3)


# ---------------------------------------------------------------- other formats


def test_tiff_stacks_with_and_without_spacing(volumes):
    import tifffile

    stack = np.arange(3 * 4 * 5, dtype=np.uint16).reshape(3, 4, 5)
    for i, how in enumerate(({}, {"compression": "zlib"}, {"imagej": True, "metadata": {"axes": "ZYX"}})):
        tifffile.imwrite(volumes.path / f"{i}.tif", stack, photometric="minisblack", **how)
        volume = opened_volume(str(volumes.path / f"{i}.tif"))
        assert (np.asarray(volume.voxels)[0] == stack).all() and volume.spacing_mm is None and not volume.spacing_trusted
    about = {"axes": "ZYX", "spacing": 0.5, "unit": "um"}
    tifffile.imwrite(volumes.path / "s.tif", stack, imagej=True, resolution=(10, 5), metadata=about)
    assert header(str(volumes.path / "s.tif")).frame.spacing_mm == approx((0.0005, 0.0002, 0.0001))
    about = {"axes": "ZYX", "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.2, "PhysicalSizeZ": 2, "PhysicalSizeZUnit": "µm"}
    tifffile.imwrite(volumes.path / "o.ome.tif", stack, metadata=about)
    assert header(str(volumes.path / "o.ome.tif")).frame.spacing_mm == approx((0.002, 0.0002, 0.0001))
    tifffile.imwrite(volumes.path / "c.ome.tif", np.stack([stack, stack + 100]), metadata={"axes": "CZYX"})
    assert opened_volume(str(volumes.path / "c.ome.tif"))[:].shape == (2, 3, 4, 5)


def test_planes_that_were_appended_one_by_one_are_a_stack(volumes):
    """a29: each page is a series of its own, and a plain read gives the first. a31: the axes are planes, rows, columns."""
    import tifffile

    stack = np.random.default_rng(0).integers(0, 99, (7, 40, 50)).astype(np.uint8)
    stack[4, 2, 45] = 255
    for plane in stack:
        tifffile.imwrite(volumes.path / "a.tif", plane, append=True)
    volume = opened_volume(str(volumes.path / "a.tif"))
    assert volume.shape == (1, 7, 40, 50) and (np.asarray(volume.voxels)[0] == stack).all()
    written = write_label(volumes.path / "out", (stack == 255).astype(np.uint8), volume.frame)
    assert tifffile.imread(written).shape == (7, 40, 50) and np.argwhere(tifffile.imread(written)).tolist() == [[4, 2, 45]]


def test_tiffs_that_are_no_stacks_are_refused(volumes):
    import tifffile

    tifffile.imwrite(volumes.path / "flat.tif", np.zeros((4, 5), np.uint8))
    tifffile.imwrite(volumes.path / "color.tif", np.zeros((4, 5, 3), np.uint8), photometric="rgb")
    tifffile.imwrite(volumes.path / "film.tif", np.zeros((2, 3, 4, 5), np.uint8), imagej=True, metadata={"axes": "TZYX"})
    assert "2D image of 4 x 5" in broken(volumes.path / "flat.tif") and "2D image of 4 x 5" in broken(volumes.path / "color.tif")
    assert "4 dimensions" in broken(volumes.path / "film.tif")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zarr_in_both_versions_there_and_back(volumes, zarr_format):
    pytest.importorskip("zarr")
    frame = Frame("zarr", (5, 6, 7), (0.002, 0.0005, 0.0005), True, zarr_format=zarr_format)
    label = np.random.default_rng(0).integers(0, 9, (5, 6, 7)).astype(np.uint8)
    path = volumes.path / "a.ome.zarr"
    with LabelWriter(path, frame) as writer:
        writer.write(label[:2])
        assert not path.exists()
        writer.write(label[2:])
    again = opened_volume(str(path))
    assert (np.asarray(again.voxels[:])[0] == label).all() and again.frame == frame
    assert again[:, 1:3, :2].shape == (1, 2, 2, 7)
    assert [one.name for one in volumes.path.iterdir() if ".part." in one.name] == []


def test_zarr_axes_and_units(volumes):
    zarr = pytest.importorskip("zarr")
    stack = np.arange(2 * 3 * 4 * 5, dtype=np.uint16).reshape(1, 2, 3, 4, 5)
    group = zarr.open_group(volumes.path / "a.zarr", mode="w", zarr_format=2)
    group.create_array("full", data=stack, chunks=(1, 1, 2, 4, 5))
    axes = [{"name": "t"}, {"name": "c"}, *({"name": one, "unit": "micrometer"} for one in "zyx")]
    scale = [{"type": "scale", "scale": [1, 1, 2, 0.5, 0.25]}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [{"path": "full", "coordinateTransformations": scale}]}]
    volume = opened_volume(str(volumes.path / "a.zarr"))
    assert volume.shape == (2, 3, 4, 5) and volume.spacing_mm == approx((2e-3, 0.5e-3, 0.25e-3)) and volume.spacing_trusted
    assert (np.asarray(volume.voxels[1:, 1:2]) == stack[0, 1:, 1:2]).all() and volume.planes == 2
    assert volume[:][1].mean() == approx(0, abs=1e-6)  # each channel by itself
    zarr.save_array(volumes.path / "plain.zarr", stack[0, 0])
    assert opened_volume(str(volumes.path / "plain.zarr")).shape == (1, 3, 4, 5)
    (volumes.path / "empty.zarr").mkdir()
    assert "no Zarr array" in broken(volumes.path / "empty.zarr")
    zarr.save_array(volumes.path / "flat.zarr", stack[0, 0, 0])
    assert "2D image" in broken(volumes.path / "flat.zarr")


STRAIGHT = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


def series(folder, planes=4, gap=None, flip=False, directions=STRAIGHT):
    """DICOM slices of 3 rows and 5 columns, whose values are 100 z + 10 y + x, stored in another order than they lie in.

    `directions`: where columns and rows go.
    """
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir(parents=True)
    uid = generate_uid(entropy_srcs=[folder.name])
    for i, z in enumerate([z for z in range(planes) if z != gap][:: -1 if flip else 1]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[folder.name, str(z)])
        one = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        one.SOPClassUID, one.SOPInstanceUID, one.SeriesInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID, uid
        one.StudyInstanceUID, one.FrameOfReferenceUID, one.Modality, one.InstanceNumber = uid, uid, "CT", i + 1
        place = np.array([-10, -20, 30]) + 2.5 * z * np.cross(*directions)
        one.ImagePositionPatient, one.ImageOrientationPatient = place.round(6).tolist(), np.ravel(directions).round(6).tolist()
        one.PixelSpacing, one.SliceThickness = [0.8, 0.6], 2.5
        one.Rows, one.Columns, one.SamplesPerPixel, one.PhotometricInterpretation = 3, 5, 1, "MONOCHROME2"
        one.BitsAllocated = one.BitsStored = 16
        one.HighBit, one.PixelRepresentation, one.RescaleSlope, one.RescaleIntercept = 15, 1, 1, -1000
        y, x = np.mgrid[:3, :5]
        one.PixelData = (1000 + 100 * z + 10 * y + x).astype(np.int16).tobytes()
        pydicom.dcmwrite(folder / f"slice{i:03}.dcm", one)


@pytest.mark.parametrize("flip", [False, True])
def test_a_series_of_dicom_slices_is_sorted_by_place(volumes, flip):
    pytest.importorskip("SimpleITK")
    series(volumes.path / "case", flip=flip)
    volume = opened_volume(str(volumes.path / "case"))
    z, y, x = np.mgrid[:4, :3, :5]
    # DICOM counts to the left and to the back: turned, rows and columns run the other way.
    assert (np.asarray(volume.voxels)[0] == (100 * z + 10 * y + x)[:, ::-1, ::-1]).all()
    assert volume.spacing_mm == approx((2.5, 0.8, 0.6)) and volume.frame.orientation == "LPS" and volume.spacing_trusted
    corner = volume.frame.canonical_affine @ [4, 2, 0, 1]
    assert corner[:3] == approx((10, 20, 30))  # the first pixel, in millimeters to the right and front
    written = write_label(volumes.path / "label", np.zeros(volume.frame.size, np.uint8), volume.frame)
    assert written.name == "label.nii.gz" and mismatch(header(str(written)).frame, volume.frame) is None


def test_an_oblique_series_lies_where_its_tags_say(volumes):
    """c08: the world position of a marked voxel is the same in what is written as computed from the DICOM tags."""
    pytest.importorskip("SimpleITK")
    directions = np.array([[0.9, 0.1, -0.2], [0.0, 0.95, 0.3]])
    directions[0] /= np.linalg.norm(directions[0])
    directions[1] -= directions[1] @ directions[0] * directions[0]
    directions[1] /= np.linalg.norm(directions[1])
    series(volumes.path / "case", flip=True, directions=directions)
    volume = opened_volume(str(volumes.path / "case"))
    marked = np.asarray(volume.voxels)[0] == 214  # slice 2, row 1, column 4
    assert marked.sum() == 1
    written = nibabel.load(write_label(volumes.path / "label", marked.astype(np.uint8), volume.frame))
    (voxel,) = np.argwhere(np.asarray(written.dataobj))
    place = [-10, -20, 30] + 4 * 0.6 * directions[0] + 1 * 0.8 * directions[1] + 2 * 2.5 * np.cross(*directions)
    assert (written.affine @ [*voxel, 1])[:3] == approx(place * [-1, -1, 1], abs=1e-4)  # DICOM counts to the left and to the back


def test_a_missing_dicom_slice_and_two_series_are_noticed(volumes):
    pytest.importorskip("SimpleITK")
    series(volumes.path / "gap", gap=2)
    assert "not evenly spaced" in broken(volumes.path / "gap") and "gap after slice 2" in broken(volumes.path / "gap")
    series(volumes.path / "two")
    series(volumes.path / "other")
    for file in (volumes.path / "other").iterdir():
        file.rename(volumes.path / "two" / f"o{file.name}")
    assert "2 DICOM series" in broken(volumes.path / "two")
    series(volumes.path / "twice")
    again = volumes.path / "twice/again.dcm"
    again.write_bytes((volumes.path / "twice/slice001.dcm").read_bytes())
    assert "at the same place" in broken(volumes.path / "twice")


# ---------------------------------------------------------------- writing


@pytest.mark.parametrize("name", ["a.tif", "a.nii", "a.zarr"])
def test_other_formats_than_that_of_the_image(volumes, name):
    frame = header(str(volumes.nifti("image.nii.gz", np.zeros((4, 5, 6), np.uint8), np.diag([0.5, 0.25, 2, 1])))).frame
    label = np.random.default_rng(1).integers(0, 4, frame.size).astype(np.uint8)
    again = opened_volume(str(write_label(volumes.path / name, label, frame)))
    assert (np.asarray(again.voxels[:])[0] == label).all() and again.spacing_mm == approx((2, 0.25, 0.5))


def test_planes_that_do_not_fit_leave_nothing(volumes):
    frame = Frame("tiff", (3, 4, 5))
    with pytest.raises(ShapeError, match="2 planes were written, the image has 3"), LabelWriter(volumes.path / "a.tif", frame) as writer:
        writer.write(np.zeros((2, 4, 5), np.uint8))
    with pytest.raises(ShapeError, match="do not fit"), LabelWriter(volumes.path / "a.tif", frame) as writer:
        writer.write(np.zeros((2, 4, 6), np.uint8))
    assert not list(volumes.path.glob("*.tif"))


def test_labels_off_their_image_are_told(volumes):
    def frame(affine, shape=(4, 5, 6)):
        return header(str(volumes.nifti("x.nii.gz", np.zeros(shape, np.uint8), affine))).frame

    image = frame(np.diag([1.0, 1, 2, 1]))
    assert mismatch(image, image) is None
    assert "6 x 5 x 3 voxels (z, y, x), its image has 6 x 5 x 4" in mismatch(frame(np.diag([1.0, 1, 2, 1]), (3, 5, 6)), image)[0]
    assert "point LAS, those of its image RAS" in mismatch(frame(np.diag([-1.0, 1, 2, 1])), image)[0]
    shifted = np.diag([1.0, 1, 2, 1])
    shifted[0, 3] = 0.5
    assert "up to 0.5 mm beside" in mismatch(frame(shifted), image)[0]
    shifted[0, 3] = 0.009  # programs round, and nobody outlines to a hundredth of a voxel
    assert mismatch(frame(shifted), image) is None
    shifted[0, 3] = 0.02
    assert "up to 0.02 mm beside" in mismatch(frame(shifted), image)[0]
    assert "is TIFF, its image is NIfTI" in mismatch(Frame("tiff", image.size), image)[0]
