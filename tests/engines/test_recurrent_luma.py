"""Engines on a model of luma alone that remembers, over a stream of frames: the network in torch, in float64, is the reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from attentive import attentive_network
from open_or_skip import open_or_skip

from streamsr.engines import zero_state
from streamsr.engines.tiling import infer_tiled
from streamsr.models import load_spec

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("name", ["openvino", "onnxruntime", "torch"])
def test_a_stream_is_that_of_the_reference_and_tiles_are_the_whole(tmp_path: Path, name: str) -> None:
    from trainer.nets.luma_chroma import MIDDLE

    path, net = attentive_network(tmp_path)
    spec, (height, width) = load_spec(path.with_suffix(".json")), (60, 90)
    assert not spec.has_chroma
    engine = open_or_skip(spec, engine=name, precision="f32")
    state = tiled_state = zero_state(spec, height, width)
    memory, grey = (torch.zeros(1, 16, height, width).double(),), torch.full((1, 4, height, width), MIDDLE).double()
    for luma in np.random.default_rng(0).integers(0, 256, (3, height, width)).astype(np.uint8):
        out, tiled = (np.empty((2 * height, 2 * width), np.uint8) for _ in range(2))
        state = engine.infer(luma, out, state)
        tiled_state = infer_tiled(engine, luma, tiled, tiled_state, radius=spec.receptive_field or 0, limit=2500)
        with torch.no_grad():
            made, memory = net(torch.cat([torch.from_numpy(luma)[None, None] / 255, grey], 1), memory)
        exact = torch.nn.functional.pixel_shuffle(made[:, :4], 2)[0, 0].numpy()
        np.testing.assert_allclose(state[0], memory[0][0].numpy(), atol=1e-5)
        assert np.abs(out - np.clip(exact * 255, 0, 255)).max() <= 0.501
        # a sum may be rounded the other way in another place of a vector
        assert np.abs(tiled.astype(int) - out).max() <= 1
        np.testing.assert_allclose(tiled_state[0], state[0], atol=1e-5)
    engine.close()
