"""Numbers that all rooms agree on."""

from __future__ import annotations

IGNORED = 255
"""Label value of a pixel that is not labeled: never trained on, never scored. As a prediction: no answer."""

INTERRUPTED = 130
"""Exit code after Ctrl-C or SIGTERM, as shells have it."""

ValueRange = tuple[float | int, float | int] | tuple[tuple[float | int, ...], tuple[float | int, ...]]
"""Stored values that become 0 and 1: of all channels, or of each channel where they are neither gray nor color."""
