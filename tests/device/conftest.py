"""Models that the tests of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest
from driver_on_host import Driver, build
from machine import Machine
from make_model import make_network, write_model
from make_recurrent import write_recurrent

from streamsr.device import device_selection, upscaler_factory


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(make_network(channels=4, layers=3), tmp_path_factory.mktemp("model"), int8=False)


@pytest.fixture(scope="session")
def recurrent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recurrent(tmp_path_factory.mktemp("recurrent"))


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Driver:
    folder = tmp_path_factory.mktemp("driver")
    build(folder)
    return Driver(folder)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(upscaler_factory, "open_device", lambda index: machine.open_device())
    monkeypatch.setattr(upscaler_factory, "open_on_gpu", machine.open_network)
    monkeypatch.setattr(device_selection, "has_cupy", lambda: True)
    monkeypatch.setattr(device_selection, "find_encoders", lambda index: machine.encoders)
    monkeypatch.setattr("streamsr.upscaling.upscaler.choose_engine", lambda engine, device="cpu": engine)
    return machine
