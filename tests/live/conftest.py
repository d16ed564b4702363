"""Fixtures: a Watch on free ports, and a stream that plays to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from live_show import Show
from media import make_clip

from streamsr.live.endpoint import Endpoint
from streamsr.live.monitoring import Watch, WatchOptions


@pytest.fixture(scope="session")
def moving_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty different pictures of 160x90."""
    return make_clip(tmp_path_factory.mktemp("live") / "moving.mp4", size="160x90", num_frames=50)


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Metrics and preview on free ports of this machine."""
    here = Endpoint("127.0.0.1", 0)
    with Watch(WatchOptions(metrics=here, preview=here)) as opened:
        yield opened


@pytest.fixture
def show(watch: Watch, moving_clip: Path) -> Iterator[Show]:
    """One stream called "front door" that plays."""
    playing = Show("front door", watch, moving_clip).start()
    yield playing
    playing.stop()
