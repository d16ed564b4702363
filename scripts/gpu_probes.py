#!/usr/bin/env python3
"""Five questions that only a GPU answers, a few lines each; scripts/gpu_check asks them first.

    python scripts/gpu_probes.py [flags legacy half cudnn headers]

Each runs in a process of its own and prints one line: what it is about, what was found, what the code assumes. None is a test: what
differs from what is assumed, or is not answered, is followed by where to look.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
import threading

TIMEOUT_S = 40.0


def flags() -> str:
    """Do the flags of a primary context outlive its release?"""
    driver, device, context = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(), ctypes.c_void_p()
    state, active = ctypes.c_uint(), ctypes.c_int()
    driver.cuInit(0)
    driver.cuDeviceGet(ctypes.byref(device), 0)
    driver.cuDevicePrimaryCtxSetFlags_v2(device, 4)
    driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
    driver.cuDevicePrimaryCtxRelease_v2(device)
    driver.cuDevicePrimaryCtxGetState(device, ctypes.byref(state), ctypes.byref(active))
    return f"flags {state.value}, active {active.value} after the release (assumed: asked anew each time, so either will do)"


def legacy() -> str:
    """Does NVDEC's work on the legacy stream wait for a kernel of ours on a non-blocking stream, or the other way round?"""
    import cupy

    ours, spin = cupy.cuda.Stream(non_blocking=True), cupy.RawKernel(
        'extern "C" __global__ void spin(long long n) { long long t = clock64(); while (clock64() - t < n); }', "spin")  # fmt: skip
    spin((1,), (1,), (1,))
    cupy.cuda.Stream.null.synchronize()
    with ours:
        spin((1,), (1,), (2_000_000_000,))
    done = cupy.cuda.Event()
    done.record(cupy.cuda.Stream.null)
    done.synchronize()
    return f"the legacy stream {'waited' if ours.done else 'did not wait'} for ours (assumed: it does not, so events are recorded)"


def half() -> str:
    """How far is a 3x3x64 convolution in half precision from single precision, in codes of 255?"""
    import torch

    torch.manual_seed(0)
    x, w = torch.rand(1, 64, 256, 256, device="cuda"), torch.randn(16, 64, 3, 3, device="cuda") / 24
    exact = torch.nn.functional.conv2d(x.double(), w.double())
    off = (torch.nn.functional.conv2d(x.half(), w.half()).double() - exact).abs() * 255
    return f"mean {off.mean():.3f}, most {off.max():.2f} codes in one layer (a handover allows 0.25 and 4 in a whole network)"


def cudnn() -> str:
    """Can a second thread capture while the first one has used cuDNN, each with handles of its own?"""
    import torch

    said = []

    def capture() -> None:
        x, net, stream = torch.rand(1, 8, 64, 64, device="cuda"), torch.nn.Conv2d(8, 8, 3).cuda(), torch.cuda.Stream()
        with torch.no_grad(), torch.cuda.stream(stream):
            net(x)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.no_grad(), torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                net(x)
            said.append("captured")
        except (RuntimeError, AssertionError) as error:
            said.append(str(error).splitlines()[0])

    for _ in range(2):
        thread = threading.Thread(target=capture)
        thread.start()
        thread.join()
    return f"first thread: {said[0]}; second: {said[1]} (assumed: both, one after the other)"


def headers() -> str:
    """Does a kernel of streamsr compile without CUDA's headers and without a toolkit in the environment?"""
    code = "import cupy; print(cupy.RawKernel('extern \"C\" __global__ void f(float* x) { x[0] = 1; }', 'f').num_regs)"
    with tempfile.TemporaryDirectory() as cache:
        clean = {"PATH": "/usr/bin:/bin", "CUPY_CACHE_DIR": cache, "HOME": os.environ.get("HOME", cache)}  # packages may lie there
        done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, timeout=TIMEOUT_S / 2)
    why = (done.stderr.strip().splitlines() or [""])[-1]
    found = "compiles" if done.returncode == 0 else f"does not compile ({why}; {WAYS_OUT['headers']})"
    return f"{found} in a clean environment (assumed: it does, by CuPy's [ctk])"


PROBES = {"flags": flags, "legacy": legacy, "half": half, "cudnn": cudnn, "headers": headers}
# where to look when the answer is another one, or none
WAYS_OUT = {
    "flags": "streamsr/gpu_context.py, Note [One context]; `nvidia-smi` has to list the GPU",
    "legacy": "CudaDevice.import_surface in streamsr/device/cuda_device.py; CuPy's CUDA must not be newer than the driver's: "
              "pip install 'cupy-cuda12x[ctk]'",
    "half": "TOLERANCE in streamsr/engines/handover.py; torch needs CUDA: https://pytorch.org/get-started/locally",
    "cudnn": "Note [Captures] of streamsr/engines/device_engine.py; torch needs CUDA: https://pytorch.org/get-started/locally",
    "headers": "pip install 'cupy-cuda12x[ctk]', or 'cupy-cuda13x[ctk]' for CUDA 13",
}


def ask(name: str) -> str:
    """The line of one probe, asked in a process of its own."""
    try:
        done = subprocess.run([sys.executable, __file__, "--here", name], capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"probe {name}: no answer within {TIMEOUT_S:.0f} s: {WAYS_OUT[name]}"
    why = (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]
    return done.stdout.strip() or f"probe {name}: not answered: {why}: {WAYS_OUT[name]}"


def main() -> int:
    names = sys.argv[1:] or list(PROBES)
    if names[0] == "--here":
        print(f"probe {names[1]}: {PROBES[names[1]]()}")
        return 0
    unknown = [name for name in names if name not in PROBES]
    if unknown:
        print(f"There is no probe {', '.join(unknown)}. Probes: {', '.join(PROBES)}.", file=sys.stderr)
        return 2
    for name in names:
        print(ask(name), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
