"""The contract of engines on a device, on the fake that other tests build on."""

from __future__ import annotations

import numpy as np
import pytest
from fake_device import FakeDevice, FakeDeviceEngine

from streamsr.engines.device_engine import DeviceMemoryError
from streamsr.errors import EngineError, UsageError

H, W = 3, 5


def planes(n: int = 1, *, value: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    return np.full((n, 1, H, W), value, np.float16), np.zeros((n, 1, 2 * H, 2 * W), np.float16)


def test_work_is_done_when_the_stream_has_come_by_and_not_before() -> None:
    device = FakeDevice()
    lane = FakeDeviceEngine(device, recurrent=False).open_lane(1, H, W)
    luma, out = planes()
    lane.enqueue(luma, out, stream=7)
    assert np.isnan(out).all()
    device.synchronise(8)
    assert np.isnan(out).all()
    device.synchronise(7)
    assert (out == 0.5).all()
    assert device.log == [(7, f"fake (1, {H}, {W})")]


def test_state_goes_from_frame_to_frame_over_two_lanes() -> None:
    device = FakeDevice()
    engine = FakeDeviceEngine(device)
    lanes = [engine.open_lane(1, H, W) for _ in range(2)]
    states = [lanes[0].new_state(), lanes[0].new_state()]
    given = [0.5, 0.25, 1.0]
    expected, kept = [], 0.0
    for value in given:
        expected.append(value + kept / 4)
        kept = (kept + value) / 2
    seen = []
    for index, value in enumerate(given):
        luma, out = planes(value=value)
        lanes[index % 2].enqueue(luma, out, states[index % 2], states[1 - index % 2], stream=1)
        device.synchronise(1)
        seen.append(float(out[0, 0, 0, 0]))
    np.testing.assert_allclose(seen, expected, atol=1e-3)


@pytest.mark.parametrize(
    ("luma", "text"),
    [
        (np.zeros((1, 1, H, W), np.float32), "must be .* <f2"),
        (np.zeros((1, 1, H, W + 1), np.float16), r"luma is \(1, 1, 3, 6\)"),
        (np.zeros((1, 1, H, 2 * W), np.float16)[..., ::2], "C-contiguous"),
        ([0.5], "list is not a device array"),
    ],
)
def test_arrays_that_do_not_fit_are_named(luma: np.ndarray, text: str) -> None:
    lane = FakeDeviceEngine(FakeDevice(), recurrent=False).open_lane(1, H, W)
    with pytest.raises(ValueError, match=text):
        lane.enqueue(luma, planes()[1], stream=1)


def test_state_must_not_be_written_while_it_is_read() -> None:
    lane = FakeDeviceEngine(FakeDevice()).open_lane(1, H, W)
    state = lane.new_state()
    with pytest.raises(ValueError, match="must not be those of `state`"):
        lane.enqueue(*planes(), state, state, stream=1)
    with pytest.raises(ValueError, match="has 1 states; the call has 0"):
        lane.enqueue(*planes(), stream=1)


def test_a_full_device_and_a_failing_one_say_so() -> None:
    engine = FakeDeviceEngine(FakeDevice(num_lanes=1), recurrent=False, broken=1)
    lane = engine.open_lane(1, H, W)
    with pytest.raises(DeviceMemoryError, match="no room"):
        engine.open_lane(1, H, W)
    lane.enqueue(*planes(), stream=1)
    with pytest.raises(EngineError, match="failed"):
        lane.enqueue(*planes(), stream=1)
    lane.close()
    engine.open_lane(2, H, W)
    with pytest.raises(UsageError, match="1 to 4"):
        engine.open_lane(5, H, W)
