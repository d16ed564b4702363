"""Where training runs: names of devices, and that a step, a validation and the metric's loss keep everything there."""

import pathlib
import subprocess
import sys

import openvino
import pytest
import torch

from trainer.devices import find_device, has_bfloat16, lightning_device
from trainer.ship import ShipOptions, ship
from trainer.trainer_error import TrainerError

GPU = torch.device("cuda:1")


def test_a_device_that_is_not_here_is_one_line_with_a_way_out(tmp_path: pathlib.Path) -> None:
    assert find_device("cpu") == torch.device("cpu")
    for name in ("gpu", "cuda:", "cuda:-1", "CPU", "cuda:0,1", ""):
        with pytest.raises(TrainerError, match=f"Unknown --device {name!r}"):
            find_device(name)
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert find_device("auto") == torch.device("cpu")
    with pytest.raises(TrainerError, match=r"--device cuda:0: .*--device cpu"):
        find_device("cuda:0")
    with pytest.raises(TrainerError, match="--device cuda:0"):  # before any pair is made
        ship(["lite_x2"], ShipOptions(tmp_path, tmp_path / "runs", tmp_path / "scenes", tmp_path / "out", device="cuda:0"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("capabilities", "has"), [(["FP32", "INT8", "BIN"], False), (["FP32", "BF16", "INT8"], True)])
def test_bfloat16_only_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch, capabilities: list[str], *, has: bool) -> None:
    monkeypatch.setattr(openvino.Core, "get_property", lambda *_: capabilities)
    assert has_bfloat16(torch.device("cpu")) == has


def test_one_gpu_of_several_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert find_device("cuda:1") == GPU
    assert find_device("auto").type == "cuda"
    assert lightning_device("cuda:1", 1) == ("cuda", [1])
    assert lightning_device("cuda", 2) == ("cuda", 2)
    assert lightning_device("auto", 1) == ("auto", 1)
    with pytest.raises(TrainerError, match="finds 2 GPUs"):
        find_device("cuda:2")
    with pytest.raises(TrainerError, match="--devices asks for 2"):
        lightning_device("cuda:1", 2)


@pytest.mark.slow
def test_everything_is_on_the_device() -> None:
    """A tensor that was left behind on the CPU ends it."""
    script = pathlib.Path(__file__).with_name("simulated_gpu.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=script.parents[2])
    assert done.returncode == 0, done.stderr[-3000:]
    assert [line for line in done.stdout.splitlines() if "step" not in line or line.startswith("steps")] == [
        "steps", "steps of int8", "gains", "the metric",
    ]  # fmt: skip
