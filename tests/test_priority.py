"""Encoding leaves the scheduling policy of threads alone. Run by root, this fails without `keep_priority`: see there."""

from __future__ import annotations

import os
import threading
from fractions import Fraction
from pathlib import Path

import av
import pytest
from media import make_clip, upscale

from streamsr.priority import keep_priority

OWN = os.sched_getscheduler(0) if hasattr(os, "sched_getscheduler") else None  # before any test
pytestmark = pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="this system has no sched_getscheduler")


def policies() -> dict[int, int]:
    return {int(task): os.sched_getscheduler(int(task)) for task in os.listdir("/proc/self/task")}


def test_an_opened_svt_av1_has_threads_of_the_callers_policy() -> None:
    before = policies()
    context = av.CodecContext.create("libsvtav1", "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt, context.time_base = 128, 128, "yuv420p", Fraction(1, 25)
    with keep_priority():
        context.open(strict=False)
        opened = policies()
    assert len(opened) > len(before) + 5  # its threads are there
    assert os.sched_getscheduler(0) == OWN
    assert {policies()[thread] for thread in opened.keys() - before.keys()} == {OWN}
    context.encode(None)


def test_a_run_through_svt_av1_leaves_the_policy(tmp_path: Path) -> None:
    upscale(make_clip(tmp_path / "in.mp4", num_frames=2), tmp_path / "out.mkv", "--encoder", "libsvtav1")
    seen: list[int] = []
    later = threading.Thread(target=lambda: seen.append(os.sched_getscheduler(0)))
    later.start()
    later.join()
    assert [os.sched_getscheduler(0), *seen] == [OWN, OWN]
