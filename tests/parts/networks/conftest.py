"""Small networks gain nothing from threads, and lose much where other tests run beside."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def one_thread():
    import torch

    torch.set_num_threads(1)
