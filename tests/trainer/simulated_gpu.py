"""Training on a GPU that torch simulates, in a process of its own: tensors that compute nothing, and refuse to meet one of another device.

    python tests/trainer/simulated_gpu.py       # prints a line for each part that had everything on the device

Only torch's own device for extensions can be had without hardware, so the GPU is called "sim".
"""

import contextlib
import dataclasses
import pathlib
import sys
import tempfile
from typing import Any

import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode, unset_fake_temporarily
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from test_stage_loop import SCENES, STAGE

from trainer import stage_loop
from trainer.metric import EfficientPBAN
from trainer.nets.luma_chroma import LumaChroma
from trainer.nets.quantised_luma_chroma import LumaChromaInt8

_setup_privateuseone_for_python_backend("sim")
GPU = torch.device("sim:0")


MODE = FakeTensorMode(allow_non_fake_inputs=True)
from_numpy, CHECK = torch.from_numpy, stage_loop.check


def new_tensor(like: torch.Tensor, data: Any) -> torch.Tensor:
    """Torch's own fills memory of the device, which has none."""
    with unset_fake_temporarily():
        made = torch.tensor(data, dtype=like.dtype)
    return MODE.from_tensor(made).to(like.device)


def go(module: torch.nn.Module) -> None:
    """What `to` does, which cannot be done with simulated tensors: they cannot be swapped."""
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None:
                part._parameters[name] = torch.nn.Parameter(MODE.from_tensor(value.detach()).to(GPU), value.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = MODE.from_tensor(buffer).to(GPU)


def network_of(kind: type[LumaChroma]) -> LumaChroma:
    """A network of STAGE, which goes to the device once."""

    class Once(kind):  # type: ignore[misc, valid-type]
        def to(self, *places: Any, **options: Any) -> Any:
            if places:
                assert places == (GPU,)
                go(self)
            return self

        def cpu(self) -> Any:
            return self

    return Once(STAGE.scale, STAGE.channels, STAGE.layers)


def take_steps(kind: type[LumaChroma]) -> None:
    """Two steps of the loop."""
    net, states, checked = network_of(kind), list[dict[str, Any]](), list[torch.device]()

    def look(average: torch.nn.Module, *_: object) -> dict[str, float]:
        checked.append(next(average.parameters()).device)
        return {}

    stage_loop.build, stage_loop.check = lambda stage: net, look  # type: ignore[assignment]
    stage_loop.write_state = lambda path, state: states.append(state)  # type: ignore[assignment]
    stage = dataclasses.replace(STAGE, steps=2)
    with tempfile.TemporaryDirectory() as folder, MODE:
        stage_loop.train(stage, SCENES, SCENES, pathlib.Path(folder), device=GPU)
    assert checked == [GPU]
    assert {value.device for value in states[-1]["model"].values()} == {GPU}
    assert {value.device for value in states[-1]["average"].values()} == {GPU}


def measure_gains() -> None:
    """Up to where the host reads the first number, which a simulated tensor has not."""
    net, seen = network_of(LumaChroma), list[torch.device]()
    net.register_forward_pre_hook(lambda module, given: seen.append(given[0].device))
    with MODE, contextlib.suppress(DataDependentOutputException):
        CHECK(net.to(GPU), SCENES, STAGE)
    assert seen == [GPU]


def score_and_go_back(criterion: EfficientPBAN) -> None:
    """The metric as a loss, and its slope."""
    with MODE:
        go(criterion)
        result = torch.rand(2, 3, 112, 96, device=GPU, requires_grad=True)
        loss = criterion(result, torch.rand(2, 3, 112, 96, device=GPU))
        loss.backward()
    assert loss.device == GPU
    assert result.grad is not None
    assert result.grad.device == GPU


if __name__ == "__main__":
    metric = EfficientPBAN()
    torch.from_numpy = lambda array: MODE.from_tensor(from_numpy(array))
    torch.Tensor.new_tensor = new_tensor  # type: ignore[method-assign]
    for name, work in {
        "steps": lambda: take_steps(LumaChroma), "steps of int8": lambda: take_steps(LumaChromaInt8), "gains": measure_gains,
        "the metric": lambda: score_and_go_back(metric),
    }.items():  # fmt: skip
        work()
        print(name)
