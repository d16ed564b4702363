"""The simulated GPU catches what a real one would punish now and then: without that, the tests beside it would prove little."""

from __future__ import annotations

import numpy as np
import pytest
from sim_memory import HazardError, bare
from simulation import SimDevice, SimStream


@pytest.fixture
def sim() -> SimDevice:
    return SimDevice()


def fill(sim: SimDevice, stream: SimStream, array: np.ndarray, value: int) -> None:
    made = bare(array)
    sim.put(stream, "fill", lambda: made.fill(value), writes=[array])


def test_nothing_runs_before_someone_waits(sim: SimDevice) -> None:
    stream, array = sim.open_stream(), sim.allocate((4,), "uint8")
    fill(sim, stream, array, 7)
    assert (bare(array) != 7).all()
    sim.synchronise(sim.record(stream))
    assert (bare(array) == 7).all()


@pytest.mark.parametrize("first_writes", [True, False])
def test_two_streams_without_an_event_are_caught(sim: SimDevice, first_writes: bool) -> None:
    one, other, array = sim.open_stream(), sim.open_stream(), sim.allocate((4,), "uint8")
    out = sim.allocate((4,), "uint8")
    if first_writes:
        fill(sim, one, array, 1)
    else:
        sim.copy(array, out, one)
    with pytest.raises(HazardError, match="no event between them"):
        fill(sim, other, array, 2)


def test_an_event_between_them_is_enough(sim: SimDevice) -> None:
    one, other, array = sim.open_stream(), sim.open_stream(), sim.allocate((4,), "uint8")
    fill(sim, one, array, 1)
    sim.wait(other, sim.record(one))
    fill(sim, other, array, 2)
    sim.synchronise(sim.record(other))
    assert (bare(array) == 2).all()


def test_an_event_that_is_too_early_is_caught(sim: SimDevice) -> None:
    one, other, array = sim.open_stream(), sim.open_stream(), sim.allocate((4,), "uint8")
    early = sim.record(one)
    fill(sim, one, array, 1)
    sim.wait(other, early)
    with pytest.raises(HazardError):
        fill(sim, other, array, 2)


def test_part_of_a_piece_of_memory_counts_as_the_piece(sim: SimDevice) -> None:
    one, other, array = sim.open_stream(), sim.open_stream(), sim.allocate((4, 4), "uint8")
    fill(sim, one, array[:2], 1)
    with pytest.raises(HazardError):
        fill(sim, other, array[1:], 2)


def test_pinned_memory_that_is_still_read_is_caught(sim: SimDevice) -> None:
    stream, host, array = sim.open_stream(), sim.pin((4,), "uint8"), sim.allocate((4,), "uint8")
    np.copyto(host, np.arange(4, dtype=np.uint8))
    sim.upload(host, array, stream)
    with pytest.raises(HazardError, match="the host"):
        np.copyto(host, np.arange(4, dtype=np.uint8))
    sim.synchronise(sim.record(stream))
    np.copyto(host, np.arange(4, dtype=np.uint8))


def test_a_download_that_is_read_early_is_caught(sim: SimDevice) -> None:
    stream, host, array = sim.open_stream(), sim.pin((4,), "uint8"), sim.allocate((4,), "uint8")
    sim.download(array, host, stream)
    with pytest.raises(HazardError, match="the host"):
        np.copyto(np.empty(4, np.uint8), host)


def test_a_graph_runs_what_was_captured_and_is_checked_when_launched(sim: SimDevice) -> None:
    one, other, array = sim.open_stream(), sim.open_stream(), sim.allocate((4,), "uint8")
    graph = sim.capture(one, lambda: fill(sim, one, array, 3))
    sim.synchronise(sim.record(one))
    assert (bare(array) != 3).all()
    sim.launch(graph, one)
    with pytest.raises(HazardError):
        sim.launch(graph, other)
    sim.synchronise(sim.record(one))
    assert (bare(array) == 3).all()


def test_memory_given_back_while_in_use_is_caught(sim: SimDevice) -> None:
    stream, array = sim.open_stream(), sim.allocate((4,), "uint8")
    fill(sim, stream, array, 1)
    with pytest.raises(AssertionError, match="on its way"):
        sim.trim()
