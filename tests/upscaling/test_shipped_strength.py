"""More strength makes a sharper picture, in every shipped network that takes it."""

from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from streamsr import Upscaler
from streamsr.models import list_models

CLIP = Path(__file__).parent.parent / "clips" / "bunny.mp4"
STRENGTHS = [0.0, 0.25, 0.5, 0.75, 1.0]
TOLD = sorted((spec.name, spec.scale, spec.look) for spec in list_models() if spec.has_chroma)


@pytest.fixture(scope="module")
def frame() -> av.VideoFrame:
    with av.open(CLIP) as container:
        return next(container.decode(video=0)).reformat(160, 96)


def detail(frame: av.VideoFrame) -> float:
    """RMS of the Laplacian of the luma of a yuv420p frame, in codes."""
    y = frame.to_ndarray()[: frame.height].astype(np.float32)
    return float(np.sqrt(np.mean((4 * y[1:-1, 1:-1] - y[:-2, 1:-1] - y[2:, 1:-1] - y[1:-1, :-2] - y[1:-1, 2:]) ** 2)))


@pytest.mark.parametrize(("name", "scale", "look"), TOLD)
def test_more_strength_makes_a_sharper_picture(name: str, scale: int, look: str, frame: av.VideoFrame) -> None:
    details = []
    for strength in STRENGTHS:
        with Upscaler(name, scale, look=look, strength=strength) as upscaler:
            details.append(detail(next(iter(upscaler([frame])))))
    assert all(more > 1.01 * less for less, more in pairwise(details)), details
