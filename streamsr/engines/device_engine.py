"""What an engine offers to a pipeline whose planes stay on a device: work put on the caller's CUDA stream, and nothing else.

    engine = ...                                      # a DeviceEngine, for one model on one GPU
    lane = engine.open_lane(1, 1080, 1920)            # one for each frame that is in flight
    state = lane.new_state()                          # () for a model that carries none
    lane.enqueue(luma, out, state, following, stream=stream.ptr)

Note [Lanes]: a lane owns what one frame needs while it is computed (execution contexts, activations), so frames in flight
need a lane each. Lanes of an engine run side by side on different streams; a lane is for one stream and one thread at a
time. The state belongs to the caller's stream of frames and not to a lane: frame k + 1 may run on another lane, once the
caller has made its stream wait for the event after frame k.

Note [Capture]: `enqueue` only launches work. It never allocates, synchronises or copies to the host, so a caller may
capture it in a CUDA graph once the lane has run for the first time, if `Lane.is_capturable` says so. A graph holds the
addresses of its arrays: a recurrent model needs one graph for each of the two directions between two sets of states.

Note [Captures]: a thread that captures would be disturbed by another one that waits for the whole device, as torch does before
a capture and while it compiles. So where several threads use a device (streamsr.live.fleet), each does that under CAPTURE.

Note [Half]: planes and states have the engine's `dtype`. In float16 a luma plane keeps 11 bits of a code: half a code of
a 10-bit video at most. A state is written by a layer that computes in half, so half keeps all of it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

from streamsr.errors import EngineError
from streamsr.models import StateShape

CAPTURE = threading.RLock()  # of this process: Note [Captures]
DType = Literal["float16", "float32"]
TYPESTR = {"float16": "<f2", "float32": "<f4"}

# An array on the device, of CuPy, torch or another library: all that is asked of it is `__cuda_array_interface__`, version 2
# or later. What stands in for a GPU in tests has NumPy's `__array_interface__` instead.
DeviceArray = Any
DeviceState = tuple[DeviceArray, ...]  # (n, channels, scale * h, scale * w) for each of `DeviceEngine.states`


@dataclass(frozen=True, slots=True)
class DeviceChroma:
    """The chroma of one `Lane.enqueue`, for a model of luma and chroma (streamsr.engines.Chroma is the same in host memory)."""

    samples: DeviceArray  # (n, 2, h, w), Cb and Cr on the network's grid, codes divided by the largest code
    out: DeviceArray  # (n, 2, h, w), written whole; neither clipped nor rounded
    condition: DeviceArray  # (1, 2, 1, 1): the source's blur and damage, of all n planes


class Lane(Protocol):
    """Room for one frame, or a batch of them, of one shape: see Note [Lanes]."""

    shape: tuple[int, int, int]  # n, h, w of the luma planes
    is_capturable: bool  # `enqueue` may be captured in a CUDA graph once it has run

    def new_state(self) -> DeviceState:
        """Zeros: the state before a first frame. Each call gives new arrays; fill one with zeros to start again."""

    def enqueue(
        self, luma: DeviceArray, out: DeviceArray, state: DeviceState = (), following: DeviceState = (),
        chroma: DeviceChroma | None = None, *, stream: int,
    ) -> None:  # fmt: skip
        """Launch the model for one batch on `stream`, a cudaStream_t as an integer, and return at once.

        luma: (n, 1, h, w), codes divided by the largest code.
        out: (n, 1, scale * h, scale * w), written whole; neither clipped nor rounded.
        state: what the call for the frame before wrote to `following`, or `new_state`; read, left as it was.
        following: as many arrays of the same shapes, none of them one of `state`; written whole.
        chroma: for a model that has it (`DeviceEngine.has_chroma`), and for no other.
        All are C-contiguous arrays of the engine's dtype on its device that begin where an allocation does (TensorRT wants
        256 bytes of alignment), and stay untouched until the stream has executed the launch.
        Raises ValueError for other arrays, EngineError when the launch fails.
        """

    def close(self) -> None:
        """Free the lane; its stream must be idle."""


class DeviceEngine(Protocol):
    """Runs one model on arrays of one device, at any depth: planes are fractions of the largest code."""

    name: str  # "tensorrt", "torch"
    device: str  # "cuda:0"
    precision: str  # "f16", "f32"
    reason: str  # what "auto" chose, and why
    scale: int
    dtype: DType  # of planes and states
    states: tuple[StateShape, ...]
    has_chroma: bool  # the model takes and gives chroma
    max_batch: int  # the largest n of `open_lane`

    def open_lane(self, n: int, height: int, width: int) -> Lane:
        """A lane for batches of n planes of height x width. May build or compile, which takes seconds to minutes.

        Raises UsageError for n outside 1 .. max_batch, DeviceMemoryError where the device has no room for one more,
        EngineError when the model cannot be built.
        """

    def close(self) -> None:
        """Free the model; its lanes must be closed."""


class DeviceMemoryError(EngineError):
    """The device has too little free memory: fewer frames in flight, or smaller tiles, may fit."""


def interface(array: DeviceArray) -> dict[str, Any]:
    """The array interface of a device array, or of what stands in for one in tests. Raises ValueError for anything else."""
    found = getattr(array, "__cuda_array_interface__", None)
    if found is None:
        found = getattr(array, "__array_interface__", None)
    if found is None:
        raise ValueError(f"A {type(array).__name__} is not a device array; give one with __cuda_array_interface__, of CuPy or torch.")
    return cast(dict[str, Any], found)


def address(array: DeviceArray) -> int:
    """Where the array begins in the device's memory."""
    return int(interface(array)["data"][0])


@dataclass(frozen=True, slots=True)
class Contract:
    """What a lane's arrays have to be. shape: n, h, w of the luma planes."""

    shape: tuple[int, int, int]
    scale: int
    dtype: DType
    states: tuple[StateShape, ...]
    has_chroma: bool

    @classmethod
    def of(cls, engine: DeviceEngine, shape: tuple[int, int, int]) -> Contract:
        return cls(shape, engine.scale, engine.dtype, engine.states, engine.has_chroma)


def check_call(
    contract: Contract, luma: DeviceArray, out: DeviceArray, state: DeviceState, following: DeviceState, chroma: DeviceChroma | None
) -> None:
    """Raises ValueError, naming the array, where the arrays of `Lane.enqueue` are not as it requires."""
    n, h, w = contract.shape
    scale, dtype, states, has_chroma = contract.scale, contract.dtype, contract.states, contract.has_chroma
    if not len(state) == len(following) == len(states):
        raise ValueError(f"The model has {len(states)} states; the call has {len(state)} and room for {len(following)}.")
    if (chroma is not None) != has_chroma:
        raise ValueError("The model takes chroma, and the call has none." if has_chroma else "The model takes no chroma.")
    if chroma is not None:
        _check("chroma", chroma.samples, (n, 2, h, w), dtype)
        _check("chroma_hr", chroma.out, (n, 2, h, w), dtype)
        _check("condition", chroma.condition, (1, 2, 1, 1), dtype)
    _check("luma", luma, (n, 1, h, w), dtype)
    _check("out", out, (n, 1, scale * h, scale * w), dtype)
    for shape, old, new in zip(states, state, following, strict=True):
        wanted = (n, shape.channels, shape.scale * h, shape.scale * w)
        _check(shape.name, old, wanted, dtype)
        _check(f"{shape.name}_next", new, wanted, dtype)
    if {address(array) for array in following} & {address(array) for array in (*state, luma)}:
        raise ValueError("The arrays of `following` must not be those of `state`: the model reads the one while it writes the other.")


def _check(name: str, array: DeviceArray, shape: tuple[int, ...], dtype: DType) -> None:
    found = interface(array)
    if tuple(found["shape"]) != shape or found["typestr"] != TYPESTR[dtype]:
        raise ValueError(f"{name} is {tuple(found['shape'])} {found['typestr']}; it must be {shape} {TYPESTR[dtype]}.")
    strides, expected = found.get("strides"), int(found["typestr"][2:])
    if strides is None:
        return
    for side, stride in zip(reversed(shape), reversed(strides), strict=True):
        if side > 1 and stride != expected:
            raise ValueError(f"{name} has the strides {tuple(strides)}; it must be C-contiguous, without padding.")
        expected *= side
