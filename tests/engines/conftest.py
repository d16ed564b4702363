"""The GPU of tests that need one."""

from __future__ import annotations

import os

import pytest

from streamsr.engines.gpus import Gpu, list_gpus


@pytest.fixture
def gpu() -> Gpu:
    """The first GPU; skips without one, or fails where STREAMSR_REQUIRE names it."""
    gpus = list_gpus()
    if not gpus:
        if "gpu" in os.environ.get("STREAMSR_REQUIRE", "").split(","):
            pytest.fail("there is no NVIDIA GPU, and STREAMSR_REQUIRE names it")
        pytest.skip("no NVIDIA GPU")
    return gpus[0]
