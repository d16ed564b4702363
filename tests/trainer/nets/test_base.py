"""`base`: its attention is the plain sum, its size is what hooks count, its files are the network on every engine."""

import hashlib
import json
import pathlib

import numpy as np
import onnx
import pytest
import torch

from streamsr.engines import open_engine, zero_state
from streamsr.engines.tiling import infer_tiled
from streamsr.models import load_spec
from trainer.export.onnx_base import onnx_of_base
from trainer.nets import Base
from trainer.nets.local_axial_attention import local_axial_attention

ort = pytest.importorskip("onnxruntime")


def reference(query: np.ndarray, key: np.ndarray, value: np.ndarray, radius: int) -> np.ndarray:
    """float64 (D, H, W), (D, H, W), (C, H, W) -> (C, H, W), position by position."""
    height, width = query.shape[1:]
    result = np.zeros_like(value)
    for y in range(height):
        for x in range(width):
            for down, right in ((0, 1), (1, 0)):
                scores, values = [], []
                for step in range(-radius, radius + 1):
                    at = (y + down * step, x + right * step)
                    inside = 0 <= at[0] < height and 0 <= at[1] < width
                    scores.append(query[:, y, x] @ key[:, at[0], at[1]] if inside else 0.0)
                    values.append(value[:, at[0], at[1]] if inside else np.zeros(len(value)))
                weights = np.exp(scores) / np.exp(scores).sum()
                result[:, y, x] += sum(weight * one for weight, one in zip(weights, values, strict=True)) / 2
    return result


@pytest.mark.parametrize("radius", [1, 4])
def test_attention_is_the_plain_sum(radius: int) -> None:
    rng = np.random.default_rng(radius)
    query, key, value = rng.normal(size=(3, 7, 9)), rng.normal(size=(3, 7, 9)), rng.normal(size=(5, 7, 9))
    got = local_axial_attention(*(torch.from_numpy(side)[None] for side in (query, key, value)), radius=radius)[0].numpy()
    np.testing.assert_allclose(got, reference(query, key, value, radius), rtol=0, atol=1e-12)


def test_base_costs_what_hooks_count() -> None:
    net, counted = Base(2), 0

    def count(module: torch.nn.Module, given: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal counted
        if isinstance(module, torch.nn.Conv2d):
            counted += output[0].numel() * module.weight[0].numel()
        elif given[0].shape[1] == net.channels:  # attention: dot products and weighted sums, 2 axes, 2 directions
            counted += 24 * 32 * 2 * 2 * 13 * (8 + 16)

    for module in [*net.modules()]:
        if isinstance(module, torch.nn.Conv2d) or module is net.attention:
            module.register_forward_hook(count)
    x = torch.zeros(1, 1, 24, 32)
    net(x, net.first_state(x))
    assert counted / (24 * 32) == net.macs_per_pixel
    assert 60_000 <= net.macs_per_pixel <= 100_000
    assert 500_000 <= Base(2, 64, 16, recurrent=False).macs_per_pixel <= 700_000


@pytest.mark.parametrize(("recurrent", "radius"), [(True, 6), (True, 0), (False, 0)])
def test_a_step_sees_as_far_as_it_says(recurrent: bool, radius: int) -> None:
    torch.manual_seed(0)
    net = Base(2, 8, 2, recurrent=recurrent, radius=radius).double().eval()
    side, at = 41, 20
    x, state = torch.rand(1, 1, side, side).double(), tuple(torch.rand(1, 8, side, side).double() for _ in range(recurrent))
    changed = [x.clone(), *(one.clone() for one in state)]
    for one in changed:
        one[..., at, at] += 1
    with torch.no_grad():
        before, after = net(x, state), net(changed[0], tuple(changed[1:]))
    reach = []
    for scale, a, b in [(2, before[0], after[0]), *((1, a, b) for a, b in zip(before[1], after[1], strict=True))]:
        places = (torch.nonzero((a != b).any(1)[0]) // scale - at).abs()
        reach.append(int(places.max()))
    assert reach[0] <= net.receptive_radius
    assert max(reach) == net.receptive_radius  # no wider than it has to be


@pytest.mark.parametrize(("scale", "recurrent", "radius"), [(2, True, 6), (3, True, 2), (4, True, 0), (2, False, 0)])
def test_onnx_runtime_follows_torch_over_frames(scale: int, recurrent: bool, radius: int) -> None:
    torch.manual_seed(scale)
    net = Base(scale, 16, 2, recurrent=recurrent, radius=radius).eval()
    model = onnx_of_base(net)
    assert [function.name for function in model.functions] == (["LocalAxialAttention"] if radius else [])
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for shape in ((1, 1, 19, 14), (3, 1, 8, 8)):
        frames = torch.rand(4, *shape)
        state = net.first_state(frames[0])
        given = dict(zip(["state_0"], (one.numpy() for one in state), strict=False))
        for x in frames:
            with torch.no_grad():
                expected, state = net(x, state)
            got, *following = session.run(["luma_hr", *(["state_0_next"] if recurrent else [])], {"luma": x.numpy()} | given)
            given = dict(zip(["state_0"], following, strict=False))
            assert got.shape == (shape[0], 1, scale * shape[2], scale * shape[3])
            np.testing.assert_allclose(got, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime", "torch"])
def test_engines_follow_torch_and_tile_exactly(engine: str, tmp_path: pathlib.Path) -> None:
    torch.manual_seed(1)
    net = Base(2, 16, 2, radius=3).eval()
    path = tmp_path / "net_x2.onnx"
    onnx.save(onnx_of_base(net), path)
    card = {
        "name": "net", "scale": 2, "input": "luma", "output": "luma_hr", "channels": 16, "layers": 2, "macs_per_pixel": net.macs_per_pixel,
        "receptive_field": net.receptive_radius, "state_shapes": net.state_shapes, "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }  # fmt: skip
    path.with_suffix(".json").write_text(json.dumps(card))
    spec = load_spec(path.with_suffix(".json"))
    opened = open_engine(spec, engine=engine, device="cpu", precision="f32", threads=1)
    height, width = 60, 90
    state = torch_state = tiled_state = zero_state(spec, height, width)
    torch_state = net.first_state(torch.zeros(1, 1, height, width))
    for luma in np.random.default_rng(0).integers(0, 256, (3, height, width)).astype(np.uint8):
        out, tiled = (np.empty((2 * height, 2 * width), np.uint8) for _ in range(2))
        state = opened.infer(luma, out, state)
        tiled_state = infer_tiled(opened, luma, tiled, tiled_state, radius=spec.receptive_field, limit=2500)
        with torch.no_grad():
            exact, torch_state = net(torch.from_numpy(luma)[None, None] / 255, torch_state)
        np.testing.assert_allclose(state[0], torch_state[0][0].numpy(), atol=1e-5)
        assert np.abs(out - np.clip(exact[0, 0].numpy() * 255, 0, 255)).max() <= 0.501
        # the softmax of a vector unit may differ in its last bit by where a position lies: a code rounds the other way at most
        assert np.abs(tiled.astype(int) - out).max() <= 1
        np.testing.assert_allclose(tiled_state[0], state[0], atol=1e-5)


def test_a_network_without_a_state_seeds_one_with_it() -> None:
    torch.manual_seed(0)
    still, moving = Base(2, channels=8, layers=2, recurrent=False), Base(2, channels=8, layers=2)
    fresh = Base(2, channels=8, layers=2)
    luma = torch.rand(1, 1, 24, 24)
    moving.load_state_dict(still.state_dict(), strict=False)
    with torch.no_grad():
        wanted = still(luma)[0]
        seeded, other = (net(luma, net.first_state(luma))[0] for net in (moving, fresh))
    # what the attention learns from a state of zeros is all that is new
    assert float((seeded - wanted).abs().mean()) < 0.3 * float((other - wanted).abs().mean())
