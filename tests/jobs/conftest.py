"""What tests of jobs share: a disk that is full once so many segments lie on it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from streamsr.jobs.segment_store import Draft


@pytest.fixture
def full_after() -> Callable[[int], AbstractContextManager[None]]:
    """`with full_after(n)`: the disk takes n segments and no more."""

    @contextmanager
    def fill(most: int) -> Iterator[None]:
        publish = Draft.publish
        count = 0

        def full(self: Draft) -> None:
            nonlocal count
            count += 1
            if count > most:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            publish(self)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Draft, "publish", full)
            yield

    return fill
