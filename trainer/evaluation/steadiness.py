"""How steady a run of frames is: flicker and warping error. Planes are uint8 (H, W); results are in codes of 255, lower is better.

Flicker is the mean absolute difference between the change from frame to frame and the original's change. The warping error is the mean
absolute difference between a frame and the one before, moved by the original's optical flow (skimage's iterative Lucas-Kanade), where the
original itself can be followed. The original has a warping error too, of what flow cannot follow: it is the yardstick.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer.data.photos import Plane

FOLLOWED = 8.0  # codes: pixels of the original that flow brings closer than this
BORDER = 8  # pixels left out
FLOW_EVERY = 4  # frames; flow costs most of the time

# frame number -> (where each pixel was in the frame before (2, H, W), where it can be followed (H, W))
Flows = dict[int, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Steadiness:
    """Codes of 255. The original's flicker is 0."""

    flicker: float
    warping: float
    warping_original: float


def follow(originals: Sequence[Plane]) -> Flows:
    """The original's flow, for every method alike."""
    return {t: _flow(originals[t - 1], originals[t]) for t in range(1, len(originals), FLOW_EVERY)}


def steadiness(frames: Sequence[Plane], originals: Sequence[Plane], flows: Flows) -> Steadiness | None:
    """None for a single frame."""
    if len(frames) < 2:
        return None
    return Steadiness(
        float(np.mean([_flicker(frames, originals, t) for t in range(1, len(frames))])),
        float(np.mean([_warping(frames, flow, t) for t, flow in flows.items()])),
        float(np.mean([_warping(originals, flow, t) for t, flow in flows.items()])),
    )


def mean_steadiness(found: Sequence[Steadiness | None]) -> Steadiness | None:
    """Mean over clips; None where none was measured."""
    there = [one for one in found if one is not None]
    if not there:
        return None
    return Steadiness(*(float(np.mean([getattr(one, name) for one in there])) for name in ("flicker", "warping", "warping_original")))


def _flicker(frames: Sequence[Plane], originals: Sequence[Plane], t: int) -> float:
    a, b, c, d = (frame.astype(np.float64) for frame in (frames[t], frames[t - 1], originals[t], originals[t - 1]))
    return float(np.abs((a - b) - (c - d)).mean())


def _flow(before: Plane, after: Plane) -> tuple[np.ndarray, np.ndarray]:
    from skimage.registration import optical_flow_ilk

    y, x = np.mgrid[: before.shape[0], : before.shape[1]]
    moved = optical_flow_ilk(after / 255, before / 255, radius=7)
    places = np.stack([y + moved[0], x + moved[1]])
    sure = np.abs(_move(before, places) - after) < FOLLOWED
    inside = np.zeros_like(sure)
    inside[BORDER:-BORDER, BORDER:-BORDER] = True
    return places, sure & inside


def _move(frame: Plane, places: np.ndarray) -> np.ndarray:
    from scipy.ndimage import map_coordinates

    return map_coordinates(frame.astype(np.float64), places, order=1, mode="nearest")


def _warping(frames: Sequence[Plane], flow: tuple[np.ndarray, np.ndarray], t: int) -> float:
    places, sure = flow
    gap = np.abs(_move(frames[t - 1], places) - frames[t])[sure]
    return float(gap.mean()) if gap.size else 0.0
