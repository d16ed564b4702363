"""A machine with one simulated GPU, for tests that run whole commands, and what they are told."""

from __future__ import annotations

import threading
from typing import Any

from both import Handover
from networks import SimNetwork
from simulation import SimDevice

CPU = ("--engine", "openvino", "--precision", "f32", "--threads", "1", "--preset", "ultrafast")
GPU = ("--engine", "torch", "--device", "cuda:0", "--precision", "f32", "--threads", "1", "--preset", "ultrafast")


class Machine:
    """One simulated GPU, as each thread sees it, and the networks that were opened on it.

    options: of networks. successor: see `both.Handover`. budget: bytes of device memory.
    """

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.networks: list[SimNetwork] = []
        self.encoders: tuple[str, ...] = ()
        self.successor: tuple[int, Any] | None = None
        self.budget = 1 << 40
        self.sims: list[SimDevice] = []
        self._of_thread: dict[int, SimDevice] = {}

    @property
    def sim(self) -> SimDevice:
        """The one that was opened last; none yet: the one that will be opened first."""
        if not self.sims:
            self.sims.append(SimDevice(seed=1, budget=self.budget))
        return self.sims[-1]

    def open_device(self) -> SimDevice:
        """Of this thread: the simulation does not know of several."""
        thread = threading.get_ident()
        if thread not in self._of_thread:
            if len(self.sims) == len(self._of_thread):
                self.sims.append(SimDevice(seed=1, budget=self.budget))
            self._of_thread[thread] = self.sims[len(self._of_thread)]
        return self._of_thread[thread]

    def open_network(self, spec: Any, shape: Any, *, bits: int, **_: object) -> tuple[SimNetwork, Handover | None]:
        self.networks.append(SimNetwork(spec, self.open_device(), bits=bits, **self.options))
        return self.networks[-1], None if self.successor is None else Handover(self.networks, self.successor)
