"""benchmarks/kernels.py without a GPU: its cases on the CPU, and what it says where there is nothing to measure."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from on_host import HostDevice

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks/kernels.py"


def test_without_a_gpu_nothing_is_measured() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT)], env=os.environ | {"CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True)
    assert done.returncode == 1
    assert "needs an NVIDIA GPU" in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_both_forms_of_every_case_agree(host: HostDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    spec = importlib.util.spec_from_file_location("benchmark_of_kernels", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, benchmark)  # dataclasses look their module up
    spec.loader.exec_module(benchmark)
    torch.manual_seed(0)
    cases = benchmark.open_cases(torch, benchmark.Setup("cpu", 0, 32, 48, attentions=1))
    assert len(cases) == 11
    launched = {kernel.name for kernel, _ in host.launched}
    assert launched >= {"split", "join", "unpack", "pack", "resample", "attend_lines", "local_tiles", "local_attention"}
