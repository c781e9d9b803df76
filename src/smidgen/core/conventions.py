"""Numbers that all rooms agree on."""

from __future__ import annotations

IGNORED = 255
"""Label value of a pixel that is not labeled: never trained on, never scored. As a prediction: no answer."""

INTERRUPTED = 130
"""Exit code after Ctrl-C or SIGTERM, as shells have it."""
