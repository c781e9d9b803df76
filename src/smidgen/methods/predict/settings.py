"""Settings of the methods that predict. Torch-free."""

from __future__ import annotations

from pydantic import Field, PositiveFloat

from smidgen.core.settings import Frozen


class Windows(Frozen):
    """Prediction of images of any size. Published figures for VOC use scales .5 to 1.5 and flips; the default is one plain look."""

    scales: tuple[PositiveFloat, ...] = Field((1.0,), min_length=1)
    """Factors on the image; the probabilities of all are averaged. Volumes are seen at one scale."""
    flip: bool = False
    """Average with the prediction of the image mirrored left to right."""
    window: int = Field(0, ge=0)
    """Side of the sliding window in pixels of the image as the network sees it; 0 = the whole image where it has at most `max_pixels`, else
    windows of the trained size; volumes: always windows of the trained size."""
    overlap: float = Field(0.5, ge=0, lt=1)
    """Share of a window that the next one covers again."""
    max_pixels: int = Field(2_000_000, ge=1)
    """Pixels that the network sees at once, of images and slices; bounds memory."""
    restrict: bool = False
    """Where the tags of an image are known, allow only their classes and background. A new image comes without tags, so scores
    obtained with this are not comparable with scores without."""
    calibrated: bool = False
    """Add the class biases that `train --calibrate` measured on masks that were held out; off = the most probable class, as trained."""
    largest_component: bool = False
    """Keep only the largest piece of each class but the background. Organs come in one piece; of cells or cars most would be lost."""
    keep_probs: bool = False
    """Keep the probabilities of all classes (half precision; pixels times classes times 2 bytes for each image)."""
