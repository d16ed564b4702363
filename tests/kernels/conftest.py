"""The kernels on this machine's CPU (on_host.py), and on a GPU where there is one."""

from __future__ import annotations

import os
from typing import Any

import pytest
import streamsr_kernels.launch_device
from on_host import HostDevice, require_compiler


@pytest.fixture(scope="session")
def _builds(tmp_path_factory: pytest.TempPathFactory) -> HostDevice:
    require_compiler()
    return HostDevice(tmp_path_factory.mktemp("kernels"))


@pytest.fixture
def host(_builds: HostDevice, monkeypatch: pytest.MonkeyPatch) -> HostDevice:
    """The wrappers run on the CPU."""
    monkeypatch.setattr(streamsr_kernels.launch_device, "open_device", lambda stream=None: _builds)
    _builds.launched.clear()
    return _builds


@pytest.fixture
def cupy() -> Any:
    """CuPy with a device; skips without, or fails where STREAMSR_REQUIRE names gpu."""
    try:
        return streamsr_kernels.launch_device.import_cupy()
    except RuntimeError as error:
        if "gpu" in os.environ.get("STREAMSR_REQUIRE", "").split(","):
            raise
        pytest.skip(f"no GPU: {error}")
