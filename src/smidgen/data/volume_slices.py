"""The 2D view of volumes: a sample per slice across z, the slices of a case in one group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from smidgen.data.volume_readers import Slice
from smidgen.products.sample import Sample


def sliced(samples: Mapping[str, Sample]) -> dict[str, Sample]:
    """Id of the case, `/z` and the number of the slice -> slice."""
    return {one.id: one for sample in samples.values() for one in slices_of(sample)}


def slices_of(sample: Sample) -> Iterable[Sample]:
    """The slices of one volume; numbers have the same width, so that their ids are in order."""
    depth, height, width = sample.size
    digits = len(str(depth - 1))
    spacing = sample.spacing_mm
    for z in range(depth):
        yield replace(
            sample,
            id=f"{sample.id}/z{z:0{digits}}",
            read_image=Slice(sample.read_image, z, True),
            read_label=None if sample.read_label is None else Slice(sample.read_label, z, False),
            read_instances=None,
            size=(height, width),
            tags=() if sample.tags == () else None,  # a slice may lack what the volume holds
            group=sample.id if sample.group is None else sample.group,
            spacing_mm=None if spacing is None else spacing[1:],
        )
