"""What CuPy raises where a GPU fails, as streamsr's errors: out of memory is a DeviceMemoryError, so that less is put on the GPU."""

from __future__ import annotations

from typing import Any

from streamsr.engines.device_engine import DeviceMemoryError
from streamsr.errors import EngineError, StreamsrError

_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation and CUDA_ERROR_OUT_OF_MEMORY
_OLD_DRIVER = 35  # cudaErrorInsufficientDriver


class Failures:
    """A context manager, reentrant: inside, GPU `name` is current, and what CuPy raises leaves as a StreamsrError.

    on: cupy.cuda.Device. install: the command for what CuPy may lack.
    """

    def __init__(self, cupy: Any, on: Any, name: str, install: str) -> None:
        self._on, self._name, self._install = on, name, install
        self._memory = cupy.cuda.memory.OutOfMemoryError
        self._status = (cupy.cuda.runtime.CUDARuntimeError, cupy.cuda.driver.CUDADriverError)
        self._compiler = cupy.cuda.compiler.CompileException

    def __enter__(self) -> None:
        try:
            self._on.__enter__()
        except self._status as error:
            raise self.explain(error) or error from error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._on.__exit__(kind, error, trace)
        if error is not None and not isinstance(error, StreamsrError):
            told = self.explain(error)
            if told is not None:
                raise told from error

    def explain(self, error: BaseException) -> StreamsrError | None:
        """The error to raise instead; None where it is not the GPU's."""
        status = getattr(error, "status", None)
        if isinstance(error, self._memory) or (isinstance(error, self._status) and status == _OUT_OF_MEMORY):
            return DeviceMemoryError(f"{self._name} has too little memory: {_line(error)}")
        if isinstance(error, self._status) and status == _OLD_DRIVER:
            words = f"{self._name}: the driver is older than the CUDA that CuPy was built for ({_line(error)})."
            return EngineError(words, hint="update the driver, or take the CuPy of an older CUDA: pip install 'streamsr[cuda12]'")
        if isinstance(error, self._status):
            return EngineError(f"{self._name} failed: {_line(error)}.", hint="see `nvidia-smi`; --device cpu does without it")
        if isinstance(error, self._compiler):
            return EngineError(f"A kernel does not compile for {self._name}: {_line(error)}", hint=self._install)
        if isinstance(error, (RuntimeError, ImportError, OSError)):  # of CuPy, where libnvrtc or another library is missing
            return EngineError(f"CuPy cannot use {self._name}: {_line(error)}", hint=self._install)
        return None


def _line(error: BaseException) -> str:
    """The first line of what an error says."""
    return next(iter(str(error).splitlines()), type(error).__name__)
