"""Opens upscalers: on a GPU where the device is one, else on the CPU."""

from __future__ import annotations

from collections.abc import Callable

from ..engines import Engine, open_engine
from ..engines.device_engine import DeviceEngine
from ..engines.handover import DeviceHandover
from ..models import ModelSpec
from ..options import Precision, UpscaleOptions
from ..upscaling.upscaler import Upscaler
from .device import Device
from .device_selection import find_gpu_of_frames


def open_upscaler(
    options: UpscaleOptions, *, opener: Callable[..., Engine] = open_engine, say: Callable[[str], None] | None = None
) -> Upscaler:  # fmt: skip
    """A DeviceUpscaler for "cuda:N", where CuPy is installed; else an Upscaler, which keeps frames in host memory.

    opener: of engines for frames in host memory. say: called with messages about builds and handovers on a GPU; None: stderr.
    """
    index = find_gpu_of_frames(options)
    if index is None:
        return Upscaler(options, opener=opener)
    from .device_upscaler import DeviceUpscaler

    def open_network(spec: ModelSpec, bits: int, shape: tuple[int, int, int]) -> tuple[DeviceEngine, DeviceHandover | None]:
        return open_on_gpu(
            spec, shape, bits=bits, engine=options.engine, device=options.device, precision=options.precision, say=say
        )  # fmt: skip

    return DeviceUpscaler(options, open_device=lambda: open_device(index), open_network=open_network)


def open_device(index: int) -> Device:
    """GPU number `index`. Raises EngineError."""
    from .cuda_device import CudaDevice

    return CudaDevice(index)


def open_on_gpu(
    spec: ModelSpec, shape: tuple[int, int, int], *, bits: int, engine: str, device: str, precision: Precision,
    say: Callable[[str], None] | None = None,
) -> tuple[DeviceEngine, DeviceHandover | None]:  # fmt: skip
    """The network on planes of the GPU, and what hands over to a faster one: see `streamsr.engines.gpu_engines`."""
    from ..engines.gpu_engines import open_on_device

    engine = "auto" if engine == "cuda" else engine
    return open_on_device(spec, shape, engine=engine, device=device, precision=precision, bits=bits, say=say)
