"""Where training runs: "cpu", "cuda", "cuda:1", or "auto", the first GPU where torch has one."""

import re

import openvino
import torch

from trainer.trainer_error import TrainerError

_NAMES = "auto, cpu, mps, cuda, or one GPU of several such as cuda:1"


def find_device(name: str) -> torch.device:
    """The torch device of that name. Raises TrainerError where it is not here."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, index = _parts(name)
    if kind == "cuda" and not torch.cuda.is_available():
        has_cuda = torch.version.cuda is not None
        why = "torch finds no GPU; nvidia-smi shows whether the driver runs" if has_cuda else "this torch is built without CUDA"
        raise TrainerError(f"--device {name}: {why}. --device cpu trains without.")
    if kind == "cuda" and index is not None and index >= torch.cuda.device_count():
        raise TrainerError(f"--device {name}: torch finds {torch.cuda.device_count()} GPUs, counted from cuda:0.")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise TrainerError(f"--device {name}: this machine has none. --device cpu trains without.")
    return torch.device(name)


def has_bfloat16(device: torch.device) -> bool:
    """Whether it has instructions for bfloat16: without them a processor imitates it, seven to ten times slower than float32."""
    if device.type == "cpu":
        return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def lightning_device(name: str, count: int) -> tuple[str, int | list[int]]:
    """What Lightning calls it: (accelerator, how many devices or which). Raises TrainerError for a name or a number that cannot be."""
    kind, index = ("auto", None) if name == "auto" else _parts(name)
    if index is None:
        return kind, count
    if count != 1:
        raise TrainerError(f"--device {name} is one GPU, and --devices asks for {count}. Give --device {kind}.")
    find_device(name)
    return kind, [index]


def _parts(name: str) -> tuple[str, int | None]:
    found = re.fullmatch(r"(cpu|mps|cuda)|(cuda):(\d+)", name)
    if found is None:
        raise TrainerError(f"Unknown --device {name!r}. Devices: {_NAMES}.")
    return (found[1], None) if found[1] else (found[2], int(found[3]))
