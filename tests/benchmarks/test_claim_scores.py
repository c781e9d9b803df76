"""What claims are scored with, on a toy; and that every claim can be loaded."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

CLAIMS = ("advcam_cost", "advcam_lean", "advcam_seed", "lal_loss", "ocr_head", "tags_vs_masks", "walk_cost", "walk_mask")


@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_loads(claim_named, name):
    assert claim_named(name).CLAIM.name == name


def test_labels_are_scored_against_masks(claim_named, toy_named):
    toy_named("voc_animals", ("background", "square"), lambda n: (slice(0, 16), slice(None)))
    claim = claim_named("_voc_animals")
    quarter = np.zeros((32, 32), np.uint8)
    quarter[:16, :16] = 1  # half of what is there
    found = claim.quality({"p0": SimpleNamespace(label=quarter), "p1": SimpleNamespace(label=quarter)})
    assert found["classes"] == {"background": 66.7, "square": 50.0}
    assert found["value"] == 58.333
    assert found["pooled"] == 50.0


def test_a_claim_without_data_says_so(claim_named, monkeypatch, capsys):
    monkeypatch.delenv("SMIDGEN_DATA", raising=False)
    with pytest.raises(SystemExit) as left:
        claim_named("_images").full("voc_animals")
    assert not left.value.code
    assert "SMIDGEN_DATA" in capsys.readouterr().out
