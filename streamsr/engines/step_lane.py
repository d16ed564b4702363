"""StepLane: a lane that runs the parts of a model and the attentions between them, one after another on one stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from streamsr.engines.device_engine import Contract, DeviceArray, DeviceChroma, DeviceState, DType, check_call
from streamsr.engines.engine import CHROMA_INPUTS, CHROMA_OUTPUT
from streamsr.models import StateShape


@dataclass(frozen=True)
class Tensor:
    """A tensor between steps: (n, channels, scale * h, scale * w) for luma planes of (n, 1, h, w).

    scale 0: one value a channel for all planes, (1, channels, 1, 1), such as the condition of a source.
    """

    name: str
    channels: int
    scale: int = 1

    def shape(self, n: int, h: int, w: int) -> tuple[int, int, int, int]:
        return (n, self.channels, self.scale * h, self.scale * w) if self.scale else (1, self.channels, 1, 1)


@dataclass(frozen=True)
class Attention:
    """`streamsr.LocalAxialAttention` (trainer/nets/local_axial_attention.py): query, key, value -> result."""

    inputs: tuple[Tensor, ...]  # query, key (D channels), value (C channels)
    output: Tensor  # C channels
    radius: int

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        return (self.output,)


@dataclass(frozen=True)
class Ends:
    """What a model's tensors are called, and its states."""

    luma: str
    luma_hr: str
    scale: int
    states: tuple[StateShape, ...]
    has_chroma: bool = False

    def outer(self) -> set[str]:
        """The tensors that come from the caller."""
        return {self.luma, self.luma_hr, *(name for state in self.states for name in (state.name, f"{state.name}_next")), *(
            (*CHROMA_INPUTS, CHROMA_OUTPUT) if self.has_chroma else ())}  # fmt: skip


# Puts one step on a stream. It reads and writes the arrays of the names that it knows.
Launch = Callable[[Mapping[str, DeviceArray], int], None]
Allocate = Callable[[tuple[int, ...], DType], DeviceArray]


class StepLane:
    """Implements `streamsr.engines.device_engine.Lane`.

    steps: the tensors that each step makes, and what launches it, in their order.
    zeros: gives a new array of zeros on the device. free: called once by `close`.
    """

    def __init__(
        self, shape: tuple[int, int, int], ends: Ends, dtype: DType, steps: Sequence[tuple[Sequence[Tensor], Launch]], *,
        zeros: Allocate, is_capturable: bool = True, free: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self.shape, self.is_capturable = shape, is_capturable
        self._ends, self._dtype, self._zeros, self._free = ends, dtype, zeros, free
        self._launches = [launch for _, launch in steps]
        outer = ends.outer()
        inner = {tensor.name: tensor for outputs, _ in steps for tensor in outputs if tensor.name not in outer}
        self._inner = {name: zeros(tensor.shape(*shape), dtype) for name, tensor in inner.items()}

    def new_state(self) -> DeviceState:
        """Zeros for each state: see `Lane.new_state`."""
        n, h, w = self.shape
        return tuple(self._zeros((n, s.channels, s.scale * h, s.scale * w), self._dtype) for s in self._ends.states)

    def enqueue(
        self, luma: DeviceArray, out: DeviceArray, state: DeviceState = (), following: DeviceState = (),
        chroma: DeviceChroma | None = None, *, stream: int,
    ) -> None:  # fmt: skip
        """Launch every step: see `Lane.enqueue`."""
        ends = self._ends
        check_call(Contract(self.shape, ends.scale, self._dtype, ends.states, ends.has_chroma), luma, out, state, following, chroma)
        arrays = self._inner | {ends.luma: luma, ends.luma_hr: out}
        if chroma is not None:
            arrays |= dict(zip((*CHROMA_INPUTS, CHROMA_OUTPUT), (chroma.samples, chroma.condition, chroma.out), strict=True))
        for shape, old, new in zip(ends.states, state, following, strict=True):
            arrays[shape.name], arrays[f"{shape.name}_next"] = old, new
        for launch in self._launches:
            launch(arrays, stream)

    def close(self) -> None:
        """Free the arrays and what the launches hold."""
        self._launches, self._inner = [], {}
        self._free()
