"""Every kernel compiles to machine code for every GPU that is supported, without a warning; NVRTC needs no GPU for it."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import pytest
from streamsr_kernels.kernel_source import FOLDER, Kernel, read_source

ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_120")
GENERATIONS = ("sm_75", "sm_90", "sm_120")
KERNELS = [
    *(
        Kernel("planes.cu", name, (("SAMPLE", sample), ("LEVEL", level)))
        for name in ("unpack", "pack")
        for sample in ("u8", "u16")
        for level in ("half", "float")
    ),
    *(
        Kernel("samples.cu", name, (("SAMPLE", sample),))
        for name, sample in (("split", "u8"), ("join", "u16"), ("compare", "u8"), ("compare", "u16"))
    ),
    *(Kernel("resample.cu", "resample", (("SAMPLE", sample),)) for sample in ("u8", "u16")),
    *(
        Kernel("axial_attention.cu", "attend_lines", (("CHANNELS", channels), ("VALUES", values), ("WARPS", warps)))
        for channels, values, warps in ((16, 16, 4), (112, 112, 4), (160, 160, 4), (256, 128, 2))
    ),
    *(
        Kernel("local_tiles.cu", "local_tiles", (("COMPARED", compared), ("CHANNELS", channels), ("HALO", halo)))
        for compared, channels, halo in ((8, 16, 8), (8, 16, 16), (8, 24, 8), (8, 24, 16), (16, 24, 8))
    ),
    *(Kernel("local_attention.cu", "local_attention", (("VALUE", value),)) for value in ("half", "float")),
]


@pytest.fixture(scope="module")
def nvrtc() -> Any:
    """NVRTC's binding; skips without it, or fails where STREAMSR_REQUIRE names it."""
    if importlib.util.find_spec("cuda") is None or importlib.util.find_spec("cuda.bindings") is None:
        if "nvrtc" in os.environ.get("STREAMSR_REQUIRE", "").split(","):
            pytest.fail("cuda-bindings is not installed, and STREAMSR_REQUIRE names nvrtc")
        pytest.skip("cuda-bindings and nvidia-cuda-nvrtc are not installed: nothing is compiled for GPUs")
    from cuda.bindings import nvrtc

    return nvrtc


def compile_for(nvrtc: Any, kernel: Kernel, architecture: str) -> tuple[bytes, str]:
    """(machine code, what the compiler says)."""

    def checked(result: tuple[Any, ...]) -> Any:
        assert result[0] == nvrtc.nvrtcResult.NVRTC_SUCCESS, result[0]
        return result[1] if len(result) > 1 else None

    program = checked(nvrtc.nvrtcCreateProgram(read_source(kernel.file).encode(), kernel.file.encode(), 0, [], []))
    ours = (*kernel.options, f"--gpu-architecture={architecture}", "--ptxas-options=--warn-on-spills")
    options = [option.encode() for option in (*ours, "-ftz=true")]  # CuPy adds the last one to all that it compiles
    status = nvrtc.nvrtcCompileProgram(program, len(options), options)[0]
    log = b" " * (1 + checked(nvrtc.nvrtcGetProgramLogSize(program)))  # written in place, so never the b" " that all Python code shares
    checked(nvrtc.nvrtcGetProgramLog(program, log))
    text = log.decode().strip("\0 \n")
    assert status == nvrtc.nvrtcResult.NVRTC_SUCCESS, text[:4000]
    code = b" " * (1 + checked(nvrtc.nvrtcGetCUBINSize(program)))
    checked(nvrtc.nvrtcGetCUBIN(program, code))
    checked(nvrtc.nvrtcDestroyProgram(program))
    return code, text


def is_compiled(kernel: Kernel, architecture: str) -> bool:
    """All for three generations, and for the others the first of each file: they differ in little but the number of registers."""
    return architecture in GENERATIONS or kernel == next(other for other in KERNELS if other.file == kernel.file)


@pytest.mark.parametrize(
    ("kernel", "architecture"),
    [(kernel, architecture) for kernel in KERNELS for architecture in ARCHITECTURES if is_compiled(kernel, architecture)],
    ids=lambda value: value if isinstance(value, str) else "-".join([value.file, *(str(number) for _, number in value.macros)]),
)
def test_kernel_compiles_without_a_warning(nvrtc: Any, kernel: Kernel, architecture: str) -> None:
    code, said = compile_for(nvrtc, kernel, architecture)
    assert code.startswith(b"\x7fELF")
    assert kernel.name.encode() in code
    assert not said


def test_compiler_says_what_is_wrong(nvrtc: Any) -> None:
    with pytest.raises(AssertionError, match="NOTHING_LIKE_IT"):
        compile_for(nvrtc, Kernel("planes.cu", "unpack", (("SAMPLE", "NOTHING_LIKE_IT"),)), "sm_90")


def test_every_file_is_compiled() -> None:
    assert {path.name for path in FOLDER.glob("*.cu")} == {kernel.file for kernel in KERNELS}
