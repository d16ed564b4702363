"""Scenes of a pool, drawn."""

import numpy as np

from trainer.data.scene_pool import Scene


def draw_scene(seed: int, *, frames: int = 2) -> Scene:
    """A board of waves in two ways, the second blurred; it stands still under noise of its own in each frame."""
    rng = np.random.default_rng(seed)
    wave = np.sign(np.sin(0.4 * np.arange(320) + seed))[:, None] * np.sign(np.cos(0.3 * np.arange(320)))
    high = np.clip(128 + 60 * wave + rng.normal(0, 3, (frames, 320, 320)), 0, 255).astype(np.uint8)
    low = high.reshape(frames, 160, 2, 160, 2).mean((2, 4)).astype(np.uint8)
    blurred = ((low + np.roll(low, 1, 1).astype(float) + np.roll(low, 1, 2)) / 3).astype(np.uint8)
    hc = np.broadcast_to(128 + 20 * wave[::2, ::2], (frames, 2, 160, 160)).astype(np.uint8)
    lc = hc.reshape(frames, 2, 80, 2, 80, 2).mean((3, 5)).astype(np.uint8)
    return Scene(high, hc, np.stack([low, blurred]), np.stack([lc, lc]), np.array([[0.2, 0.1], [0.5, 0.2]], np.float32), (0.5, 0.0))
