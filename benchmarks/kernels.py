"""Each CUDA kernel against the plain torch form of the same thing and against what the memory allows, all in one run.

    python benchmarks/kernels.py [--rounds 7] [--calls 50] [--output results/NAME.json]

Both forms are first compared with each other. Then they take turns, in an order that changes; a round is `calls` calls on one stream
between two CUDA events, so it holds whatever part of launching the GPU has to wait for. "bandwidth": the bytes that a kernel has to read
and write at least, by its time, as a share of what a copy of 256 MiB reached in the same round. Needs an NVIDIA GPU, CuPy and torch.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import machine
from streamsr_kernels import (
    axial_attention,
    chroma_site,
    join_surface,
    launch_device,
    local_axial_attention,
    pack,
    resample,
    split_surface,
    unpack,
)

ROOT = Path(__file__).resolve().parent.parent
COPY_BYTES = 256 * 1024 * 1024


ATTENTION_TOLERANCE = 2e-2  # of the largest value: the plain form rounds to half precision after each step


@dataclass(frozen=True, slots=True)
class Setup:
    """Where, on which stream, and for a picture of which size; sides are multiples of 16."""

    device: str
    stream: int
    height: int
    width: int
    attentions: int = 8  # of the metric at once: four networks, both ways


@dataclass(frozen=True, slots=True)
class Case:
    """ours, plain: queue one call on the stream and return the results. num_bytes: read and written at least."""

    ours: Callable[[], Any]
    plain: Callable[[], Any]
    num_bytes: int
    tolerance: float  # between the two, of the largest value


def load(path: str) -> ModuleType:
    """A file of the trainer that needs torch alone, without the packages that the rest of it needs."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def plane_cases(torch: Any, at: Setup) -> dict[str, Case]:
    """A picture in, one of twice its size out."""
    h, w = at.height, at.width

    def codes(*shape: int) -> Any:
        return torch.randint(0, 256, shape, dtype=torch.uint8, device=at.device)

    def levels(*shape: int) -> Any:
        return torch.rand(shape, device=at.device).half()

    surface, planes = [codes(h, w), codes(h // 2, w // 2, 2)], [codes(h, w), codes(h // 2, w // 2), codes(h // 2, w // 2)]
    large, whole = [codes(2 * h, 2 * w), codes(h, w), codes(h, w)], [codes(2 * h, 2 * w), codes(h, w, 2)]
    luma, network_input, result, packed = codes(h, w), levels(h, w), levels(2 * h, 2 * w), codes(2 * h, 2 * w)

    def split() -> Any:
        split_surface(surface, planes, stream=at.stream)
        return planes

    def join() -> Any:
        join_surface(large, whole, stream=at.stream)
        return whole

    def unpacked() -> Any:
        unpack(luma, network_input, bits=8, stream=at.stream)
        return [network_input]

    def packed_again() -> Any:
        pack(result, packed, bits=8, stream=at.stream)
        return [packed]

    def pack_plainly() -> Any:
        return [(result.float() * 255).round().clamp(0, 255).byte()]

    return {
        "split nv12": Case(split, lambda: [surface[0].clone(), *surface[1].permute(2, 0, 1).contiguous()], size_of(surface, planes), 0.0),
        "join nv12, x2": Case(join, lambda: [large[0].clone(), torch.stack(large[1:], -1)], size_of(large, whole), 0.0),
        "unpack": Case(unpacked, lambda: [(luma.float() / 255).half()], size_of([luma, network_input]), 1e-3),
        "pack, x2": Case(packed_again, pack_plainly, size_of([result, packed]), 1 / 255),
    }


def resample_cases(torch: Any, at: Setup) -> dict[str, Case]:
    """Chroma to twice its size. Torch has no Lanczos: its bicubic stands beside ours, at centred chroma, on a smooth picture."""
    h, w = at.height // 2, at.width // 2
    y, x = torch.meshgrid(torch.arange(float(h), device=at.device), torch.arange(float(w), device=at.device), indexing="ij")
    planes = (128 + 60 * torch.stack([torch.sin(x / 9 + y / 7), torch.cos(x / 8 - y / 9)])).round().byte()
    out = torch.empty((2, 2 * h, 2 * w), dtype=torch.uint8, device=at.device)

    def plainly() -> Any:
        made = torch.nn.functional.interpolate(planes[None].float(), size=(2 * h, 2 * w), mode="bicubic")
        return [made.round().clamp(0, 255).byte()[0]]

    def ours() -> Any:
        for plane, target in zip(planes, out, strict=True):
            resample(plane, target, bits=8, site=chroma_site("center", (1, 1)), stream=at.stream)
        return [out]

    return {"resample chroma, x2": Case(ours, plainly, size_of([planes, out]), 4 / 255)}


def attention_cases(torch: Any, at: Setup) -> dict[str, Case]:
    """The `base` network's on the picture, and the metric's on it and on one of twice its size (its features are 16 times smaller)."""
    whole_plainly = load("trainer/metric/bidirectional_attention.py").axial_attention
    local_plainly = load("trainer/nets/local_axial_attention.py").local_axial_attention

    def maps(count: int, channels: int, height: int, width: int, dtype: Any) -> list[Any]:
        return [torch.randn((1, channels, height, width), device=at.device).to(dtype) for _ in range(count)]

    cases = {}
    for dtype in (torch.half, torch.float):
        query, key = maps(2, 8, at.height, at.width, dtype)
        value, out = maps(2, 16, at.height, at.width, dtype)
        cases[f"local attention, {str(dtype).removeprefix('torch.')}"] = Case(
            partial(_in_list, local_axial_attention, query, key, value, radius=6, out=out, stream=at.stream),
            partial(_in_list, local_plainly, query, key, value, radius=6),
            size_of([query, key, value, out]),
            ATTENTION_TOLERANCE,
        )
    for name, scale in (("axial attention", 1), ("axial attention, x2", 2)):
        q, k, v, out = maps(4, 112, scale * at.height // 16, scale * at.width // 16, torch.half)
        cases[name] = Case(
            partial(_in_list, axial_attention, q, k, v, out=out, stream=at.stream),
            partial(_in_list, whole_plainly, q, k, v),
            size_of([q, k, v, out]),
            ATTENTION_TOLERANCE,
        )
    local = [*maps(2, 8, at.height, at.width, torch.half), *maps(1, 16, at.height, at.width, torch.half)]
    whole = [each.repeat(at.attentions, 1, 1, 1) for each in maps(3, 112, at.height // 16, at.width // 16, torch.half)]
    return cases | {
        "local attention, planar ends": _border_case(torch, partial(local_axial_attention, radius=6, stream=at.stream), local),
        "axial attention, planar ends": _border_case(torch, partial(axial_attention, stream=at.stream), whole),
    }


def _border_case(torch: Any, attend: Callable[..., Any], given: list[Any]) -> Case:
    """A kernel on planar data, beside the same with what channels-last parts around it would have to convert: no kernel for
    channels-last data could be faster by more, as long as it is no faster itself."""
    out = torch.empty_like(given[2])
    last = [each.contiguous(memory_format=torch.channels_last) for each in given]
    result = torch.empty_like(out, memory_format=torch.channels_last)
    parts = [torch.empty_like(each) for each in given]

    def converted() -> Any:
        for part, each in zip(parts, last, strict=True):
            part.copy_(each)
        result.copy_(attend(*parts, out=out))
        return [result]

    return Case(partial(_in_list, attend, *given, out=out), converted, size_of([*given, out]), 0.0)


def _in_list(work: Callable[..., Any], *given: Any, **options: Any) -> list[Any]:
    return [work(*given, **options)]


def size_of(*arrays: list[Any]) -> int:
    """Bytes."""
    return sum(array.numel() * array.element_size() for part in arrays for array in part)


def measure(torch: Any, cases: dict[str, Case], rounds: int, calls: int) -> dict[str, dict[str, float]]:
    """Median milliseconds of both forms, and medians over rounds of the ratios."""
    source = torch.empty(COPY_BYTES, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    works: dict[tuple[str, str], Callable[[], Any]] = {("copy", ""): lambda: target.copy_(source)}
    for name, case in cases.items():
        works |= {(name, "ours"): case.ours, (name, "plain"): case.plain}
    taken: dict[tuple[str, str], list[float]] = {key: [] for key in works}
    order = list(works)
    for number in range(rounds):
        random.Random(number).shuffle(order)
        for key in order:
            works[key]()
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(calls):
                works[key]()
            end.record()
            end.synchronize()
            taken[key].append(start.elapsed_time(end) / calls)
    copied = [2 * COPY_BYTES / ms for ms in taken["copy", ""]]
    rows = {"copy": {"ms": statistics.median(taken["copy", ""]), "gb_per_s": statistics.median(copied) / 1e6}}
    for name, case in cases.items():
        ours, plain = taken[name, "ours"], taken[name, "plain"]
        ratios = [theirs / own for own, theirs in zip(ours, plain, strict=True)]
        shares = [case.num_bytes / own / rate for own, rate in zip(ours, copied, strict=True)]
        rows[name] = {
            "ms": statistics.median(ours), "plain_ms": statistics.median(plain), "times_faster": statistics.median(ratios),
            "lowest": min(ratios), "highest": max(ratios), "bandwidth": statistics.median(shares),
        }  # fmt: skip
    return rows


def difference(case: Case) -> float:
    """Of both forms, by the largest value of the plain one."""
    pairs = [(ours.double(), plain.double()) for ours, plain in zip(case.ours(), case.plain(), strict=True)]
    return max(float((ours - plain).abs().max() / plain.abs().max()) for ours, plain in pairs)


def open_cases(torch: Any, at: Setup) -> dict[str, Case]:
    """All cases, each compared with its plain form. Exits where one differs."""
    cases = plane_cases(torch, at) | resample_cases(torch, at) | attention_cases(torch, at)
    for name, case in cases.items():
        found = difference(case)
        if not found <= case.tolerance:
            sys.exit(f"{name}: differs from the plain form by {found:.3g} of its largest value; nothing measured.")
    return cases


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=50, help="of a form in a round")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    try:
        launch_device.import_cupy()
    except RuntimeError as error:
        sys.exit(f"Nothing measured, this benchmark needs an NVIDIA GPU. {error}")
    import torch

    if not torch.cuda.is_available():
        sys.exit("Nothing measured, this benchmark needs torch with CUDA beside CuPy.")
    with torch.inference_mode(), torch.cuda.stream(torch.cuda.Stream()):
        stream = torch.cuda.current_stream().cuda_stream
        cases = open_cases(torch, Setup("cuda", stream, 1088, 1920))
        rows = measure(torch, cases, options.rounds, options.calls)
    print(f"{torch.cuda.get_device_name()}, a picture of 1920x1088: a copy moves {rows['copy']['gb_per_s']:.0f} GB/s")
    for name in cases:
        row = rows[name]
        print(f"{name:44s} {row['ms']:8.4f} ms   {row['times_faster']:6.2f} times faster than plain torch"
              f" ({row['lowest']:.2f} to {row['highest']:.2f})   {100 * row['bandwidth']:3.0f} % of bandwidth")  # fmt: skip
    if options.output:
        facts = {"machine": machine.describe(), "gpu": torch.cuda.get_device_name(), "torch": torch.__version__,
                 "rounds": options.rounds, "calls": options.calls, "cases": rows}  # fmt: skip
        options.output.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
