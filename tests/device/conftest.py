"""Models that the tests of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest
from make_model import make_network, write_model
from make_recurrent import write_recurrent


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(make_network(channels=4, layers=3), tmp_path_factory.mktemp("model"), int8=False)


@pytest.fixture(scope="session")
def recurrent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recurrent(tmp_path_factory.mktemp("recurrent"))
