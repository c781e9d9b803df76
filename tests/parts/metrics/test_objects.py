from __future__ import annotations

import numpy as np
from numpy.testing import assert_array_equal

from smidgen.parts.metrics.objects import found_by_size


def test_objects_are_sorted_by_size_and_found_from_half_of_their_pixels():
    truth, said = np.zeros((100, 100), np.uint8), np.zeros((100, 100), np.uint8)
    truth[0:5, 0:5] = 1  # 0.25 %: small
    truth[10:20, 10:20] = 2  # 1 %: medium
    truth[40:60, 40:60] = 1  # 4 %: large
    said[10:15, 10:20], said[40:60, 40:49] = 2, 1  # exactly half; less than half
    assert_array_equal(found_by_size(truth, said, 0), [[1, 0, 25, 0], [1, 1, 100, 50], [1, 0, 400, 180]])


def test_touching_pixels_of_a_class_are_one_object_and_of_two_classes_two():
    truth = np.zeros((10, 10), np.uint8)
    truth[0, 0], truth[1, 1], truth[1, 2] = 1, 1, 2
    assert found_by_size(truth, truth, 0)[:, 0].sum() == 2
    truth[0, 0] = 255
    assert found_by_size(truth, truth, 0)[:, 2].sum() == 2, "unlabeled pixels are no part of anything"


def test_without_a_background_every_region_is_an_object():
    assert found_by_size(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8), None).sum(axis=0).tolist() == [1, 1, 16, 16]


def test_splinters_across_unlabeled_pixels_belong_to_what_they_were_cut_from():
    truth = np.zeros((100, 100), np.uint8)
    truth[20:60, 20:60] = 1
    truth[20:60, 57:59] = 255
    assert found_by_size(truth, truth, 0).tolist() == [[0] * 4, [0] * 4, [1, 1, 1520, 1520]]


def test_instances_tell_touching_objects_apart():
    truth, instances = np.zeros((100, 100), np.uint8), np.zeros((100, 100), np.uint16)
    truth[20:60, 20:60] = 1
    instances[20:60, 20:40], instances[20:60, 40:60] = 1, 300
    said = np.where(instances == 300, truth, 0)
    assert found_by_size(truth, said, 0)[:, :2].tolist() == [[0, 0], [0, 0], [1, 1]]
    assert found_by_size(truth, said, 0, instances)[:, :2].tolist() == [[0, 0], [0, 0], [2, 1]]
    truth[80:85, 80:85] = 1  # of no instance
    assert found_by_size(truth, said, 0, instances)[:, :2].tolist() == [[1, 0], [0, 0], [2, 1]]
