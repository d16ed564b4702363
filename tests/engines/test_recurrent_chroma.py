"""Engines on a model of luma and chroma that remembers, over a stream of frames: the network in torch, in float64, is the reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from attentive import remembering_model
from open_or_skip import open_or_skip

from streamsr.engines import Chroma, Engine, State, zero_state
from streamsr.engines.tiling import infer_tiled
from streamsr.models import load_spec

torch = pytest.importorskip("torch")

CONDITION = (0.4, 0.7)
ENGINES = [("openvino", "f32"), ("openvino", "bf16"), ("onnxruntime", "f32"), ("torch", "f32"), ("torch", "bf16")]
# codes of 255 that a picture may be off, and of 1 that a state may: rounding to codes; bf16 keeps 8 bits of each of some twenty tensors
TOLERANCE = {"f32": (0.51, 1e-5), "bf16": (4.0, 0.1)}
SIZE = (33, 47)


def frames_of(num: int, *, bits: int = 8, size: tuple[int, int] = SIZE) -> list[tuple[np.ndarray, np.ndarray]]:
    """Luma (h, w) and chroma (2, h, w)."""
    rng, kind = np.random.default_rng(5), np.uint8 if bits == 8 else np.uint16
    return [(rng.integers(0, 1 << bits, size).astype(kind), rng.integers(0, 1 << bits, (2, *size)).astype(kind)) for _ in range(num)]


def step(engine: Engine, luma: np.ndarray, samples: np.ndarray, state: State, **tiled: int) -> tuple[np.ndarray, np.ndarray, State]:
    out, call = np.empty(tuple(side * engine.scale for side in luma.shape), luma.dtype), Chroma(samples, np.empty_like(samples), CONDITION)
    following = infer_tiled(engine, luma, out, state, call, **tiled) if tiled else engine.infer(luma, out, state, call)
    return out, call.out, following


@pytest.mark.parametrize("radius", [0, 3])
@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize(("name", "precision"), ENGINES)
def test_a_stream_is_that_of_the_reference(tmp_path: Path, name: str, precision: str, bits: int, radius: int) -> None:
    path, net = remembering_model(tmp_path, radius=radius)
    spec, top = load_spec(path.with_suffix(".json")), (1 << bits) - 1
    engine, state = open_or_skip(spec, engine=name, precision=precision, bits=bits), zero_state(spec, *SIZE)
    memory = tuple(torch.from_numpy(array[None]).double() for array in state)
    told = torch.tensor(CONDITION).double().view(1, 2, 1, 1).expand(1, 2, *SIZE)
    for luma, samples in frames_of(4, bits=bits):
        out, chroma, state = step(engine, luma, samples, state)
        planes = torch.from_numpy(np.concatenate([luma[None], samples]) / top)[None]
        with torch.no_grad():
            made, memory = net(torch.cat([planes, told], 1), memory)
        wanted = torch.nn.functional.pixel_shuffle(made[:, :4], 2)[0, 0], made[0, 4:]
        picture, remembered = TOLERANCE[precision]
        for got, exact in zip((out, chroma), wanted, strict=True):
            assert np.abs(got * (255 / top) - exact.clamp(0, 1).numpy() * 255).max() < picture
        assert np.abs(state[0] - memory[0][0].numpy()).max() < remembered
    engine.close()


@pytest.mark.parametrize("name", ["openvino", "onnxruntime", "torch"])
def test_tiles_are_the_whole_picture_and_the_whole_state(tmp_path: Path, name: str) -> None:
    path, _ = remembering_model(tmp_path)
    spec = load_spec(path.with_suffix(".json"))
    engine, size = open_or_skip(spec, engine=name), (61, 90)
    whole_state = tiled_state = zero_state(spec, *size)
    for luma, samples in frames_of(3, size=size):
        *whole, whole_state = step(engine, luma, samples, whole_state)
        *tiled, tiled_state = step(engine, luma, samples, tiled_state, radius=spec.receptive_field or 0, limit=1800)
        for one, other in zip(whole, tiled, strict=True):  # a sum may be rounded the other way in another place of a vector
            assert np.abs(one.astype(int) - other).max() <= 1
        np.testing.assert_allclose(tiled_state[0], whole_state[0], atol=1e-5)
