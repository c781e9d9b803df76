"""Stored pixel values as float32 in [0, 1]: by the range of their type, or by a range that was measured once for the whole dataset.

8-bit images always go by their type. Floats, and integers of 16 bits and more that use only a small part of their type, go by the measured
range (docs/decisions/0023): one for all channels of gray and color images, else one for each channel (0021). Pixels without data - NaN, or
the value that the file or dataset.yaml names - are filled (0024).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Float32, Shaped

from smidgen.core.conventions import ValueRange
from smidgen.data.broken import Broken

WHOLE_RANGE = (0.0, 1.0)
"""Floats as stored, integers by the range of their type."""
PHOTO_CHANNELS = (1, 3)
"""Gray and color images."""
PERCENTILES = (1, 99)
USED_SHARE = 0.5
"""Integers whose percentiles span less than this share of their type are scaled by these; half = one bit is never used."""
VALUES_SEEN = 100_000
"""At most so many values of each image count."""


def scaled(
    array: Shaped[np.ndarray, "h w *c"],
    value_range: ValueRange = WHOLE_RANGE,
    nodata: float | None = None,
) -> Float32[np.ndarray, "c h w"]:
    """Pixels of any type as float32 in [0, 1], channels first.

    Args:
        array: Pixels as stored.
        value_range: What becomes 0 and 1 in floating-point pixels and in integers of 16 bits and more, of all channels or of each; values
            outside are clipped.
        nodata: Value of pixels without data, NaN among them; they get the mean of the others. None: every pixel has data.

    Raises:
        Broken: There are NaN or infinite values, and nobody said that they mean no data; or another number of channels.
    """
    planes = array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))
    known = np.size(value_range[0])
    if known not in (1, len(planes)) and array.dtype.itemsize > 1:
        raise Broken(f"{len(planes)} channels, {known} expected", "convert it, or leave it out")
    if array.dtype == np.bool_:
        return planes.astype(np.float32)
    missing = without_data(array, nodata)
    if np.issubdtype(array.dtype, np.integer):
        image = _integers(planes, value_range)
    else:
        wrong = int(np.count_nonzero(~np.isfinite(array if missing is None else array[~missing])))
        if wrong:
            remedy = "fill the holes with a number, or write `nodata: nan` into dataset.yaml if they are pixels without data"
            raise Broken(f"{wrong} of {array.size} values are NaN or infinite", remedy)
        with np.errstate(invalid="ignore"):  # NaN is filled below
            image = _between(planes, value_range)
    return image if missing is None else _filled(image, missing)


def _integers(planes: Shaped[np.ndarray, "c h w"], value_range: ValueRange) -> Float32[np.ndarray, "c h w"]:
    limits = np.iinfo(planes.dtype)
    if planes.dtype.itemsize > 1 and tuple(value_range) != WHOLE_RANGE:
        return _between(planes, value_range)
    span = np.float32(limits.max - limits.min)
    shifted = planes.astype(np.float32) - np.float32(limits.min) if limits.min else planes.astype(np.float32)
    return shifted / span


def _between(planes: Shaped[np.ndarray, "c h w"], value_range: ValueRange) -> Float32[np.ndarray, "c h w"]:
    low, high = (np.reshape(np.asarray(limit, np.float64), (-1, 1, 1)) for limit in value_range)
    return np.clip((planes.astype(np.float32) - low.astype(np.float32)) / (high - low).astype(np.float32), 0, 1, dtype=np.float32)


def repeated(image: Float32[np.ndarray, "c h w"], channels: int) -> Float32[np.ndarray, "d h w"]:
    """A gray image as one of so many equal channels; others are left alone."""
    return np.repeat(image, channels, axis=0) if len(image) == 1 and channels > 1 else image


# ---------------------------------------------------------------- pixels without data


def without_data(array: Shaped[np.ndarray, "h w *c"], nodata: float | None) -> Bool[np.ndarray, "h w"] | None:
    """Which pixels have no data; None where there are none.

    A floating-point pixel has none as soon as one channel is NaN or the value; of integers all channels have to hold the value, because a
    single 0 or 255 among colors is a color.
    """
    if nodata is None or array.dtype == np.bool_:
        return None
    floating = np.issubdtype(array.dtype, np.floating)
    # The value was written as text, and meant in the precision of the pixels.
    found = array == (array.dtype.type(nodata) if floating else nodata)
    if floating:
        found |= np.isnan(array)
    if found.ndim == 3:
        found = found.any(axis=-1) if floating else found.all(axis=-1)
    return found if found.any() else None


def _filled(image: Float32[np.ndarray, "c h w"], missing: Bool[np.ndarray, "h w"]) -> Float32[np.ndarray, "c h w"]:
    """The mean of each channel where there are no data: no edge is brighter than any in the image."""
    image = image.copy()
    for plane in image:
        plane[missing] = 0 if missing.all() else plane[~missing].mean(dtype=np.float64)
    return image


def nodata_of(text: str | None) -> float | None:
    """The number in a TIFF's tag GDAL_NODATA (42113); None where it says nothing clear."""
    try:
        value = float((text or "").strip("\x00 \n"))
    except ValueError:
        return None
    return None if math.isinf(value) else value


# ---------------------------------------------------------------- the range of a dataset


def value_range_of(arrays: Iterable[np.ndarray]) -> tuple[float, float]:
    """Which stored values shall become 0 and 1: the 1st and 99th percentile of all finite values together.

    Floats that lie in [0, 1] already are kept, and integers that use most of their type, or have one value only, are scaled by that: both
    are told by `WHOLE_RANGE`.
    Where there are floats, integers beside them do not count.

    Args:
        arrays: Pixels as stored, without those that have no data.
    """
    known = list(arrays)
    floats = [array for array in known if np.issubdtype(array.dtype, np.floating)]
    counted = floats or [array for array in known if array.dtype.itemsize > 1 and np.issubdtype(array.dtype, np.integer)]
    finite = [_some(array[np.isfinite(array)]) for array in counted]
    values = np.concatenate(finite).astype(np.float64) if finite else np.zeros(0)
    if not values.size:
        return WHOLE_RANGE
    low, high = (float(value) for value in np.percentile(values, PERCENTILES))
    if floats:
        if values.min() >= 0 and values.max() <= 1:
            return WHOLE_RANGE
    elif values.min() == values.max() or high - low >= USED_SHARE * max(
        float(np.iinfo(array.dtype).max) - float(np.iinfo(array.dtype).min) for array in counted
    ):
        return WHOLE_RANGE
    found = (low, high) if high > low else (float(values.min()), float(max(values.max(), values.min() + 1)))
    # Integers of 0 and 1 only: the pair (0, 1) would mean their type.
    return found if floats or found != WHOLE_RANGE else (0.0, float(np.nextafter(1, 2)))


def value_ranges_of(arrays: Iterable[np.ndarray], channels: int) -> ValueRange:
    """The same for images of so many channels: of gray and color images one range for all, else one for each channel.

    Channels that are no colors have units of their own: height in meters beside reflectance.
    """
    if channels in PHOTO_CHANNELS:
        return value_range_of(arrays)
    known = [array for array in arrays if array.ndim > 1 and array.shape[-1] == channels]
    found = [value_range_of([array[..., i] for array in known]) for i in range(channels)]
    if all(one == WHOLE_RANGE for one in found):
        return WHOLE_RANGE
    whole = _of_type(known)
    found = [whole if one == WHOLE_RANGE else one for one in found]
    return tuple(low for low, _ in found), tuple(high for _, high in found)


def _of_type(arrays: Sequence[np.ndarray]) -> tuple[float, float]:
    """What `WHOLE_RANGE` stands for."""
    limits = [np.iinfo(array.dtype) for array in arrays if np.issubdtype(array.dtype, np.integer)]
    if not limits or len(limits) < len(arrays):
        return WHOLE_RANGE
    return float(min(one.min for one in limits)), float(max(one.max for one in limits))


def _some(values: Shaped[np.ndarray, " n"]) -> Shaped[np.ndarray, " m"]:
    return values[:: max(1, values.size // VALUES_SEEN)]
