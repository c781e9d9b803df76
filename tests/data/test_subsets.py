from __future__ import annotations

import pytest

from smidgen.core.errors import SettingsError
from smidgen.data.subsets import subsets

TWENTY = [f"patient{n:02}" for n in range(20)]


@pytest.mark.parametrize(("overlap", "count", "sizes"), [(0.5, 2, [15, 15]), (0.0, 3, [7, 7, 6]), (1.0, 2, [20, 20]), (0.29, 2, [13, 12])])
def test_all_groups_are_handed_out(overlap, count, sizes):
    views = subsets(TWENTY, count, overlap)
    assert [len(view) for view in views] == sizes
    assert set().union(*views) == set(TWENTY)
    common = set.intersection(*map(set, views))
    assert len(common) == int(overlap * 20 + 1e-9)
    assert sum(len(set(view) - common) for view in views) == 20 - len(common)


def test_a_network_without_labels_is_refused():
    with pytest.raises(SettingsError, match="2 labeled groups can't be shared by 3 networks at an overlap of 0: set overlap = 1"):
        subsets(["a", "b"], 3, 0.0)
