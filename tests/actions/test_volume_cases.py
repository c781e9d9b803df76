"""Which slice stands for a volume of which a model is unsure."""

from __future__ import annotations

import nibabel
import numpy as np
from numpy.testing import assert_array_equal

import smidgen
from smidgen.actions.cases import is_oriented, known_cases, least_sure_slice
from smidgen.data.dataset import Dataset


def test_the_least_sure_slice_is_shown_with_the_front_up():
    image = np.arange(2 * 3 * 4, dtype=np.float32).reshape(1, 2, 3, 4)
    sure, said = np.ones((2, 3, 4), np.float32), np.zeros((2, 3, 4), np.uint8)
    sure[1, 0, 0], said[1, 0, 0] = 0.5, 1
    z, shown, label, known = least_sure_slice(image, said, sure, turned=True)
    assert z == 1
    assert_array_equal(label, said[1, ::-1, ::-1])
    assert known[2, 3] == 0.5
    assert (shown.min(), shown.max()) == (shown[0, 2, 3], shown[0, 0, 0]), "values fall along both axes now"
    assert least_sure_slice(image, said, sure, turned=False)[2][0, 0] == 1


def test_files_say_where_axes_point_and_arrays_do_not(tmp_path):
    (tmp_path / "volumes").mkdir()
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6), np.float32), np.eye(4)), tmp_path / "volumes" / "a.nii.gz")
    assert is_oriented(Dataset.open(tmp_path, val=0).samples["a"])
    assert not is_oriented(smidgen.Dataset([np.zeros((4, 5, 6))], dims=3).samples["000"])


def test_slices_of_one_volume_are_one_case():
    full = smidgen.Dataset({"p/a": np.zeros((4, 5, 6)), "b": np.zeros((4, 5, 6))}, masks={"p/a": np.zeros((4, 5, 6), np.uint8)}, dims=3)
    assert known_cases(full.slices(), full) == known_cases(full, full) == {"p/a"}
